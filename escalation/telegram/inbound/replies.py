"""Replies to our messages: a reason for a rejection, a note, or a typed answer."""

import json
import re
from uuid import UUID

from approvals.errors import ApprovalClosed, ApprovalExpired, InvalidDecision, SelfApproval
from approvals.models import Approval
from approvals.presentation.render import questions_of
from escalation.models import Message
from escalation.queries import build_notice, read_approval
from escalation.telegram.inbound import rejections
from escalation.telegram.inbound.after_commit import AfterCommitActions
from escalation.telegram.inbound.button_actions import keep_draft
from escalation.telegram.inbound.callback_queries import describe_closed
from escalation.telegram.inbound.people import Json, Person, clean_text
from escalation.telegram.messages import cards, posting, render
from escalation.telegram.messages.answer_draft import is_single_choice
from escalation.telegram.messages.card_states import Rejection, draft_on
from escalation.telegram.messages.markup import words

Status, Kind = Approval.Status, Message.Kind
NOT_AN_ANSWER = "Nothing was recorded: to answer, tap a button below the card."
TEXT_ONLY = "Nothing was recorded: only written words can be passed on."
NOT_ASKED = "Nothing was recorded: somebody else is asked this."
TAKEN_BACK = "Nothing was recorded: this is not asked any more."
# "ok, wait" and "yes, but not today" are conversation below a card,
# so these words approve only with a colon.
APPROVES = re.compile(r"\s*(?:approved?\s*[:,]|(?:yes|ok)\s*:)\s*(\S.*)\Z", re.IGNORECASE | re.DOTALL)
CUT = "Nothing was recorded: this card does not show the whole request. Tap “Show all” first."


def handle(message: Json, person: Person, after: AfterCommitActions) -> None:
    """Handle a reply to one of our messages.

    In a group, replies that answer no prompt or question are ignored.
    """
    replied_to = int(message["reply_to_message"]["message_id"])
    row = _message_at(person.chat, replied_to) or rejections.find_rejection_message(person)
    if row is None or (row.kind != Kind.PROMPT and _expected_person(row) not in (None, person.telegram_user)):
        return
    approval = read_approval(pk=row.delivery.approval_id)
    approves = _parse_note(clean_text(str(message.get("text") or ""))) is not None
    is_text_expected = (
        _asks_for_a_reason(row) or row.kind == Kind.PROMPT or approves or (approval and questions_of(approval))
    )
    if approval is None or not (is_text_expected or person.private):
        return
    answer = _record_reply(message, person, row, approval, after) if is_text_expected else NOT_AN_ANSWER
    if answer:
        after.reply(person.chat, int(message["message_id"]), words(answer))


def _record_reply(message: Json, person: Person, row: Message, approval: Approval, after: AfterCommitActions) -> str:
    """Apply the text of the reply.

    Return what to answer, or an empty text if the card shows the effect.
    """
    if why_not := person.refusal():
        person.audit_refusal(why_not, approval.pk)
        return why_not
    text = clean_text(str(message.get("text") or ""))
    if not text.strip():
        return TEXT_ONLY
    if not approval.is_open:
        return describe_closed(approval)
    if row.kind == Kind.PROMPT and not row.live:
        return TAKEN_BACK
    if _expected_person(row) not in (None, person.telegram_user):
        return NOT_ASKED
    try:
        return _apply_text(text, person, row, approval, after)
    except (ApprovalClosed, ApprovalExpired):
        return describe_closed(read_approval(pk=approval.pk) or approval)
    except (SelfApproval, InvalidDecision) as error:
        person.audit_refusal(error.detail, approval.pk)
        return f"{error.detail} Nothing was changed."


def _apply_text(text: str, person: Person, row: Message, approval: Approval, after: AfterCommitActions) -> str:
    if _asks_for_a_reason(row):
        person.decide(approval.pk, Status.REJECTED, reason=text)
        return ""
    if other := rejections.find_pending_rejection(approval.pk):
        return f"Not recorded: {other.by} is rejecting this just now."
    if row.kind in (Kind.CARD, Kind.COPY) and render.is_cut(build_notice(approval)):
        return CUT
    questions = questions_of(approval)
    note = text.strip() if row.value.get("about") == posting.NOTE else None if questions else _parse_note(text)
    if note is not None:
        person.decide(approval.pk, Status.APPROVED, note=note)
        return ""
    card = _card_of(row)
    number = int(row.value["question"]) if row.kind == Kind.PROMPT else draft_on(card).at
    if is_single_choice(questions):
        person.decide(approval.pk, Status.APPROVED, answers=json.dumps({questions[0]["question"]: text}))
        return ""
    keep_draft(card, draft_on(card).with_typed_answer(questions, number, text))
    cards.retire_buttons(chat=card.chat, message=card.message)
    after.add(lambda api: posting.redraw_message(api, card.pk))
    if row.kind == Kind.PROMPT:
        row.live = False
        row.save(update_fields=["live"])
        after.add(lambda api: posting.delete_prompt(api, row))
    return ""


def _parse_note(text: str) -> str | None:
    """Return the note in "approve: use staging", or None if the text does not approve."""
    found = APPROVES.match(text)
    return found[1].strip() if found else None


def _asks_for_a_reason(row: Message) -> bool:
    """Return True for a prompt for a reason.

    The card counts as one if the reply came before the prompt was saved.
    """
    return row.value.get("about") == posting.REASON or Rejection.read_from(row) is not None


def _expected_person(row: Message) -> int | None:
    """Return the Telegram user whose reply is expected, or None if any approver may reply."""
    rejection = Rejection.read_from(row)
    return rejection.telegram_user if rejection else row.value.get("telegram_user")


def _message_at(chat: int, number: int) -> Message | None:
    rows = Message.objects.select_related("delivery").exclude(kind=Kind.LIST)
    return rows.filter(chat=chat, message=number).first()


def _card_of(row: Message) -> Message:
    """Return the card that a reply to this message answers, locked until the commit."""
    rows = Message.objects.select_for_update(of=("self",)).select_related("delivery")
    if row.kind == Kind.PROMPT:
        return rows.get(pk=UUID(row.value["card"]))
    card = rows.filter(delivery=row.delivery, kind=Kind.CARD).order_by("-message").first()
    return row if row.kind in (Kind.CARD, Kind.DECISION, Kind.COPY) or card is None else card
