"""The live hub when things go wrong: cuts, lost rings, a Redis that stops, readers that do not read."""

import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from approvals.models import Approval
from orchestra.db import notify
from orchestra.realtime import hub
from orchestra.runtime import embedded
from sessions_app.models import AgentSession, Event
from sessions_app.transcript import writer
from tests.factories import make_approval, make_session
from tests.hub import PATIENCE_S, Client, client
from tests.web import Web, running, until

pytestmark = pytest.mark.django_db(transaction=True)


def say(session: UUID, *texts: str) -> None:
    writer.append(session, [writer.line("text", text=text) for text in texts])


class Server:
    """A Valkey of our own, to stop and start again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "v.sock"
        self.url = f"unix://{self.path}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(embedded.server_command(self.path, self.folder), stdout=subprocess.DEVNULL)
        until(lambda: embedded.answers(self.path))

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("v"))
    server.start()
    yield server
    server.stop()


# --- I18: whoever reconnects with their last number ends with exactly the database's list


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_cuts_at_random_leave_no_gap_and_no_repeat(hub_web: Web, seed: int) -> None:
    chance = random.Random(seed)
    session = make_session()
    topic = f"session:{session.pk}"
    count = chance.randrange(1, 1500)
    before = chance.randrange(0, 900)
    say(session.pk, *(str(number) for number in range(before)))

    def speak() -> None:
        left = count
        while left:
            batch = min(left, chance.choice((1, 1, 2, 40, 300)))
            say(session.pk, *("x" * chance.randrange(200) for _ in range(batch)))
            left -= batch
        connection.close()

    speaker = threading.Thread(target=speak)
    speaker.start()
    seen: list[tuple[int, Any]] = []
    end = time.monotonic() + PATIENCE_S
    while speaker.is_alive() or len(seen) < Event.objects.filter(session=session.pk).count():
        assert time.monotonic() < end, f"{len(seen)} seen"
        with client(hub_web.port, hub_web.token, close_timeout=0.1) as mine:
            mine.subscribe(topic, after=seen[-1][0] if seen else 0)
            for _ in range(chance.choice((0, 1, 30, 2000))):
                try:
                    event = mine.hear(0.3)
                except TimeoutError:
                    break
                seen.append((event["seq"], event["payload"]["text"]))
            if chance.random() < 0.5:
                mine.socket.socket.close()  # no goodbye
    speaker.join()
    rows = Event.objects.filter(session=session.pk).order_by("seq").values_list("seq", flat=True)
    assert [seq for seq, _ in seen] == list(rows) == list(range(1, before + count + 1))


def test_a_client_ahead_of_the_database_is_told_nothing_old(ada: Client) -> None:
    session = make_session()
    say(session.pk, "a")
    ada.subscribe(f"session:{session.pk}", after=1)
    say(session.pk, "b")
    assert ada.events(f"session:{session.pk}", 1)[0]["payload"]["text"] == "b"


def test_who_follows_twice_starts_again_from_where_they_say(ada: Client) -> None:
    session = make_session()
    topic = f"session:{session.pk}"
    say(session.pk, "a", "b", "c")
    ada.subscribe(topic)
    assert [event["seq"] for event in ada.events(topic, 3)] == [1, 2, 3]
    ada.subscribe(topic, after=1)
    assert [event["seq"] for event in ada.events(topic, 2)] == [2, 3]


# --- hints that are lost, wrong or many


def test_a_burst_of_questions_reaches_everybody_whole(hub_web: Web) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(client(hub_web.port, hub_web.token)) for _ in range(5)]
        for mine in crowd:
            mine.subscribe("approvals")
        asked = set()
        for _ in range(200):
            approval = make_approval()
            notify.send("approval", str(approval.pk))
            asked.add(str(approval.pk))
        for mine in crowd:
            heard = [mine.until(lambda message: message["type"] == "event") for _ in range(200)]
            assert {event["payload"]["id"] for event in heard} == asked
            assert [event["seq"] for event in heard] == list(range(1, 201))


def test_what_no_ring_told_is_found_by_comparing(ada: Client) -> None:
    open_one, session = make_approval(), make_session(status="running")
    ada.subscribe("approvals")
    ada.subscribe("sessions")
    ada.subscribe(f"session:{session.pk}")
    asked = make_approval()
    AgentSession.objects.update(status="completed")
    Event.objects.create(session=session, seq=1, kind="text", payload='{"text": "unheard"}')
    AgentSession.objects.update(last_seq=1)
    Approval.objects.filter(pk=open_one.pk).update(status="expired", decided_at=asked.created_at)
    assert ada.event("approval.requested", id=str(asked.pk))
    assert ada.event("approval.changed", id=str(open_one.pk), status="expired")
    assert ada.event("session.changed", id=str(session.pk), status="completed")
    assert ada.event("text", text="unheard")["seq"] == 1


def test_a_ring_that_makes_no_sense_hurts_nobody(ada: Client) -> None:
    ada.subscribe("approvals")
    ada.subscribe("sessions")
    for topic in ("approval", "session", "events", "person", "?"):
        for key in ("", "x", "' OR 1=1", "ä"):
            notify.send(topic, key)
    approval = make_approval()
    notify.send("approval", str(approval.pk))
    assert ada.event("approval.requested", id=str(approval.pk))


def test_the_same_ring_twice_tells_once(ada: Client) -> None:
    ada.subscribe("approvals")
    approval = make_approval()
    for _ in range(5):
        notify.send("approval", str(approval.pk))
        time.sleep(0.05)
    assert ada.event("approval.requested")["seq"] == 1
    assert ada.silence(1) == []


# --- Redis


def test_redis_may_stop_and_come_back_under_open_sockets(tmp_path: Path, valkey: Server) -> None:
    with running(tmp_path, REDIS_URL=valkey.url) as web, client(web.port, web.token) as mine:
        session = make_session(status="running")
        topic = f"session:{session.pk}"
        mine.subscribe("approvals")
        mine.subscribe(topic)
        valkey.stop()
        approval = make_approval()
        notify.send("approval", str(approval.pk))
        say(session.pk, "while it was away")
        assert mine.event("approval.requested", id=str(approval.pk))
        assert mine.event("text", text="while it was away")
        assert mine.ask("decide", approval=str(approval.pk), approved=True)["type"] == "accepted"
        valkey.start()
        assert _delta(mine, valkey, topic)
        say(session.pk, "after it came back")
        assert mine.event("text", text="after it came back")["seq"] == 2


def _delta(mine: Client, valkey: Server, topic: str) -> Any:
    """Streaming text is heard again, once the web process has found the server again."""
    import redis

    stop = threading.Event()

    def speak() -> None:
        speaker = redis.Redis.from_url(valkey.url)
        while not stop.wait(0.2):
            speaker.publish(hub.channel(topic), '{"type": "delta", "text": "hello"}')

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        return mine.until(lambda message: message["type"] == "delta")
    finally:
        stop.set()
        thread.join()


def test_telling_never_waits_for_a_redis_that_hangs(valkey: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    assert valkey.process
    hanging = redis.Redis.from_url(valkey.url, socket_timeout=1.0, socket_connect_timeout=0.5)
    monkeypatch.setattr(notify, "redis_client", lambda: hanging)
    publisher = hub._Publisher()
    valkey.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    results = [publisher.put("session:x", b"{}") for _ in range(5000)]
    assert time.monotonic() - began < 5, "a generous guard: waiting once would take a second, five thousand times hours"
    assert results[0] is True
    assert results[-1] is False, "what cannot be told is dropped, not kept for ever"


def test_the_listener_of_text_survives_nonsense(ada: Client) -> None:
    session = make_session()
    topic = f"session:{session.pk}"
    ada.subscribe(topic)
    stop = threading.Event()

    def speak() -> None:
        while not stop.wait(0.1):
            for data in (b"x", b"[]", b"7", b'{"type": "delta"}', b'{"type": "delta", "text": 5}'):
                notify.publish(hub.channel(topic), data)
            hub.publish(topic, {"type": "delta", "text": "sense"})

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        assert "sense" in ada.until(lambda m: m["type"] == "delta" and "sense" in m["text"])["text"]
    finally:
        stop.set()
        thread.join()


# --- F18: readers that do not read


def test_who_does_not_read_is_closed_and_nobody_else_waits(hub_web: Web, ada: Client) -> None:
    session = make_session()
    topic = f"session:{session.pk}"
    before = psutil.Process(hub_web.process.pid).memory_info().rss
    with ExitStack() as stack:
        stuck = [stack.enter_context(follower_with_little_room(hub_web, topic)) for _ in range(10)]
        ports = {mine.socket.local_address[1] for mine in stuck}
        ada.subscribe(topic)
        for _ in range(30):
            say(session.pk, *["x" * 50_000] * 10)  # 15 MB for each: more than any buffer between us
        assert [event["seq"] for event in ada.events(topic, 300)] == list(range(1, 301))
        grown = psutil.Process(hub_web.process.pid).memory_info().rss - before
        assert grown < 100 * 2**20, "ten who do not read cost what one costs"
        until(lambda: hub_web.path_of_log.read_text().count("for it does not read") >= 10)
        assert stuck[0].closed() == 1013, "who reads on is told why"
        until(lambda: not ports & connected(hub_web))
    assert ada.ask("ping")["type"] == "pong"


@contextmanager
def follower_with_little_room(web: Web, topic: str) -> Iterator[Client]:
    """A socket that reads no more than it is asked to."""
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    own.connect(("127.0.0.1", web.port))
    patient = {"max_queue": 1, "ping_interval": None, "close_timeout": 0.1}
    with client(web.port, web.token, sock=own, **patient) as mine:
        mine.subscribe(topic)
        yield mine


def connected(web: Web) -> set[int]:
    """The far ports of the connections that the web process holds."""
    return {c.raddr.port for c in psutil.Process(web.process.pid).net_connections("tcp") if c.raddr}


def test_one_who_reads_slowly_is_kept_and_ends_with_everything(hub_web: Web) -> None:
    session = make_session()
    topic = f"session:{session.pk}"
    say(session.pk, *["x" * 20_000] * 300)
    with client(hub_web.port, hub_web.token, max_queue=1) as mine:
        mine.subscribe(topic)
        for seq in range(1, 301):
            if seq % 60 == 0:
                time.sleep(1)
            assert mine.hear()["seq"] == seq
        assert mine.ask("ping")["type"] == "pong"


def test_open_sockets_hold_neither_threads_nor_connections(hub_web: Web) -> None:
    session = make_session()
    with ExitStack() as stack:
        crowd = [stack.enter_context(client(hub_web.port, hub_web.token)) for _ in range(40)]
        for mine in crowd:
            mine.subscribe("approvals")
            mine.subscribe(f"session:{session.pk}")
        assert hub_web.threads() < 40
        assert hub_web.connections() <= 4 + 1
        say(session.pk, "x")
        assert all(mine.event("text")["seq"] == 1 for mine in crowd)
