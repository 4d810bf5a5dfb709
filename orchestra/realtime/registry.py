"""The topics and commands of the hub. Apps register theirs in ``AppConfig.ready``; the hub imports no app."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestra.auth.permissions import Right, rights_of

JSONText = str


@dataclass(frozen=True, slots=True)
class Caller:
    """The account behind a message, read for this message. ``by_cookie``: by a browser's session, not by a token."""

    user: Any
    address: str
    by_cookie: bool

    @property
    def username(self) -> str:
        return str(self.user.get_username())

    @property
    def rights(self) -> frozenset[Right]:
        return rights_of(self.user)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row as a list topic shows it.

    ``json_text`` is a JSON object that is not empty. ``volatile_fields`` returns further fields that change with
    time alone, such as seconds left. Rows with equal ``fingerprint`` look alike. Snapshots contain the rows with
    ``is_listed``, in the order of ``sort_key``; other rows are sent once, as a patch. ``owner`` may see the row
    without the right to see all.
    """

    key: str
    json_text: JSONText
    fingerprint: object
    is_listed: bool
    sort_key: Any
    owner: str = ""
    volatile_fields: Callable[[], Mapping[str, object]] = field(default=dict)


class RowSource(Protocol):
    """Rows of a list topic; ``created`` and ``changed`` are the kinds of its patches."""

    created: str
    changed: str

    def is_affected_by(self, topic: str, known: Row | None) -> bool:
        """Return whether a notification of ``topic`` is about one of these rows.

        ``known`` is the row with the notification's key, if there is one. Called on the event loop, for each
        notification.
        """

    def fingerprints(self) -> Mapping[str, object]:
        """Return key and fingerprint of at least every listed row. Runs on a thread; reads as few columns as it can."""

    def rows(self, keys: Collection[str]) -> Sequence[Row]:
        """Return the current rows that have one of ``keys``, or that a notification with such a key is about.

        Runs on a thread.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTopic:
    """Accounts with one of ``rights`` see all rows; accounts with one of ``own_rights`` see the rows they own."""

    rights: frozenset[Right]
    own_rights: frozenset[Right] = frozenset()
    sources: list[RowSource] = field(default_factory=list)


class LogSource(Protocol):
    """The logs ``<prefix>:<key>``: numbered entries in the order of their commits. All methods run on a thread."""

    notification_topic: str
    rights: frozenset[Right]

    def snapshot(self, key: str) -> tuple[str, Mapping[str, object], int]:
        """Return the canonical key, the fields of the snapshot, and the number of the newest entry.

        Raises:
            NotFound: there is no such log.
        """

    def entries(self, key: str, after: int, limit: int) -> Sequence[tuple[int, JSONText]]:
        """Return up to ``limit`` entries with a greater number, in order: number and fields of the message."""

    def newest_numbers(self, keys: Collection[str]) -> Mapping[str, int]:
        """Return the number of the newest entry of each log."""


@dataclass(frozen=True, slots=True)
class Command:
    """A message type that changes something.

    ``run`` runs on a thread, may raise what a REST view may, and returns the fields of ``accepted``.
    """

    rights: frozenset[Right]
    run: Callable[[Caller, Mapping[str, Any]], Mapping[str, object]]


lists: dict[str, ListTopic] = {}
logs: dict[str, LogSource] = {}
commands: dict[str, Command] = {}


def register_rows(
    topic: str, source: RowSource, *, rights: frozenset[Right], own_rights: frozenset[Right] = frozenset()
) -> None:
    """Add a source of rows to a list topic; all sources of a topic name the same rights."""
    known = lists.setdefault(topic, ListTopic(rights=rights, own_rights=own_rights))
    known.sources.append(source)


def register_log(prefix: str, log: LogSource) -> None:
    """Offer ``<prefix>:<key>`` as topics."""
    logs[prefix] = log


def register_command(kind: str, command: Command) -> None:
    """Accept messages of type ``kind``."""
    commands[kind] = command
