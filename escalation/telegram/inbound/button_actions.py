"""The effect of each button.

The caller has checked the person, the right to decide, and the place of the button.
"""

from collections.abc import Callable
from functools import partial
from uuid import UUID

from approvals import reopening
from approvals.commands import refuse_self_approval
from approvals.errors import AnotherStop, NotReopenable, StopNotFound
from approvals.models import Approval, DecisionSource
from approvals.presentation.redacted import shown_of
from approvals.presentation.render import one_line, questions_of
from approvals.presentation.session_scope import scope_sentence
from approvals.stop import commands as stops
from escalation.models import Button, Delivery, Message
from escalation.telegram.inbound import rejections
from escalation.telegram.inbound.callback_queries import RENEWED, CallbackQuery, describe_closed
from escalation.telegram.messages import cards, posting, stop_messages
from escalation.telegram.messages.answer_draft import Draft, is_single_choice
from escalation.telegram.messages.card_states import DRAFT, Rejection, draft_on
from escalation.telegram.messages.markup import words
from escalation.telegram.messages.message import Card

Action, Status = Button.Action, Approval.Status
WHY = "Why? Reply to the message below, or tap “Reject now”. It is rejected in a minute either way."


def approve(query: CallbackQuery) -> None:
    query.decide(Status.APPROVED, "Approved. The agent is told.")


def approve_for_session(query: CallbackQuery) -> None:
    query.decide(Status.APPROVED, f"Approved. {scope_sentence(query.approval())}", scope=Approval.Scope.SESSION)


def approve_with_note(query: CallbackQuery) -> None:
    """Ask for the note. The reply to the prompt approves with it."""
    refuse_self_approval(query.approval(), query.person.account)
    if message := _take_message(query, "Reply to the message below: your words go to the agent, and approve it."):
        _prompt_for_text(query, message, posting.NOTE)


def reopen(query: CallbackQuery) -> None:
    """Ask a closed request again. The new request gets its own card."""
    try:
        reopening.reopen_approval(
            approval_id=query.approval_id,
            by=query.person.account,
            via=DecisionSource.TELEGRAM,
            address=query.person.address,
        )
    except NotReopenable as error:
        query.answer(f"{error.detail} Nothing was changed.", alert=True)
        return
    query.use_button()
    query.answer("Asked again. The new card follows.")
    if message := query.message():
        message.live = True  # the sender settles it again, without the button
        message.save(update_fields=["live"])


def reject(query: CallbackQuery) -> None:
    """Ask for a reason.

    The rejection counts after the reply, after "Reject now", or when the time is over.
    """
    approval, message = query.approval(), query.message()
    refuse_self_approval(approval, query.person.account)
    if not approval.is_open or not approval.expires_at > approval.read_at:  # type: ignore[attr-defined]
        query.answer(describe_closed(approval), alert=True)
    elif other := rejections.find_pending_rejection(approval.pk):
        query.answer(f"{one_line(other.by, 60)} is rejecting this already.")
    elif message is None or not rejections.has_time_for_reason(approval):
        reject_now(query)
    else:
        rejections.start_rejection(message, query.person, approval.now_at)  # type: ignore[attr-defined]
        query.retire_buttons()
        query.answer(WHY)
        query.redraw_message(message)
        _prompt_for_text(query, message, posting.REASON)


def reject_now(query: CallbackQuery) -> None:
    query.decide(Status.REJECTED, "Rejected. The agent is told.")


def keep_open(query: CallbackQuery) -> None:
    """Withdraw a rejection. Only the person who started it can do so."""
    approval, message = query.approval(), query.message()
    rejection = Rejection.read_from(message) if message else None
    if message is None or rejection is None or not approval.is_open:
        query.answer(describe_closed(approval) if not approval.is_open else RENEWED, alert=True)
    elif rejection.telegram_user != query.person.telegram_user:
        query.answer(f"Only {one_line(rejection.by, 60)} can take this back.", alert=True)
    else:
        rejections.withdraw_rejection(message)
        query.retire_buttons()
        query.answer("Open again.")
        query.redraw_message(message)
        for prompt in _live_prompts(query, posting.REASON):
            prompt.live = False
            prompt.save(update_fields=["live"])
            query.after.add(partial(posting.delete_prompt, prompt=prompt))


def show(query: CallbackQuery) -> None:
    """Post the card of one request in a list."""
    delivery = Delivery.objects.filter(approval=query.approval_id).first()
    if delivery is None or not query.approval().is_open:
        query.answer(describe_closed(query.approval()), alert=True)
        return
    query.use_button()
    query.answer("Here it is.")
    chat, number = query.button.chat, query.number
    query.after.add(lambda api: posting.post_card(api, delivery, chat=chat, reply_to=number))


def show_all(query: CallbackQuery) -> None:
    """Post what a cut card left out, and then the buttons to decide."""
    if message := _take_message(query, "All of it follows; the buttons come last."):
        query.after.add(lambda api: posting.post_full_text(api, message.pk))


def choose_option(query: CallbackQuery) -> None:
    """Toggle an answer or turn to another question. A single answer is recorded at once."""
    approval, message = query.approval(), query.message()
    questions, value = questions_of(approval), query.button.value
    number = int(value["question"])
    offered = questions[number]["options"]
    label = offered[int(value["option"])]["label"] if "option" in value else value.get("own")
    if label is not None and is_single_choice(questions):
        answers = Draft().with_answer(questions, 0, (label,)).answers_json(questions)
        query.decide(Status.APPROVED, f"Answered: {one_line(shown_of(approval).hide(label), 100)}", answers=answers)
    elif message is None or not approval.is_open:
        query.answer(describe_closed(approval), alert=True)
    else:
        draft = draft_on(message)
        draft = draft.at_question(number) if label is None else draft.toggle_option(questions, number, label)
        keep_draft(message, draft)
        query.retire_buttons()
        query.answer(one_line(shown_of(approval).hide(label or ""), 100))
        query.redraw_message(message)


def answer(query: CallbackQuery) -> None:
    """Ask for a typed answer."""
    if message := _take_message(query, "Reply to the message below."):
        _prompt_for_text(query, message, posting.ANSWER, question=int(query.button.value["question"]))


def submit(query: CallbackQuery) -> None:
    """Record the chosen answers.

    The value of the button holds exactly what the card showed above it.
    """
    questions = questions_of(query.approval())
    answers = Draft.read(query.button.value).answers_json(questions)
    query.decide(Status.APPROVED, "Answered. The agent is told.", answers=answers)


def lift_stop(query: CallbackQuery) -> None:
    """Handle the button of /resume.

    A second press, or a button of an earlier stop, changes nothing.
    """
    try:
        lifted = stops.lift_stop(
            by=query.person.account, via=DecisionSource.TELEGRAM, stop_id=UUID(query.button.value["stop"]),
            address=query.person.address,
        )  # fmt: skip
    except (AnotherStop, StopNotFound) as error:
        query.answer(f"Nothing was changed. {error.detail} Write /resume.", alert=True)
        return
    query.use_button()
    query.answer("Agents go on.")
    text = stop_messages.describe_lift(lifted) if lifted else words(stop_messages.NOT_STOPPED)
    card, chat, number = Card(text=text.html, plain=text.plain), query.button.chat, query.number
    query.after.add(lambda api: cards.edit(api, chat=chat, message=number, card=card))


BUTTON_ACTIONS: dict[str, Callable[[CallbackQuery], None]] = {
    Action.APPROVE: approve,
    Action.APPROVE_SESSION: approve_for_session,
    Action.NOTE: approve_with_note,
    Action.REOPEN: reopen,
    Action.REJECT: reject,
    Action.REJECT_NOW: reject_now,
    Action.KEEP_OPEN: keep_open,
    Action.SHOW: show,
    Action.SHOW_ALL: show_all,
    Action.OPTION: choose_option,
    Action.ANSWER: answer,
    Action.SUBMIT: submit,
    Action.LIFT: lift_stop,
}


def keep_draft(message: Message, draft: Draft) -> None:
    """Save the draft on the row, which the caller has locked."""
    message.value = message.value | {DRAFT: draft.to_json()}
    message.save(update_fields=["value"])


def _take_message(query: CallbackQuery, text: str) -> Message | None:
    """Use the button, answer with ``text`` and return the locked message.

    If the request has closed, answer how it closed and return None.
    """
    message = query.message()  # locks the row before the status is read
    approval = query.approval()
    if message is None or not approval.is_open:
        query.answer(describe_closed(approval), alert=True)
        return None
    query.use_button()
    query.answer(text)
    return message


def _prompt_for_text(query: CallbackQuery, message: Message, about: str, question: int = 0) -> None:
    person, account = query.person.telegram_user, query.person.account
    query.after.add(
        lambda api: posting.prompt_for_text(
            api, message.pk, person=person, account=account, about=about, question=question
        )
    )


def _live_prompts(query: CallbackQuery, about: str) -> list[Message]:
    mine = Message.objects.filter(delivery__approval=query.approval_id, kind=Message.Kind.PROMPT, live=True)
    return [one for one in mine if one.value.get("about") == about]
