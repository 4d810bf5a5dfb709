"""What each button does. The person is known and may decide, the button stands where it was pressed."""

from collections.abc import Callable
from functools import partial

from approvals import reopening
from approvals.commands import refuse_self_approval
from approvals.errors import NotReopenable
from approvals.models import Approval, DecisionSource
from approvals.presentation.redacted import shown_of
from approvals.presentation.render import one_line, questions_of
from approvals.presentation.session_scope import scope_sentence
from escalation.models import Button, Delivery, Message
from escalation.telegram import stop_all
from escalation.telegram.inbound import rejections
from escalation.telegram.inbound.answer_draft import Draft, answers_at_once
from escalation.telegram.inbound.callback_queries import RENEWED, Press, closed_text
from escalation.telegram.messages import posting
from escalation.telegram.messages.card_states import DRAFT, Rejection, draft_on

A, S = Button.Action, Approval.Status
WHY = "Why? Reply to the message below, or tap “Reject now”. It is rejected in a minute either way."


def approve(press: Press) -> None:
    press.decide(S.APPROVED, "Approved. The agent is told.")


def approve_for_session(press: Press) -> None:
    press.decide(S.APPROVED, f"Approved. {scope_sentence(press.approval())}", scope=Approval.Scope.SESSION)


def approve_with_note(press: Press) -> None:
    """Ask for the note; the reply to that approves with it."""
    approval, message = press.approval(), press.message()
    refuse_self_approval(approval, press.person.account)
    if message is None or not approval.is_open:
        press.say(closed_text(approval), alert=True)
        return
    press.spend()
    press.say("Reply to the message below: your words go to the agent, and approve it.")
    _ask(press, message, posting.NOTE)


def reopen(press: Press) -> None:
    """Ask a closed request again; the new one gets a card of its own."""
    try:
        reopening.reopen_approval(
            approval_id=press.approval_id,
            by=press.person.account,
            via=DecisionSource.TELEGRAM,
            address=press.person.address,
        )
    except NotReopenable as error:
        press.say(f"{error.detail} Nothing was changed.", alert=True)
        return
    press.spend()
    press.say("Asked again. The new card follows.")
    if message := press.message():
        message.live = True  # it is settled anew, without the button
        message.save(update_fields=["live"])


def reject(press: Press) -> None:
    """Ask why; the rejection counts with the reply, with "Reject now", or when the time is up."""
    approval, message = press.approval(), press.message()
    refuse_self_approval(approval, press.person.account)
    if not approval.is_open or not approval.expires_at > approval.read_at:  # type: ignore[attr-defined]
        press.say(closed_text(approval), alert=True)
    elif other := rejections.under_way(approval.pk):
        press.say(f"{one_line(other.by, 60)} is rejecting this already.")
    elif message is None or not rejections.has_time(approval):
        reject_now(press)
    else:
        rejections.begin(message, press.person, approval.now_at)  # type: ignore[attr-defined]
        press.retire()
        press.say(WHY)
        press.redraw(message)
        _ask(press, message, posting.REASON)


def reject_now(press: Press) -> None:
    press.decide(S.REJECTED, "Rejected. The agent is told.")


def keep_open(press: Press) -> None:
    """Take one's own rejection back."""
    approval, message = press.approval(), press.message()
    rejection = Rejection.on(message) if message else None
    if message is None or rejection is None or not approval.is_open:
        press.say(closed_text(approval) if not approval.is_open else RENEWED, alert=True)
    elif rejection.telegram_user != press.person.telegram_user:
        press.say(f"Only {one_line(rejection.by, 60)} can take this back.", alert=True)
    else:
        rejections.take_back(message)
        press.retire()
        press.say("Open again.")
        press.redraw(message)
        for prompt in _prompts(press, posting.REASON):
            prompt.live = False
            prompt.save(update_fields=["live"])
            press.after.do(partial(posting.take_away, prompt=prompt))


def show(press: Press) -> None:
    """The card behind a line of a list."""
    delivery = Delivery.objects.filter(approval=press.approval_id).first()
    if delivery is None or not press.approval().is_open:
        press.say(closed_text(press.approval()), alert=True)
        return
    press.spend()
    press.say("Here it is.")
    chat, number = press.button.chat, press.number
    press.after.do(lambda api: posting.show(api, delivery, chat=chat, reply_to=number))


def show_all(press: Press) -> None:
    """The rest of a cut card, and then the decision."""
    message = press.message()
    if message is None or not press.approval().is_open:
        press.say(closed_text(press.approval()), alert=True)
        return
    press.spend()
    press.say("All of it follows; the buttons come last.")
    press.after.do(lambda api: posting.show_all(api, message.pk))


def option(press: Press) -> None:
    """Choose an answer, take it back, or turn to another question; a single answer is sent at once."""
    approval, message = press.approval(), press.message()
    questions, value = questions_of(approval), press.button.value
    number = int(value["question"])
    offered = questions[number]["options"]
    label = offered[int(value["option"])]["label"] if "option" in value else value.get("own")
    if label is not None and answers_at_once(questions):
        answers = Draft().with_answer(questions, 0, (label,)).answers(questions)
        press.decide(S.APPROVED, f"Answered: {one_line(shown_of(approval).hide(label), 100)}", answers=answers)
    elif message is None or not approval.is_open:
        press.say(closed_text(approval), alert=True)
    else:
        draft = draft_on(message)
        draft = draft.turned_to(number) if label is None else draft.option(questions, number, label)
        keep_draft(message, draft)
        press.retire()
        press.say(one_line(shown_of(approval).hide(label or ""), 100))
        press.redraw(message)


def answer(press: Press) -> None:
    """Ask for words."""
    message = press.message()
    if message is None or not press.approval().is_open:
        press.say(closed_text(press.approval()), alert=True)
        return
    press.spend()
    press.say("Reply to the message below.")
    _ask(press, message, posting.ANSWER, question=int(press.button.value["question"]))


def submit(press: Press) -> None:
    """Send what was chosen: exactly what the card showed below this very button."""
    questions = questions_of(press.approval())
    answers = Draft.read(press.button.value).answers(questions)
    press.decide(S.APPROVED, "Answered. The agent is told.", answers=answers)


DEEDS: dict[str, Callable[[Press], None]] = {
    A.APPROVE: approve, A.APPROVE_SESSION: approve_for_session, A.NOTE: approve_with_note, A.REOPEN: reopen,
    A.REJECT: reject, A.REJECT_NOW: reject_now,
    A.KEEP_OPEN: keep_open, A.SHOW: show, A.SHOW_ALL: show_all, A.OPTION: option, A.ANSWER: answer, A.SUBMIT: submit,
    A.LIFT: stop_all.lift,
}  # fmt: skip


def keep_draft(message: Message, draft: Draft) -> None:
    """The caller holds the row."""
    message.value = message.value | {DRAFT: draft.kept()}
    message.save(update_fields=["value"])


def _ask(press: Press, message: Message, about: str, question: int = 0) -> None:
    person, account = press.person.telegram_user, press.person.account
    press.after.do(
        lambda api: posting.ask_for_words(
            api, message.pk, person=person, account=account, about=about, question=question
        )
    )


def _prompts(press: Press, about: str) -> list[Message]:
    mine = Message.objects.filter(delivery__approval=press.approval_id, kind=Message.Kind.PROMPT, live=True)
    return [one for one in mine if one.value.get("about") == about]
