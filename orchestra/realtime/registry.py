"""What the hub shows and does. Apps register in their ``ready``; the hub imports none of them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestra.auth.permissions import Right, rights_of

JSONText = str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who speaks on a socket, judged afresh for this message. ``by_cookie``: a browser's session, not a token."""

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

    ``text`` is a JSON object that is not empty; ``passing()`` gives the fields that change by themselves, such as
    seconds left. Rows with equal ``mark`` look alike. ``listed`` rows stand in snapshots, by ``rank``; the others are
    told once. ``owner`` may see the row without the right to see all.
    """

    key: str
    text: JSONText
    mark: object
    listed: bool
    rank: Any
    owner: str = ""
    passing: Callable[[], Mapping[str, object]] = field(default=dict)


class Rows(Protocol):
    """What a list topic is made of; ``created`` and ``changed`` are the kinds of its patches."""

    created: str
    changed: str

    def hears(self, topic: str, known: Row | None) -> bool:
        """Whether a ring of the doorbell is about one of these rows; ``known`` is the row with the ring's key, if any.

        Asked on the event loop, for each ring.
        """

    def marks(self) -> Mapping[str, object]:
        """Key and mark of every listed row now, maybe of others; as few columns as possible. Read on a thread."""

    def rows(self, keys: Collection[str]) -> Sequence[Row]:
        """The rows as they are now that these keys of theirs, or of rings they hear, are about. Read on a thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTopic:
    """Rows which everybody with one of ``rights`` sees, and who has one of ``own_rights`` as far as they own them."""

    rights: frozenset[Right]
    own_rights: frozenset[Right] = frozenset()
    sources: list[Rows] = field(default_factory=list)


class Log(Protocol):
    """What a topic ``<prefix>:<key>`` is made of: numbered entries in the order of their commits; read on a thread."""

    rings: str
    rights: frozenset[Right]

    def snapshot(self, key: str) -> tuple[str, Mapping[str, object], int]:
        """The key as the database spells it, the snapshot's own fields, and the number of the newest entry.

        Raises:
            NotFound: there is no such thing.
        """

    def entries(self, key: str, after: int, limit: int) -> Sequence[tuple[int, JSONText]]:
        """Up to ``limit`` entries with a greater number, in order: the number, and the other fields of the message."""

    def heads(self, keys: Collection[str]) -> Mapping[str, int]:
        """The newest number of each."""


@dataclass(frozen=True, slots=True)
class Command:
    """What a client may ask for. ``run`` works on a thread, raises what a REST view may, returns what was accepted."""

    rights: frozenset[Right]
    run: Callable[[Caller, Mapping[str, Any]], Mapping[str, object]]


lists: dict[str, ListTopic] = {}
logs: dict[str, Log] = {}
commands: dict[str, Command] = {}


def show_rows(topic: str, rows: Rows, *, rights: frozenset[Right], own_rights: frozenset[Right] = frozenset()) -> None:
    """Add ``rows`` to a list topic; whoever adds to the same topic names the same rights."""
    known = lists.setdefault(topic, ListTopic(rights=rights, own_rights=own_rights))
    known.sources.append(rows)


def show_log(prefix: str, log: Log) -> None:
    """Offer ``<prefix>:<key>`` as topics."""
    logs[prefix] = log


def obey(kind: str, command: Command) -> None:
    """Accept messages of type ``kind``."""
    commands[kind] = command
