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
    assert chat.press(ANNA, card, "2 · SQLite") == "Answered: SQLite"
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
    for label in ("3 · Tests", "1 · Lint", "2 · Types"):
        chat.press(ANNA, chat.now(card), label)
    chat.press(ANNA, chat.now(card), "✓ 2 · Types")
    assert labels(chat.now(card))[:3] == ["✓ 1 · Lint", "2 · Types", "✓ 3 · Tests"]
    assert fresh(approval).status == "pending"
    chat.press(ANNA, chat.now(card), "Send answers")
    assert answers(approval) == {"Which checks?": "Lint, Tests"}


def test_several_questions_one_after_the_other_with_a_way_back(chat):
    approval = ask(choice("Which?", "One", "Two"), choice("Where?", "Here", "There"))
    card = chat.card(approval)
    chat.press(ANNA, card, "1 · One")
    assert labels(chat.now(card))[:2] == ["1 · Here", "2 · There"]
    chat.press(ANNA, chat.now(card), "« Back")
    chat.press(ANNA, chat.now(card), "2 · Two")
    chat.press(ANNA, chat.now(card), "Type an answer")
    chat.say(ANNA, "Everywhere", to=chat.last())
    assert "✓ Which?: 2 · Two" in chat.now(card)["text"] and "✓ Where?: Everywhere" in chat.now(card)["text"]
    chat.press(ANNA, chat.now(card), "Send answers")
    assert answers(approval) == {"Which?": "Two", "Where?": "Everywhere"}
    chat.telegram.assert_clean()


def test_send_sends_what_the_person_saw_and_nothing_that_changed_since(chat):
    approval = ask(choice("Which?", "One", "Two", several=True))
    card = chat.card(approval)
    chat.press(ANNA, card, "1 · One")
    seen = chat.now(card)
    sending = chat.tap(ANNA, seen, "Send answers")
    press = chat.telegram.pending_updates()[-1]
    chat.telegram._updates.clear()
    chat.press(BORIS, chat.now(card), "2 · Two")  # before anna's press arrives
    from escalation.telegram.inbound import updates

    updates.handle(press, chat.api)
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
    assert labels(card) == ["1 · Now", "2 · Tonight", "Type an answer", "Reject"]
    chat.press(BORIS, card, "2 · Tonight")
    assert answers(approval) == {"Deploy?": "Tonight"}


@pytest.mark.parametrize("label", ["Approve", "", "x" * 300, "</b>&amp;", "\u202eevorppA"])
def test_whatever_an_option_is_called_it_is_only_an_answer(chat, label):
    approval = ask(choice("Which?", label, "Other"))
    card = chat.card(approval)
    chat.telegram.press(ANNA, card["chat_id"], card["message_id"], [0, 0])
    chat.pump()
    assert answers(approval) == {"Which?": label}
    chat.telegram.assert_clean()


def press_at(chat, card, row):
    """Press the first button of a row, whatever it says."""
    now = chat.now(card)
    chat.telegram.press(ANNA, now["chat_id"], now["message_id"], [row, 0])
    chat.pump()


@pytest.mark.parametrize("words_first", [False, True])
def test_ticks_and_typed_words_do_not_erase_each_other(chat, words_first):
    approval = ask(choice("Which checks?", "Lint", "Types", "Tests", several=True))
    card = chat.card(approval)
    if words_first:
        chat.say(ANNA, "and spelling, please", to=card)
    chat.press(ANNA, chat.now(card), "3 · Tests")
    if not words_first:
        chat.press(ANNA, chat.now(card), "Type an answer")
        chat.say(ANNA, "and spelling, please", to=chat.last())
    chat.press(ANNA, chat.now(card), "1 · Lint")
    assert "✓ Which checks?: 1 · Lint, 3 · Tests, and spelling, please" in chat.now(card)["text"]
    assert "✓ “and spelling, please”" in labels(chat.now(card))
    chat.press(ANNA, chat.now(card), "Send answers")
    assert answers(approval) == {"Which checks?": "Lint, Tests, and spelling, please"}
    assert "Which checks? → Lint, Tests, and spelling, please" in chat.now(card)["text"]
    chat.telegram.assert_clean()


def test_typed_words_can_be_taken_back_and_added_to(chat):
    approval = ask(choice("Which checks?", "Lint", several=True))
    card = chat.card(approval)
    for text in ("spelling", "spelling", "links", "Lint"):  # said twice, it is one; an option's own name is the option
        chat.say(ANNA, text, to=chat.now(card))
    assert "✓ Which checks?: 1 · Lint, spelling, links" in chat.now(card)["text"]
    chat.press(ANNA, chat.now(card), "✓ “spelling”")
    chat.press(ANNA, chat.now(card), "Send answers")
    assert answers(approval) == {"Which checks?": "Lint, links"}


def test_where_one_may_be_chosen_words_and_options_take_each_others_place(chat):
    approval = ask(choice("Which?", "One", "Two"), choice("Where?", "Here"))
    card = chat.card(approval)
    chat.say(ANNA, "Neither", to=card)
    assert "✓ Which?: Neither" in chat.now(card)["text"]
    chat.press(ANNA, chat.now(card), "« Back")
    chat.press(ANNA, chat.now(card), "2 · Two")
    assert "✓ Which?: 2 · Two" in chat.now(card)["text"] and "Neither" not in chat.now(card)["text"]


def test_a_long_typed_answer_leaves_the_card_its_buttons(chat):
    approval = ask(choice("Which? " + "long " * 600, "One", several=True))
    card = chat.card(approval)
    chat.press(ANNA, card, "1 · One")
    chat.say(ANNA, "because " * 400, to=chat.now(card))
    assert "Send answers" in labels(chat.now(card)) and "Cut." not in chat.now(card)["text"]
    assert "✓ " in chat.now(card)["text"]
    chat.press(ANNA, chat.now(card), "Send answers")
    assert list(answers(approval).values()) == ["One, " + "because " * 400]
    assert "more characters. The whole of it: the console" in chat.now(card)["text"]
    chat.telegram.assert_clean()


def test_options_with_the_same_beginning_can_be_told_apart(chat):
    same = "Use the very same long beginning for each and every option, up to here: "
    approval = ask(choice("Which?", same + "PostgreSQL", same + "SQLite"))
    card = chat.card(approval)
    assert f"1 · {same}PostgreSQL: about" in card["text"] and f"2 · {same}SQLite: about" in card["text"]
    assert labels(card)[0].startswith("1 · Use the") and labels(card)[1].startswith("2 · Use the")
    press_at(chat, card, 1)
    assert answers(approval) == {"Which?": same + "SQLite"}
    assert same + "SQLite" in chat.now(card)["text"]


def test_of_several_questions_the_card_says_which_one_its_buttons_answer(chat):
    approval = ask(choice("Which?", "One", header="Kind"), choice("Where?", "Here", several=True))
    card = chat.card(approval)
    assert "▸ Question 1 of 2: Kind\n" in card["text"]
    chat.press(ANNA, card, "1 · One")
    assert "▸ Question 2 of 2: Where?, several may be chosen\n" in chat.now(card)["text"]


def test_options_beyond_the_keyboard_are_listed_and_can_be_typed(chat):
    approval = ask(choice("Which?", *(f"option {number}" for number in range(1, 46))))
    card = chat.card(approval)
    assert "40 · option 40" in labels(card) and "41 · option 41" not in labels(card)
    assert "45 · option 45" in card["text"] and "Options after 40 have no button" in card["text"]
    chat.say(ANNA, "option 45", to=card)
    assert answers(approval) == {"Which?": "option 45"}


def test_facts_and_options_of_a_request_from_outside_are_lines_and_no_json(chat):
    facts = {
        "commit": "9f3c71a",
        "ready": True,
        "owner": None,
        "hosts": ["a", "b"],
        "load": {"now": 0.5, "max": {"x": 1}},
    }
    approval = make_approval(
        kind="external", title="Deploy?", options=json.dumps(["Now", "To\u200bnight"]), facts=facts, tool_input="{}"
    )
    text = chat.card(approval)["text"]
    shown = text.split("Facts\n")[1].split("\nOptions")[0].split("\n")  # in whatever order the database keeps them
    assert {"commit: 9f3c71a", "ready: true", "owner: none", "hosts: a, b", "  now: 0.5"} < set(shown)
    assert shown[shown.index("  max:") + 1] == "    x: 1" and "load:" in shown
    assert "Options\n1 · Now\n2 · To\\u200bnight\n" in text
    assert not set('{}[]"') & set(text)


@pytest.mark.parametrize("surface", ["console", "telegram"])
def test_a_settled_card_shows_the_whole_of_a_long_answer(chat, surface):
    from approvals.commands import decide_approval

    text = "Neither: " + "a long and thoughtful answer, with reasons. " * 40
    approval = ask(choice("Which database?", "PostgreSQL", "SQLite"))
    card = chat.card(approval)
    if surface == "telegram":
        chat.say(ANNA, text, to=card)
    else:
        told = json.dumps({"Which database?": text})
        decide_approval(approval_id=approval.pk, decision="approved", by="boris", via="dashboard", answers=told)
        chat.work()
    assert f"Which database? → {text.strip()}" in chat.now(card)["text"]
    assert "Cut:" not in chat.now(card)["text"]
