"""What a channel promises, and what it is given to tell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from approvals.presentation.render import Block
from escalation.errors import DeliveryError
from escalation.models import Button, Delivery

__all__ = ["Channel", "DeliveryError", "DeliveryNotice", "Notice", "Outcome"]


Place = tuple[int, int]
"""Chat and number of a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A question to tell people of; plain data, read at one moment.

    ``blocks`` is all that would run, uncut, safe to print, to be quoted for the channel's own format and no more;
    empty where only the outcome has to be told. ``questions`` as `approvals.presentation.render.questions_of` gives
    them.
    ``details_url`` is empty without ``ORCHESTRA_PUBLIC_URL``. ``for_session``: "approve for session" makes sense,
    ``session_label`` says what it covers.

    No field holds a secret: they are replaced by ``[secret 1]`` and so on, ``secrets`` says how many there were;
    ``left_out``: a part is too large to be searched for them and is hidden, so no channel may offer approval. What a
    channel says of the request from elsewhere, such as an answer chosen so far, has to go through ``hide``.
    """

    approval_id: UUID
    kind: str
    title: str
    summary: str = ""
    risk: str
    risk_reason: str = ""
    tool_name: str = ""
    blocks: tuple[Block, ...] = ()
    questions: tuple[dict[str, Any], ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    working_directory: str = ""
    session: UUID | None = None
    requested_by: str = ""
    digest: str = ""
    created_at: datetime
    expires_at: datetime
    seconds_left: float
    never_expires: bool = False
    details_url: str = ""
    for_session: bool = False
    session_label: str = "Approve for session"
    secrets: int = 0
    left_out: bool = False
    hide: Callable[[str], str] = field(default=str, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an approval closed. ``answers`` is JSON text; ``edited``: something else ran than was asked for.

    ``session_scope`` says what passes for the session. ``reopenable``: it can be asked again, ``asked_again``: it was.
    """

    status: str
    decided_by: str = ""
    decided_via: str = ""
    decided_at: datetime | None = None
    reason: str = ""
    note: str = ""
    reopenable: bool = False
    asked_again: bool = False
    scope: str = ""
    session_scope: str = ""
    answers: str = ""
    edited: bool = False


DeliveryNotice = tuple[Delivery, Notice]


class PreparedMessage(Protocol):
    """A message that is ready to go."""

    @property
    def buttons(self) -> Sequence[Button]: ...


class Channel(Protocol):
    """One way to reach people. Methods raise ``DeliveryError`` (and what the database raises), and return within the
    channel's own timeout, quick repetitions included; what is tried later is the outbox's business."""

    def ask(self, notices: Sequence[DeliveryNotice], *, silent: bool) -> None:
        """Tell people of these questions, in one message; remember it, so that it is settled later."""

    def prepare(self, notice: DeliveryNotice, *, silent: bool) -> PreparedMessage:
        """The message of one question, whose ``buttons`` have to be saved before it may be delivered."""

    def send_prepared(self, prepared: Any, notice: DeliveryNotice, *, silent: bool) -> None:
        """Send it, as ``ask`` would."""

    def remind(self, notices: Sequence[DeliveryNotice]) -> None:
        """Say that these are still open and nearly over."""

    def settle(self, place: Place) -> None:
        """Bring the message at ``place`` up to what is true now."""
