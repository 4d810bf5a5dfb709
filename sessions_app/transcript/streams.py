"""A transcript as it grows (server-sent events), and as a whole (Markdown, JSON lines). Runs on the event loop."""

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
POLL_S = 2.0  # a lost ring costs so much
KEEP_ALIVE_S = 15.0


async def server_sent_events(
    session_id: UUID, after: int, still_allowed: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    """Every event after number ``after``, those to come as well, until the client leaves or may no longer look.

    Events come in the database's own order, without gap or repeat, whatever is lost on the way of a ring. Between them
    stand ``delta`` messages without a number: text as the model says it, never repeated.
    """
    topic = f"session:{session_id}"
    release_request_thread()  # the response has passed all middleware by now
    with listening("events", str(session_id)) as bell, live.inbox(topic, bell.set) as deltas:
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
                await bell.wait(POLL_S)


async def json_lines(session: AgentSession) -> AsyncIterator[bytes]:
    """The transcript so far, one event a line, payloads word for word."""
    async for event in _events(session):
        yield _bytes(dumps(event_data(event)) + "\n")


async def markdown(session: AgentSession) -> AsyncIterator[bytes]:
    """The transcript so far, for people."""
    yield _bytes(heading(session))
    async for event in _events(session):
        yield _bytes(as_markdown(event))


def event_data(event: Event) -> dict[str, Any]:
    """An event as every reader of a transcript gets it."""
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
