"""Writing a transcript: numbered in commit order, batched, guarded by the fence."""

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
"""Kind and payload (ASCII JSON text) of an event to come."""


def line(kind: str, /, **payload: object) -> Line:
    """An event of ours, as opposed to one the CLI said."""
    return kind, payload_text(payload)


def reminder_line(approval: Approval) -> Line:
    """Nobody has answered, and the deadline is near."""
    deadline = approval.expires_at.astimezone(UTC)
    up = "it never expires" if approval.never_expires else f"the time is up at {deadline:%H:%M} UTC"
    return line(
        Event.Kind.APPROVAL, approval=str(approval.pk), status=approval.status, tool=approval.tool_name,
        expires_at=None if approval.never_expires else deadline.isoformat(), reason=f"Nobody has answered yet; {up}.",
    )  # fmt: skip


def payload_text(payload: Mapping[str, object]) -> str:
    """``payload`` as strict ASCII JSON.

    Python reads more than that: NaN and the like become words; what is nested too deeply to be written is only noted.
    """
    try:
        return json.dumps(payload, ensure_ascii=True, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(payload), parse_constant=str), ensure_ascii=True)
    except RecursionError:
        return json.dumps({"note": "nested too deeply to be kept"})


def storable(text: str) -> str:
    """``text`` as a text column takes it: no NUL, no lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def append(session_id: UUID, lines: Sequence[Line], *, fence: int | None = None) -> int:
    """Add ``lines`` in order in one transaction and return the last number.

    Numbers are taken by the UPDATE that locks the session, so commit order is number order for every
    writer. A supervisor gives its ``fence``; other writers (a door, a sweep) need none.

    Raises:
        StaleFence: the session has another supervisor by now, or is gone; nothing was written.
    """
    if not lines:
        return 0
    write = _append_at_once if connection.vendor == "postgresql" else _append_one_by_one
    last = write(session_id, lines, fence)
    if last is None:
        raise StaleFence("The session belongs to another supervisor.")
    return last


def _append_at_once(session_id: UUID, lines: Sequence[Line], fence: int | None) -> int | None:
    """One statement and so one transaction: while an agent talks this is what its worker does most."""
    taking = _taking_numbers(session_id, lines, fence)
    notification = notify.notification("events", str(session_id))
    kinds, payloads = (list(column) for column in zip(*lines, strict=True))
    row = sql.row(
        f"WITH taken AS ({taking.text}),"  # noqa: S608 - statements of ours
        " written AS (INSERT INTO events (session_id, seq, kind, payload)"
        " SELECT %s, taken.last_seq - %s + line.number, line.kind, line.payload"
        " FROM taken, unnest(%s::text[], %s::text[]) WITH ORDINALITY AS line (kind, payload, number))"
        f" SELECT taken.last_seq, {notification.text} FROM taken",
        *taking.values, session_id, len(lines), kinds, payloads, *notification.values,
    )  # fmt: skip
    return int(row[0]) if row else None


def _append_one_by_one(session_id: UUID, lines: Sequence[Line], fence: int | None) -> int | None:
    taking = _taking_numbers(session_id, lines, fence)
    with transaction.atomic():
        row = sql.row(taking.text, *taking.values)
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
    """Bytes that these payloads take up; they are ASCII."""
    return sum(len(payload) for _, payload in lines)


def _taking_numbers(session_id: UUID, lines: Sequence[Line], fence: int | None) -> sql.Statement:
    """Django's update() cannot return what it wrote, hence SQL; both databases know RETURNING."""
    guard, values = ("", ()) if fence is None else (" AND fence = %s", (fence,))
    return sql.Statement(
        "UPDATE agent_sessions SET last_seq = last_seq + %s, transcript_bytes = transcript_bytes + %s"  # noqa: S608
        f" WHERE id = %s{guard} RETURNING last_seq",
        (len(lines), size_of(lines), session_id, *values),
    )
