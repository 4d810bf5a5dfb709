"""Transcript writer: it appends events in batches, numbered in commit order and guarded by the
fencing token.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from uuid import UUID

from django.db import connection, transaction

from approvals.models import Approval
from orchestra.db import notify, sql
from sessions_app.errors import StaleFence
from sessions_app.models import Event

Line = tuple[str, str]
"""Kind and payload (ASCII JSON text) of an event that is to be appended."""


def line(kind: str, /, **payload: object) -> Line:
    """An event that Orchestra itself adds to the transcript."""
    return kind, payload_text(payload)


def reminder_line(approval: Approval) -> Line:
    """The event that reminds of an undecided approval shortly before its deadline."""
    deadline = approval.expires_at.astimezone(UTC)
    up = "it never expires" if approval.never_expires else f"the time is up at {deadline:%H:%M} UTC"
    return line(
        Event.Kind.APPROVAL, approval=str(approval.pk), status=approval.status, tool=approval.tool_name,
        expires_at=None if approval.never_expires else deadline.isoformat(), reason=f"Nobody has answered yet; {up}.",
    )  # fmt: skip


def payload_text(payload: Mapping[str, object]) -> str:
    """``payload`` as strict ASCII JSON.

    Python's parser accepts more than that: NaN and infinities become strings, and a payload that is
    nested too deeply to be written is replaced by a note.
    """
    try:
        return json.dumps(payload, ensure_ascii=True, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(payload), parse_constant=str), ensure_ascii=True)
    except RecursionError:
        return json.dumps({"note": "nested too deeply to be kept"})


def storable(text: str) -> str:
    """``text`` without the NUL characters and lone surrogates that a text column refuses."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def append(session_id: UUID, lines: Sequence[Line], *, fence: int | None = None) -> int:
    """Append ``lines`` in order, in one transaction; return the number of the last one.

    The UPDATE that locks the session also takes the numbers, so that commit order is number order
    for every writer. A supervisor passes its fencing token as ``fence``; commands and sweeps pass
    none.

    Raises:
        StaleFence: another supervisor has taken the session, or it is deleted; nothing was written.
    """
    if not lines:
        return 0
    write = _append_at_once if connection.vendor == "postgresql" else _append_one_by_one
    last = write(session_id, lines, fence)
    if last is None:
        raise StaleFence("The session belongs to another supervisor.")
    return last


def _append_at_once(session_id: UUID, lines: Sequence[Line], fence: int | None) -> int | None:
    """Append with one statement: a worker executes it more often than any other."""
    numbers = _take_numbers(session_id, lines, fence)
    notification = notify.notification("events", str(session_id))
    kinds, payloads = (list(column) for column in zip(*lines, strict=True))
    row = sql.row(
        f"WITH taken AS ({numbers.text}),"  # noqa: S608 - statements of ours
        " written AS (INSERT INTO events (session_id, seq, kind, payload)"
        " SELECT %s, taken.last_seq - %s + line.number, line.kind, line.payload"
        " FROM taken, unnest(%s::text[], %s::text[]) WITH ORDINALITY AS line (kind, payload, number))"
        f" SELECT taken.last_seq, {notification.text} FROM taken",
        *numbers.values, session_id, len(lines), kinds, payloads, *notification.values,
    )  # fmt: skip
    return int(row[0]) if row else None


def _append_one_by_one(session_id: UUID, lines: Sequence[Line], fence: int | None) -> int | None:
    numbers = _take_numbers(session_id, lines, fence)
    with transaction.atomic():
        row = sql.row(numbers.text, *numbers.values)
        if row is None:
            return None
        last = int(row[0])
        Event.objects.bulk_create(
            Event(session_id=session_id, seq=seq, kind=kind, payload=payload)
            for seq, (kind, payload) in enumerate(lines, start=last - len(lines) + 1)
        )
        notify.send("events", str(session_id))
    return last


def size_of(lines: Iterable[Line]) -> int:
    """The size of the payloads in bytes, which is their length because they are ASCII."""
    return sum(len(payload) for _, payload in lines)


def _take_numbers(session_id: UUID, lines: Sequence[Line], fence: int | None) -> sql.Statement:
    """The UPDATE that takes the numbers.

    It is SQL because Django's ``update()`` returns no values.
    """
    guard, values = ("", ()) if fence is None else (" AND fence = %s", (fence,))
    return sql.Statement(
        "UPDATE agent_sessions SET last_seq = last_seq + %s, transcript_bytes = transcript_bytes + %s"  # noqa: S608
        f" WHERE id = %s{guard} RETURNING last_seq",
        (len(lines), size_of(lines), session_id, *values),
    )
