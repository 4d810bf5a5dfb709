"""One press on a button: who, on what, and what it means. Runs in the transaction that records the update."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from approvals.commands import decide_approval
from approvals.errors import ApprovalClosed, ApprovalExpired, ApprovalNotFound, InvalidDecision, SelfApproval
from approvals.models import Approval, DecisionSource
from approvals.presentation.render import one_line
from approvals.presentation.surfaces import names_of
from approvals.stop.commands import is_stopped
from escalation.models import Button, Message
from escalation.queries import asked
from escalation.telegram import status
from escalation.telegram.inbound import rejections
from escalation.telegram.inbound.after_commit import Aftermath
from escalation.telegram.inbound.people import Json, Person
from escalation.telegram.messages import cards, posting

A, S = Button.Action, Approval.Status
AGAIN_AFTER = timedelta(seconds=30)  # what only shows something may be asked for again, if it did not come
FORGED = "This button is not one of mine, or not in this place. Nothing was changed."
RENEWED = "This card was out of date and is drawn anew. Nothing was changed: look, and tap again."
GONE = "This request is no longer kept. Nothing was changed."
AFTER_THE_LIFT = "All agents are stopped: it runs after the lift."
LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Press:
    """A press of a known person, who may decide, on a button that stands where it was pressed."""

    person: Person
    button: Button
    number: int
    callback_id: str
    after: Aftermath

    def say(self, text: str, *, alert: bool = False) -> None:
        self.after.answer(self.callback_id, text, alert=alert)

    def refuse(self, why: str) -> None:
        """Say it so that it cannot be overlooked, and note it in the audit."""
        self.person.audit_refusal(why, self.button.approval_id)
        self.say(why, alert=True)

    @property
    def approval_id(self) -> UUID:
        """Every button but that of a test card is about one."""
        if self.button.approval_id is None:
            raise ApprovalNotFound("Approval not found")
        return self.button.approval_id

    def approval(self) -> Approval:
        """As it is now, with the database's time.

        Raises:
            ApprovalNotFound: it was deleted meanwhile.
        """
        found = asked(pk=self.approval_id)
        if found is None:
            raise ApprovalNotFound("Approval not found")
        return found

    def message(self) -> Message | None:
        """The row of the message that was pressed, locked until the commit."""
        rows = Message.objects.select_for_update(of=("self",)).select_related("delivery")
        return rows.filter(chat=self.button.chat, message=self.number, delivery__approval=self.approval_id).first()

    def decide(self, verdict: str, done: str, **how: Any) -> None:
        """The one way a press decides."""
        if verdict == S.APPROVED and (other := rejections.under_way(self.approval_id)):
            self.say(f"Not recorded: {_name(other.by)} is rejecting this just now.", alert=True)
            return
        try:
            decide_approval(
                approval_id=self.approval_id, decision=verdict, by=self.person.account, via=DecisionSource.TELEGRAM,
                address=self.person.address, **how,
            )  # fmt: skip
        except (ApprovalClosed, ApprovalExpired):
            self.say(closed_text(self.approval()), alert=True)
        except InvalidDecision as error:
            self.say(f"Not recorded. {error.detail}", alert=True)
            return
        else:
            self.say(done if verdict != S.APPROVED or not is_stopped() else f"{done} {AFTER_THE_LIFT}")
        self.spend()

    def spend(self) -> None:
        """Use the button up."""
        cards.use(self.button)

    def retire(self) -> None:
        """The message is about to be drawn anew: the buttons it shows now are worth nothing any more."""
        cards.retire(chat=self.button.chat, message=self.number)

    def redraw(self, message: Message) -> None:
        self.after.do(lambda api: posting.redraw(api, message.pk))


Deed = Callable[[Press], None]


def handle(query: Json, update_id: int, after: Aftermath, deeds: dict[str, Deed]) -> None:
    """Verify person, chat, message and token, and do what the button means. A press that may not be changes nothing."""
    where = query.get("message") or {}
    person = Person.behind(query.get("from") or {}, where.get("chat") or {}, update_id)
    callback_id, token, number = str(query["id"]), str(query.get("data", "")), int(where.get("message_id", 0))
    if why_not := person.refusal():
        person.audit_refusal(why_not, _meant(token, person.chat))
        after.answer(callback_id, why_not, alert=True)
        return
    button = cards.pressed(token, chat=person.chat, message=number)
    if button is None:
        person.audit_refusal(FORGED)
        after.answer(callback_id, FORGED, alert=True)
        return
    press = Press(person, button, number, callback_id, after)
    try:
        _do(press, deeds)
    except SelfApproval as error:
        press.refuse(f"{error.detail} Nothing was changed.")
    except ApprovalNotFound:
        press.say(GONE, alert=True)


def closed_text(approval: Approval) -> str:
    """How a question ended, for somebody who comes too late."""
    if approval.status in (S.PENDING, S.EXPIRED):
        return "Too late: nobody answered in time. Nothing was changed."
    who = f" by {_name(approval.decided_by)}" if approval.decided_by else ""
    return (
        f"Already {approval.status}{who} {names_of(approval.decided_via).in_message}".rstrip()
        + ". Nothing was changed."
    )


def _do(press: Press, deeds: dict[str, Deed]) -> None:
    if press.button.action == A.TEST:
        _tested(press)
        return
    if press.button.action == A.LIFT:
        deeds[A.LIFT](press)  # knows by itself what a second press means
        return
    if press.button.used_at is not None and not _may_repeat(press.button):
        _out_of_date(press)
        return
    deeds[press.button.action](press)


def _tested(press: Press) -> None:
    press.spend()
    status.note_tested(by=press.person.account)
    press.say("It works: Orchestra heard you.")
    press.after.do(lambda api: posting.test_passed(api, press.button.chat, press.number, press.person.account))


def _out_of_date(press: Press) -> None:
    """Pressed a second time, or left over on a card that could not be redrawn."""
    approval, message = press.approval(), press.message()
    if not approval.is_open or message is None:
        press.say(closed_text(approval), alert=True)
        return
    press.retire()
    press.redraw(message)
    press.say(RENEWED)


def _may_repeat(button: Button) -> bool:
    """Whether it only shows something, and that some time ago; claims it if so."""
    long_ago = Q(used_at__lte=Now() - AGAIN_AFTER)
    shows = button.action in (A.SHOW, A.SHOW_ALL, A.ANSWER, A.NOTE)
    return shows and bool(Button.objects.filter(long_ago, pk=button.pk).update(used_at=Now()))


def _meant(token: str, chat: int) -> UUID | None:
    """What somebody who may not press wanted to press, for the audit."""
    found = Button.objects.filter(token_sha256=cards.hashed(token), chat=chat)
    return found.values_list("approval_id", flat=True).first()


def _name(who: str) -> str:
    return one_line(who, LONGEST_NAME)
