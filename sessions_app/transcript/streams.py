"""Transcripts as streams: live server-sent events, or the whole as Markdown or JSON lines.

The streams run on the event loop.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

from orchestra.db.async_notify import in_thread, listening, release_request_thread
from orchestra.realtime import live
from orchestra.rest.exact_json import RawJSON, dumps
from sessions_app.models import AgentSession, Event
from sessions_app.queries import events_after
from sessions_app.transcript.markdown import as_markdown, heading

PAGE = 500  # events read at once
POLL_S = 2.0  # the longest delay after a lost notification
KEEP_ALIVE_S = 15.0


async def server_sent_events(
    session_id: UUID, after: int, still_allowed: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    """Yield every event after number ``after``, then new ones, until the client leaves or loses its
    rights.

    The events come in the order of the database, without gap or repetition, also after lost
    notifications. Between them come ``delta`` messages without a number: streaming text of the
    model, which is never repeated.
    """
    topic = f"session:{session_id}"
    release_request_thread()  # the response has passed all middleware by now
    with listening("events", str(session_id)) as listener, live.inbox(topic, listener.set) as deltas:
        yield b": connected\n\n"
        checked = time.monotonic()
        while True:
            events = await in_thread(events_after, session_id, after, PAGE)
            if events:
                yield _bytes("".join(map(_frame, events)))
                after = events[-1].seq
            while deltas:
                yield _bytes(f"event: delta\ndata: {dumps({'text': deltas.popleft()['text']})}\n\n")
            if time.monotonic() - checked >= KEEP_ALIVE_S:
                if not await still_allowed():
                    return
                yield b": still here\n\n"
                checked = time.monotonic()
            if len(events) < PAGE:
                await listener.wait(POLL_S)


async def json_lines(session: AgentSession) -> AsyncIterator[bytes]:
    """The transcript up to now, one event per line, with unchanged payloads."""
    async for event in _events(session):
        yield _bytes(dumps(event_data(event)) + "\n")


async def markdown(session: AgentSession) -> AsyncIterator[bytes]:
    """The transcript up to now as Markdown."""
    yield _bytes(heading(session))
    async for event in _events(session):
        yield _bytes(as_markdown(event))


def event_data(event: Event) -> dict[str, Any]:
    """The JSON object of an event, the same in REST, server-sent events, JSON lines and WebSocket."""
    return {"seq": event.seq, "kind": event.kind, "at": event.at, "payload": RawJSON(event.payload)}


async def _events(session: AgentSession) -> AsyncIterator[Event]:
    after = 0
    while page := await in_thread(events_after, session.pk, after, PAGE):
        for event in page:
            yield event
        after = page[-1].seq


def _frame(event: Event) -> str:
    return f"id: {event.seq}\nevent: {event.kind}\ndata: {dumps(event_data(event))}\n\n"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
