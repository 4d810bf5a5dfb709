import hashlib
import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.policy.digest import input_digest

SESSION = UUID("12345678-1234-5678-1234-567812345678")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=6)


def digest(text, tool="Bash", directory="/work", session=SESSION):
    return input_digest(tool_name=tool, tool_input=text, working_directory=directory, session=session)


def test_the_digest_is_the_documented_one():
    canonical = '{"directory":"/work","input":{"a":"\\u00e9","b":1},"session":"' + str(SESSION) + '","tool":"Bash"}'
    assert digest('{"b": 1, "a": "é"}') == hashlib.sha256(canonical.encode()).hexdigest()


@given(OBJECTS, st.randoms())
def test_order_of_keys_spaces_and_escapes_do_not_matter(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert digest(json.dumps(value)) == digest(json.dumps(dict(items), indent=3, ensure_ascii=False))


@given(OBJECTS, OBJECTS)
def test_another_input_has_another_digest(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(json.dumps(one)) == digest(json.dumps(other))) == same


def test_tool_directory_and_session_are_part_of_it():
    base = digest("{}")
    assert len({base, digest("{}", tool="Write"), digest("{}", directory="/other"), digest("{}", session=None)}) == 4


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800", "\\u202e"])
def test_odd_characters_are_digested_as_escapes(text):
    assert len(digest(f'{{"a": "{text}"}}')) == 64


def test_long_numbers_are_not_rounded():
    assert digest('{"n": 12345678901234567890}') != digest('{"n": 12345678901234567891}')


@pytest.mark.parametrize("text", ["{", "nope", '{"n": ' + "1" * 5000 + "}", "[" * 100_000 + "]" * 100_000])
def test_what_is_not_readable_json_has_no_digest(text):
    with pytest.raises(ValueError):
        digest(text)
