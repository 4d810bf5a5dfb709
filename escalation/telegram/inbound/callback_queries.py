"""One callback query: who pressed which button, and its effect.

Runs in the transaction that records the update.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from approvals.errors import ApprovalClosed, ApprovalExpired, ApprovalNotFound, InvalidDecision, SelfApproval
from approvals.models import Approval
from approvals.presentation.render import one_line
from approvals.presentation.surfaces import names_of
from approvals.stop.commands import is_stopped
from escalation.models import Button, Message
from escalation.queries import read_approval
from escalation.telegram import status
from escalation.telegram.inbound import rejections
from escalation.telegram.inbound.after_commit import AfterCommitActions
from escalation.telegram.inbound.people import Json, Person
from escalation.telegram.messages import cards, posting

Action, Status = Button.Action, Approval.Status
# A button that only shows something works again after this time, in case its message was lost.
AGAIN_AFTER = timedelta(seconds=30)
FORGED = "This button is not one of mine, or not in this place. Nothing was changed."
RENEWED = "This card was out of date and is drawn anew. Nothing was changed: look, and tap again."
GONE = "This request is no longer kept. Nothing was changed."
AFTER_THE_LIFT = "All agents are stopped: it runs after the lift."
LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class CallbackQuery:
    """A press by a known person who may decide, on a button in its own message.

    ``number`` is the number of that message in its chat. ``after`` collects the Bot API calls that
    follow the commit.
    """

    person: Person
    button: Button
    number: int
    callback_id: str
    after: AfterCommitActions

    def answer(self, text: str, *, alert: bool = False) -> None:
        self.after.answer_callback(self.callback_id, text, alert=alert)

    def refuse(self, why: str) -> None:
        """Answer with an alert, and record the attempt in the audit."""
        self.person.audit_refusal(why, self.button.approval_id)
        self.answer(why, alert=True)

    @property
    def approval_id(self) -> UUID:
        """The approval of the button. Only the button of a test card has none."""
        if self.button.approval_id is None:
            raise ApprovalNotFound("Approval not found")
        return self.button.approval_id

    def approval(self) -> Approval:
        """Return the approval with the database time.

        Raises:
            ApprovalNotFound: retention has deleted it.
        """
        found = read_approval(pk=self.approval_id)
        if found is None:
            raise ApprovalNotFound("Approval not found")
        return found

    def message(self) -> Message | None:
        """Return the row of the message with the button, locked until the commit.

        Return None if it is unknown.
        """
        rows = Message.objects.select_for_update(of=("self",)).select_related("delivery")
        return rows.filter(chat=self.button.chat, message=self.number, delivery__approval=self.approval_id).first()

    def decide(self, decision: str, success_text: str, **details: Any) -> None:
        """Record a decision. Every button that decides calls this method."""
        if decision == Status.APPROVED and (other := rejections.find_pending_rejection(self.approval_id)):
            self.answer(f"Not recorded: {_short_name(other.by)} is rejecting this just now.", alert=True)
            return
        try:
            self.person.decide(self.approval_id, decision, **details)
        except (ApprovalClosed, ApprovalExpired):
            self.answer(describe_closed(self.approval()), alert=True)
        except InvalidDecision as error:
            self.answer(f"Not recorded. {error.detail}", alert=True)
            return
        else:
            self.answer(
                success_text if decision != Status.APPROVED or not is_stopped() else f"{success_text} {AFTER_THE_LIFT}"
            )
        self.use_button()

    def use_button(self) -> None:
        cards.use_button(self.button)

    def retire_buttons(self) -> None:
        """Invalidate the buttons that the message shows now, because it will be edited."""
        cards.retire_buttons(chat=self.button.chat, message=self.number)

    def redraw_message(self, message: Message) -> None:
        self.after.add(lambda api: posting.redraw_message(api, message.pk))


ButtonAction = Callable[[CallbackQuery], None]


def handle(update: Json, update_id: int, after: AfterCommitActions, actions: dict[str, ButtonAction]) -> None:
    """Check person, chat, message and token, and run the action of the button.

    A refused query changes nothing.
    """
    where = update.get("message") or {}
    person = Person.from_update(update.get("from") or {}, where.get("chat") or {}, update_id)
    callback_id, token, number = str(update["id"]), str(update.get("data", "")), int(where.get("message_id", 0))
    if why_not := person.refusal():
        person.audit_refusal(why_not, _find_intended_approval(token, person.chat))
        after.answer_callback(callback_id, why_not, alert=True)
        return
    button = cards.find_button(token, chat=person.chat, message=number)
    if button is None:
        person.audit_refusal(FORGED)
        after.answer_callback(callback_id, FORGED, alert=True)
        return
    query = CallbackQuery(person, button, number, callback_id, after)
    try:
        _run_action(query, actions)
    except SelfApproval as error:
        query.refuse(f"{error.detail} Nothing was changed.")
    except ApprovalNotFound:
        query.answer(GONE, alert=True)


def describe_closed(approval: Approval) -> str:
    """Return how a request closed, for a person who presses too late."""
    if approval.status in (Status.PENDING, Status.EXPIRED):
        return "Too late: nobody answered in time. Nothing was changed."
    name = f" by {_short_name(approval.decided_by)}" if approval.decided_by else ""
    return (
        f"Already {approval.status}{name} {names_of(approval.decided_via).in_message}".rstrip()
        + ". Nothing was changed."
    )


def _run_action(query: CallbackQuery, actions: dict[str, ButtonAction]) -> None:
    if query.button.action == Action.TEST:
        _confirm_test(query)
        return
    if query.button.action == Action.LIFT:
        actions[Action.LIFT](query)  # checks a second press itself
        return
    if query.button.used_at is not None and not _may_repeat(query.button):
        _refresh_outdated_card(query)
        return
    actions[query.button.action](query)


def _confirm_test(query: CallbackQuery) -> None:
    query.use_button()
    status.record_test(by=query.person.account)
    query.answer("It works: Orchestra heard you.")
    query.after.add(lambda api: posting.confirm_test_card(api, query.button.chat, query.number, query.person.account))


def _refresh_outdated_card(query: CallbackQuery) -> None:
    """Redraw a card after a press on a used button, or on one that an edit left behind."""
    approval, message = query.approval(), query.message()
    if not approval.is_open or message is None:
        query.answer(describe_closed(approval), alert=True)
        return
    query.retire_buttons()
    query.redraw_message(message)
    query.answer(RENEWED)


def _may_repeat(button: Button) -> bool:
    """Return True if the button only shows something and was used some time ago; then claim it."""
    long_ago = Q(used_at__lte=Now() - AGAIN_AFTER)
    shows = button.action in (Action.SHOW, Action.SHOW_ALL, Action.ANSWER, Action.NOTE)
    return shows and bool(Button.objects.filter(long_ago, pk=button.pk).update(used_at=Now()))


def _find_intended_approval(token: str, chat: int) -> UUID | None:
    """Return the approval that a refused person wanted to decide, for the audit."""
    found = Button.objects.filter(token_sha256=cards.hash_token(token), chat=chat)
    return found.values_list("approval_id", flat=True).first()


def _short_name(name: str) -> str:
    return one_line(name, LONGEST_NAME)
