"""The protocol of a channel, and the data that it receives."""

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
    """What a channel shows of one approval request. Plain data, read at one moment.

    ``blocks`` holds everything that would run, uncut and safe to print. The channel only quotes it
    for its own format. It is empty where the outcome alone is shown. ``questions`` has the shape
    that `approvals.presentation.render.questions_of` returns. ``details_url`` is empty without
    ``ORCHESTRA_PUBLIC_URL``. ``for_session`` is True if the request can be approved for its
    session; ``session_label`` names what that covers.

    No field contains a secret: each is replaced by ``[secret 1]`` and so on, and ``secrets`` is
    their number. ``left_out``: a part is too large for the search for secrets and is hidden, so no
    channel may offer approval. Text of the request from another source, such as an answer chosen so
    far, must pass through ``hide``.
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
    """How an approval request closed.

    ``answers`` is JSON text. ``edited``: the person changed the input before approving.
    ``session_scope`` describes what passes for the rest of the session. ``reopenable``: the request
    can be asked again; ``asked_again``: this has happened.
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
    """A message that is ready to be sent once its buttons are saved."""

    @property
    def buttons(self) -> Sequence[Button]: ...


class Channel(Protocol):
    """One way to reach people.

    Methods raise ``DeliveryError`` (and database errors), and return within the timeout of the
    channel, quick retries included. Later retries are the task of the outbox.
    """

    def ask(self, notices: Sequence[DeliveryNotice], *, silent: bool) -> None:
        """Send these approval requests in one message, and record it, so that it can be settled."""

    def prepare(self, notice: DeliveryNotice, *, silent: bool) -> PreparedMessage:
        """Build the message for one request.

        Its ``buttons`` must be saved before the message is sent.
        """

    def send_prepared(self, prepared: Any, notice: DeliveryNotice, *, silent: bool) -> None:
        """Send the prepared message, with the same effect as ``ask``."""

    def remind(self, notices: Sequence[DeliveryNotice]) -> None:
        """Send a reminder that these requests are still open and expire soon."""

    def settle(self, place: Place) -> None:
        """Update the message at ``place`` to the present state of its requests."""
