"""What is found and what is left alone, on a corpus that was written before the rules."""

import pytest

from tests.redaction.look_alikes import texts
from tests.redaction.made import Maker, redact
from tests.redaction.provoked import LOOK_ALIKES, SECRETS
from tests.redaction.secret_cases import Case, cases

FOUND, FALSE = 0.99, 0.02


def left_in(case: Case) -> list[str]:
    hidden, _ = redact(case.text)
    return [value for value in case.values if value in hidden]


@pytest.mark.parametrize("check", [False, True], ids=["tuned on", "held back"])
def test_secrets_are_found(check):
    chosen = [case for number, case in enumerate(cases()) if (number % 3 == 2) == check]
    missed = [case.text for case in chosen if left_in(case)]
    assert len(missed) <= (1 - FOUND) * len(chosen), missed


@pytest.mark.parametrize("check", [False, True], ids=["tuned on", "held back"])
def test_what_only_looks_like_a_secret_is_left_alone(check):
    chosen = [text for number, text in enumerate(texts()) if (number % 3 == 2) == check]
    touched = [(text, redact(text)[0]) for text in chosen if redact(text) != (text, 0)]
    assert len(touched) <= FALSE * len(chosen), touched


def test_the_rest_of_the_text_stays():
    """The command, its host and its paths are read on; a secret's own punctuation may go with it."""
    lost = [case.text for case in cases() if not all(part in redact(case.text)[0] for part in case.kept)]
    assert len(lost) <= 0.02 * len(cases()), lost


def test_the_corpus_is_as_large_as_it_says():
    assert len(cases()) >= 150
    assert len(set(texts())) >= 150


def test_what_was_written_to_provoke_mistakes():
    maker = Maker(99)
    placed = [(template, maker.make(kind)) for template, kind in SECRETS]
    missed = [template for template, value in placed if value in redact(template.format(value))[0]]
    assert missed == [
        "wpa_passphrase home {}",
        'private_key_id": "{}"',
        "root:{}",
    ]  # nothing gives these away, or an id
    assert [text for text in LOOK_ALIKES if redact(text)[1]] == []
