"""The person behind an update, and whether this person may decide.

Only the numeric Telegram id identifies a person.
"""

from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from approvals.commands import decide_approval, record_attempt
from approvals.models import DecisionSource
from escalation.models import Approver
from escalation.queries import find_approver
from orchestra.auth.permissions import Right, may

Json = dict[str, Any]
REFUSED = "refused"  # the action in audit entries
UNKNOWN = "Orchestra does not know you. Ask its operator for a code, then send me: /link CODE"
NO_RIGHT = "Your account may not decide requests. Nothing was changed."
NO_PERSON = "A bot, or an administrator who stays anonymous, cannot answer. Nothing was changed."


def clean_text(text: str) -> str:
    """Return ``text`` without NUL and lone surrogates, which a database rejects."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class Person:
    """A Telegram user in one chat and update, with the linked account, if there is one."""

    telegram_user: int
    name: str
    is_person: bool
    chat: int
    private: bool
    update_id: int
    approver: Approver | None

    @classmethod
    def from_update(cls, sender: Json, chat: Json, update_id: int, *, is_anonymous: bool = False) -> Self:
        """``is_anonymous``: the sender writes as a chat, as anonymous administrators do."""
        number = int(sender.get("id", 0))
        is_person = number > 0 and not sender.get("is_bot") and not is_anonymous
        return cls(
            telegram_user=number,
            name=clean_text(str(sender.get("username") or sender.get("first_name") or number)),
            is_person=is_person,
            chat=int(chat.get("id", 0)),
            private=chat.get("type") == "private",
            update_id=update_id,
            approver=find_approver(number) if is_person else None,
        )

    @property
    def account(self) -> str:
        """The name under which decisions are recorded: the account or, without one, the Telegram
        id.
        """
        return self.approver.user.get_username() if self.approver else f"telegram:{self.telegram_user}"

    @property
    def address(self) -> str:
        """Where the person acted, for the audit."""
        return f"telegram user {self.telegram_user}, chat {self.chat}, update {self.update_id}"

    def refusal(self) -> str:
        """Return why the person may not decide now; an empty text if they may."""
        if not self.is_person:
            return NO_PERSON
        if self.approver is None:
            return UNKNOWN
        return "" if may(self.approver.user, Right.DECIDE) else NO_RIGHT

    def audit_refusal(self, reason: str, approval_id: Any = None) -> None:
        record_attempt(
            action=REFUSED, by=self.account, via=DecisionSource.TELEGRAM, address=self.address, reason=reason,
            approval_id=approval_id,
        )  # fmt: skip

    def decide(self, approval_id: UUID, decision: str, **details: Any) -> None:
        """Record this person's decision.

        Raises:
            ApprovalClosed, ApprovalExpired, InvalidDecision, SelfApproval: as `decide_approval`.
        """
        decide_approval(
            approval_id=approval_id, decision=decision, by=self.account, via=DecisionSource.TELEGRAM,
            address=self.address, **details,
        )  # fmt: skip
