"""What people write below our messages: a reason for a rejection, an answer in their own words."""

import json
import re
from uuid import UUID

from approvals.commands import decide_approval
from approvals.errors import ApprovalClosed, ApprovalExpired, InvalidDecision, SelfApproval
from approvals.models import Approval, DecisionSource
from approvals.presentation.render import questions_of
from escalation.models import Message
from escalation.queries import asked, notice_of
from escalation.telegram.inbound import rejections
from escalation.telegram.inbound.after_commit import Aftermath
from escalation.telegram.inbound.answer_draft import answers_at_once
from escalation.telegram.inbound.button_actions import keep_draft
from escalation.telegram.inbound.callback_queries import closed_text
from escalation.telegram.inbound.people import Json, Person, storable
from escalation.telegram.messages import cards, posting, render
from escalation.telegram.messages.card_states import Rejection, draft_on
from escalation.telegram.messages.markup import words

S, K = Approval.Status, Message.Kind
NOT_AN_ANSWER = "Nothing was recorded: to answer, tap a button below the card."
TEXT_ONLY = "Nothing was recorded: only written words can be passed on."
NOT_ASKED = "Nothing was recorded: somebody else is asked this."
TAKEN_BACK = "Nothing was recorded: this is not asked any more."
# "ok, wait" and "yes, but not today" are what people say to each other below a card: these words need a colon.
APPROVES = re.compile(r"\s*(?:approved?\s*[:,]|(?:yes|ok)\s*:)\s*(\S.*)\Z", re.IGNORECASE | re.DOTALL)
CUT = "Nothing was recorded: this card does not show the whole request. Tap “Show all” first."


def handle(said: Json, person: Person, after: Aftermath) -> None:
    """A reply to one of our messages. In a group only what answers a question of ours is taken notice of."""
    row = _message_at(person.chat, int(said["reply_to_message"]["message_id"])) or rejections.asked_of(person)
    if row is None or (row.kind != K.PROMPT and _asked_person(row) not in (None, person.telegram_user)):
        return
    approval = asked(pk=row.delivery.approval_id)
    says_yes = _note_in(storable(str(said.get("text") or ""))) is not None
    takes_words = _asks_for_a_reason(row) or row.kind == K.PROMPT or says_yes or (approval and questions_of(approval))
    if approval is None or not (takes_words or person.private):
        return
    told = _answer(said, person, row, approval, after) if takes_words else NOT_AN_ANSWER
    if told:
        after.reply(person.chat, int(said["message_id"]), words(told))


def _answer(said: Json, person: Person, row: Message, approval: Approval, after: Aftermath) -> str:
    """Take the words; what has to be said about it, empty if the card says it."""
    if why_not := person.refusal():
        person.audit_refusal(why_not, approval.pk)
        return why_not
    text = storable(str(said.get("text") or ""))
    if not text.strip():
        return TEXT_ONLY
    if not approval.is_open:
        return closed_text(approval)
    if row.kind == K.PROMPT and not row.live:
        return TAKEN_BACK
    if _asked_person(row) not in (None, person.telegram_user):
        return NOT_ASKED
    try:
        return _take(text, person, row, approval, after)
    except (ApprovalClosed, ApprovalExpired):
        return closed_text(asked(pk=approval.pk) or approval)
    except (SelfApproval, InvalidDecision) as error:
        person.audit_refusal(error.detail, approval.pk)
        return f"{error.detail} Nothing was changed."


def _take(text: str, person: Person, row: Message, approval: Approval, after: Aftermath) -> str:
    if _asks_for_a_reason(row):
        _decide(S.REJECTED, person, approval, reason=text)
        return ""
    if other := rejections.under_way(approval.pk):
        return f"Not recorded: {other.by} is rejecting this just now."
    if row.kind in (K.CARD, K.COPY) and render.is_cut(notice_of(approval)):
        return CUT
    questions = questions_of(approval)
    note = text.strip() if row.value.get("about") == posting.NOTE else None if questions else _note_in(text)
    if note is not None:
        _decide(S.APPROVED, person, approval, note=note)
        return ""
    card = _card_of(row)
    number = int(row.value["question"]) if row.kind == K.PROMPT else draft_on(card).at
    if answers_at_once(questions):
        _decide(S.APPROVED, person, approval, answers=json.dumps({questions[0]["question"]: text}))
        return ""
    keep_draft(card, draft_on(card).with_words(questions, number, text))
    cards.retire(chat=card.chat, message=card.message)
    after.do(lambda api: posting.redraw(api, card.pk))
    if row.kind == K.PROMPT:
        row.live = False
        row.save(update_fields=["live"])
        after.do(lambda api: posting.take_away(api, row))
    return ""


def _note_in(text: str) -> str | None:
    """The note in "approve: use staging"; None if the words do not approve."""
    found = APPROVES.match(text)
    return found[1].strip() if found else None


def _asks_for_a_reason(row: Message) -> bool:
    """A prompt for it; or the card itself, when the reply came before the prompt was written down."""
    return row.value.get("about") == posting.REASON or Rejection.on(row) is not None


def _asked_person(row: Message) -> int | None:
    """The Telegram user whose words are awaited; None if anybody's will do."""
    rejection = Rejection.on(row)
    return rejection.telegram_user if rejection else row.value.get("telegram_user")


def _decide(verdict: str, person: Person, approval: Approval, **how: str) -> None:
    decide_approval(
        approval_id=approval.pk,
        decision=verdict,
        by=person.account,
        via=DecisionSource.TELEGRAM,
        address=person.address,
        **how,
    )


def _message_at(chat: int, number: int) -> Message | None:
    rows = Message.objects.select_related("delivery").exclude(kind=K.LIST)
    return rows.filter(chat=chat, message=number).first()


def _card_of(row: Message) -> Message:
    """The card that somebody answers by replying to this message; locked until the commit."""
    rows = Message.objects.select_for_update(of=("self",)).select_related("delivery")
    if row.kind == K.PROMPT:
        return rows.get(pk=UUID(row.value["card"]))
    card = rows.filter(delivery=row.delivery, kind=K.CARD).order_by("-message").first()
    return row if row.kind in (K.CARD, K.REST, K.COPY) or card is None else card
