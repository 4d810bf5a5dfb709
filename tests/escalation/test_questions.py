"""Questions answered from the chat: by options, several of them, and in one's own words."""

import json

import pytest

from approvals.models import AuditEntry
from tests.escalation.conftest import ANNA, BORIS, STRANGER
from tests.escalation.notices import choice
from tests.factories import make_approval


def ask(*questions):
    return make_approval(
        kind="question", tool_name="AskUserQuestion", tool_input=json.dumps({"questions": questions}), title="Question"
    )


def fresh(approval):
    approval.refresh_from_db()
    return approval


def labels(message):
    return [button["text"] for row in message["buttons"] for button in row]


def answers(approval):
    assert fresh(approval).status == "approved", approval.status
    return json.loads(approval.answers)


def test_one_tap_answers_one_question(chat):
    approval = ask(choice("Which database?", "PostgreSQL", "SQLite"))
    card = chat.card(approval)
    assert chat.press(ANNA, card, "SQLite") == "Answered: SQLite"
    assert answers(approval) == {"Which database?": "SQLite"}
    assert "Which database? → SQLite" in chat.now(card)["text"]
    chat.telegram.assert_clean()


def test_an_answer_in_ones_own_words_by_the_prompt_or_straight_below_the_card(chat):
    for straight in (False, True):
        approval = ask(choice("Which database?", "PostgreSQL"))
        card = chat.card(approval)
        if not straight:
            chat.press(ANNA, card, "Type an answer")
        prompt = card if straight else chat.last()
        chat.say(ANNA, "Neither: <files> & folders", to=prompt)
        assert answers(approval) == {"Which database?": "Neither: <files> & folders"}
        assert "Neither: <files> & folders" in chat.now(card)["text"]
    chat.telegram.assert_clean()


def test_several_choices_are_kept_on_the_card_until_they_are_sent(chat):
    approval = ask(choice("Which checks?", "Lint", "Types", "Tests", several=True))
    card = chat.card(approval)
    for label in ("Tests", "Lint", "Types"):
        chat.press(ANNA, chat.now(card), label)
    chat.press(ANNA, chat.now(card), "✓ Types")
    assert labels(chat.now(card))[:3] == ["✓ Lint", "Types", "✓ Tests"]
    assert fresh(approval).status == "pending"
    chat.press(ANNA, chat.now(card), "Send answers")
    assert answers(approval) == {"Which checks?": "Lint, Tests"}


def test_several_questions_one_after_the_other_with_a_way_back(chat):
    approval = ask(choice("Which?", "One", "Two"), choice("Where?", "Here", "There"))
    card = chat.card(approval)
    chat.press(ANNA, card, "One")
    assert labels(chat.now(card))[:2] == ["Here", "There"]
    chat.press(ANNA, chat.now(card), "« Back")
    chat.press(ANNA, chat.now(card), "Two")
    chat.press(ANNA, chat.now(card), "Type an answer")
    chat.say(ANNA, "Everywhere", to=chat.last())
    assert "✓ Which?: Two" in chat.now(card)["text"] and "✓ Where?: Everywhere" in chat.now(card)["text"]
    chat.press(ANNA, chat.now(card), "Send answers")
    assert answers(approval) == {"Which?": "Two", "Where?": "Everywhere"}
    chat.telegram.assert_clean()


def test_send_sends_what_the_person_saw_and_nothing_that_changed_since(chat):
    approval = ask(choice("Which?", "One", "Two", several=True))
    card = chat.card(approval)
    chat.press(ANNA, card, "One")
    seen = chat.now(card)
    sending = chat.tap(ANNA, seen, "Send answers")
    press = chat.telegram.pending_updates()[-1]
    chat.telegram._updates.clear()
    chat.press(BORIS, chat.now(card), "Two")  # before anna's press arrives
    from escalation.channels.telegram import inbound

    inbound.handle(press, chat.api)
    assert "tap again" in chat.telegram.answer(sending)["text"]
    assert fresh(approval).status == "pending"


def test_a_question_can_be_rejected(chat):
    approval = ask(choice("Which?", "One"))
    card = chat.card(approval)
    chat.press(ANNA, card, "Reject")
    chat.press(ANNA, chat.now(card), "Reject now")
    assert fresh(approval).status == "rejected"


def test_a_strangers_words_are_no_answer(chat):
    approval = ask(choice("Which?", "One"))
    card = chat.card(approval)
    chat.say(STRANGER, "mine", to=card)
    assert fresh(approval).status == "pending" and "/link CODE" in chat.last()["text"]
    assert AuditEntry.objects.filter(approval=approval, action="refused", won=False).count() == 1


def test_words_below_an_ordinary_card_answer_nothing(chat):
    approval = make_approval()
    card = chat.card(approval)
    before = len(chat.telegram.messages(by_bot=True))
    chat.say(ANNA, "what is this?", to=card)
    assert fresh(approval).status == "pending" and len(chat.telegram.messages(by_bot=True)) == before


def test_words_below_a_cut_question_are_no_answer_before_all_of_it_was_sent(chat):
    approval = ask(choice("Which? " + "very long " * 500, "One"))
    card = chat.card(approval)
    assert labels(card) == ["Show all", "Reject"]
    chat.say(ANNA, "One", to=card)
    assert fresh(approval).status == "pending" and "Show all" in chat.last()["text"]
    chat.press(ANNA, card, "Show all")
    chat.say(ANNA, "Two", to=chat.last())
    assert list(answers(approval).values()) == ["Two"]


def test_the_choices_of_an_ask_from_outside_are_buttons(chat):
    approval = make_approval(
        kind="external", title="Deploy?", body="", options=json.dumps(["Now", "Tonight"]), tool_name="", tool_input="{}"
    )
    card = chat.card(approval)
    assert labels(card) == ["Now", "Tonight", "Type an answer", "Reject"]
    chat.press(BORIS, card, "Tonight")
    assert answers(approval) == {"Deploy?": "Tonight"}


@pytest.mark.parametrize("label", ["Approve", "", "x" * 300, "</b>&amp;", "\u202eevorppA"])
def test_whatever_an_option_is_called_it_is_only_an_answer(chat, label):
    approval = ask(choice("Which?", label, "Other"))
    card = chat.card(approval)
    chat.telegram.press(ANNA, card["chat_id"], card["message_id"], [0, 0])
    chat.pump()
    assert answers(approval) == {"Which?": label}
    chat.telegram.assert_clean()
