"""How quickly Telegram gets a request and Orchestra a button action, and the effect of rate limits
and of abuse.

    python -m bench.telegram [--asks 100] [--burst 1000] [--forged 10000] [--dsn URL]

The bench runs three processes: a strict fake of the Bot API, the telegram process, and this one,
which creates requests and decides. The first two figures are measured without Telegram's rate
limits on either side. Only ratios to a floor of the same run count:

  told       an approval has committed -> sendMessage has arrived at the Bot API, no backlog;
             floor: one Redis PUBLISH and one bare HTTP POST to the Bot API
  decided    a callback query has been handed to the poller -> its decision has committed;
             floor: the same `decide_approval` on a warm connection
  burst      approvals in one minute to one group with Telegram's limits: whether all are sent
             before they expire, and whether anything is sent during a ``retry_after``
  forged     forged callback queries: how many were accepted

PostgreSQL and Valkey are started privately with the durability of production; ``--dsn`` names a
database of yours instead, which is migrated and written to.
"""

import argparse
import contextlib
import http.client
import json
import logging
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "123456:only-for-the-bench"
GROUP, ANNA = -1001234, 42
MUST = 5.0
PATIENCE_S = 120.0

Json = dict[str, Any]
T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asks", type=int, default=100, help="questions and presses to time; 0 leaves this out")
    parser.add_argument("--burst", type=int, default=1000, help="approvals within a minute; 0 leaves this out")
    parser.add_argument("--burst-seconds", type=float, default=60.0, help="the minute")
    parser.add_argument("--forged", type=int, default=10_000, help="forged callback queries; 0 skips them")
    parser.add_argument("--dsn", default="", help="postgres:// URL of a database to use")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    if options.serve:
        _serve()
        return
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orch-bench-")))
        _configure(stack, folder, options.dsn)
        figures = _measure(folder, options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def _configure(stack: contextlib.ExitStack, folder: Path, dsn: str) -> None:
    """Start the servers, and set the environment and the tables; Django may be imported only after
    this.
    """
    from tests import servers

    stack.callback(servers.stop)
    os.environ |= {
        "DATABASE_URL": dsn or servers.start_postgres(durable=True),
        "REDIS_URL": os.environ.get("REDIS_URL") or servers.start_redis(),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "ORCHESTRA_SECRET_KEY": "only-for-the-bench-" + "x" * 50,
        "ORCHESTRA_ENVIRONMENT": "development",
        "ORCHESTRA_DATA_DIR": str(folder / "data"),
        "ORCHESTRA_SELF_APPROVAL": "on",
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "TELEGRAM_CHAT_ID": str(GROUP),
    }


def _measure(folder: Path, options: argparse.Namespace) -> Json:
    logging.disable(logging.WARNING)  # thousands of decisions and refusals would each log a line
    figures: Json = {}
    with BotServer("--no-flood") as server, _telegram_process(server, folder, "-m", "bench.telegram", "--serve"):
        if options.asks:
            figures["told"] = _told(server, options.asks)
            figures["decided"] = _decided(server, options.asks)
        if options.forged:
            figures["forged"] = _forged(server, options.forged)
        figures["problems"] = server.control("problems")
        print(f"flagged by the stand-in's strict mode: {len(figures['problems'])}", flush=True)
    if options.burst:
        with BotServer() as server, _telegram_process(server, folder, "manage.py", "telegram"):
            figures["burst"] = _burst(server, options.burst, options.burst_seconds)
    return figures


# --- the processes


class BotServer:
    """The fake of the Bot API as a process."""

    def __init__(self, *arguments: str) -> None:
        people = ["--token", TOKEN, "--chat", f"{GROUP}:Bench", "--user", f"{ANNA}:anna"]
        command = [sys.executable, "-m", "tests.fakes.bot_api", "--port", "0", *people, *arguments]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.url = self._process.stdout.readline().split()[-1]
        self.host = self.url.removeprefix("http://")
        self._link = http.client.HTTPConnection(self.host, timeout=60)

    def __enter__(self) -> "BotServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)

    def control(self, name: str, **arguments: Any) -> Any:
        """Call the fake's control interface."""
        answer = self.post(f"/_control/{name}", arguments)
        assert answer["ok"], answer
        return answer["result"]

    def post(self, path: str, body: Json) -> Json:
        """Send one POST over a persistent connection."""
        self._link.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer: Json = json.loads(self._link.getresponse().read())
        return answer

    def last(self, method: str, number: int) -> Json:
        """Wait for the call of the method with this number and return it; times are of the
        monotonic clock.
        """
        return _until(lambda: self._nth(method, number), f"{method} number {number}")

    def _nth(self, method: str, number: int) -> Json | None:
        calls: list[Json] = self.control("calls", method=method)
        return calls[number - 1] if len(calls) >= number and calls[number - 1]["finished"] else None


@contextlib.contextmanager
def _telegram_process(server: BotServer, folder: Path, *command: str) -> Iterator[None]:
    """Start the telegram process and wait until it is ready."""
    os.environ["TELEGRAM_API_URL"] = server.url
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    log = folder / "telegram.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
            env=os.environ | {"ORCHESTRA_PROCESS": "telegram"},
        )  # fmt: skip
    try:
        _until(lambda: server.control("calls", method="getUpdates"), f"the telegram process polls; log: {log}")
        yield
    finally:
        process.terminate()
        process.wait(30)


def _serve() -> None:
    """Run the telegram process without rate limits, which would otherwise determine the result."""
    import django

    django.setup()
    from escalation.telegram.api import rate_limiter
    from escalation.telegram.service import Service

    rate_limiter.BURST = rate_limiter.GROUP_MINUTE = rate_limiter.ALL_CHATS_WINDOW = (1_000_000, 1.0)
    service = Service()
    signal.signal(signal.SIGTERM, lambda *_: service.stop())
    service.run()


# --- what is measured


def _told(server: BotServer, asks: int) -> Json:
    from orchestra.db import notify

    spans, floors = [], []
    for _ in range(asks):
        approval_id, command = _ask()
        committed = time.monotonic()
        server.control("wait_for_message", contains=command, timeout=PATIENCE_S)
        call = server.control("calls", method="sendMessage")[-1]
        spans.append(call["started"] - committed)
        _settle(approval_id)
        bare = {**call["params"], "chat_id": ANNA}
        began = time.monotonic()
        notify.publish("bench", "ring")
        server.post(f"/bot{TOKEN}/sendMessage", bare)
        floors.append(time.monotonic() - began)
    return _ratio("told", spans, floors)


def _decided(server: BotServer, asks: int) -> Json:
    from approvals.commands import decide_approval

    _link_anna()
    arrivals: dict[str, float] = {}
    _listen(arrivals)
    spans, floors = [], []
    for _ in range(asks):
        approval_id, command = _ask()
        card = server.control("wait_for_message", contains=command, timeout=PATIENCE_S)
        arrivals.clear()
        server.control("press", user_id=ANNA, chat_id=GROUP, message_id=card["message_id"], button="Approve")
        committed = _until(lambda key=str(approval_id): arrivals.get(key), "the decision")
        polls = [call for call in server.control("calls", method="getUpdates") if call["finished"]]
        spans.append(committed - max(call["finished"] for call in polls if call["finished"] < committed))
        _until(_all_settled, "the card is settled")
        other, _ = _ask()
        began = time.monotonic()
        decide_approval(approval_id=other, decision="approved", by="anna", via="admin")
        floors.append(time.monotonic() - began)
        _until(_all_settled, "the other card is settled")
    return _ratio("decided", spans, floors)


def _burst(server: BotServer, number: int, seconds: float) -> Json:
    """Create requests evenly over the time, wait until all are sent, close them, and wait for the
    cards' updates.
    """
    from approvals.commands import decide_approval
    from approvals.models import Approval
    from escalation.models import Delivery
    from escalation.queries import count_stale_cards

    began = time.monotonic()
    ids = []
    for place in range(number):
        ids.append(_ask()[0])
        time.sleep(max(0.0, began + seconds * place / number - time.monotonic()))
    unsent = Delivery.objects.exclude(sent_at__isnull=False)
    _until(lambda: not unsent.filter(approval__in=ids).exists() and _noted(ids), "all are sent", patience_s=1800)
    sent_s = time.monotonic() - began
    expired = Approval.objects.filter(pk__in=ids).exclude(status="pending").count()
    for approval_id in ids:
        decide_approval(approval_id=approval_id, decision="rejected", by="anna", via="admin")
    closed = time.monotonic()
    _until(lambda: count_stale_cards() == 0, "no card is stale", patience_s=1800)
    settled_s = time.monotonic() - closed
    calls = [call for call in server.control("calls") if call["method"] in ("sendMessage", "editMessageText")]
    problems = server.control("problems")
    early = [problem for problem in problems if problem["kind"] == "ignored_retry_after"]
    figures = {
        "approvals": number, "told_s": sent_s, "expired_untold": expired, "settled_s": settled_s,
        "messages": sum(call["method"] == "sendMessage" for call in calls),
        "edits": sum(call["method"] == "editMessageText" for call in calls),
        "answers_429": sum(call["status"] == 429 for call in calls),
        "inside_retry_after": len(early), "flagged": len(problems),
    }  # fmt: skip
    print(
        f"burst    {number} approvals in {seconds:g} s: all sent after {sent_s:.0f} s in {figures['messages']}"
        f" messages, {expired} expired; all cards settled {settled_s:.0f} s after the last close"
        f" ({figures['edits']} edits); {figures['answers_429']} answers 429,"
        f" {len(early)} requests inside a retry_after, {len(problems)} flagged"
    )
    return figures


def _forged(server: BotServer, number: int) -> Json:
    """Apply forged updates: invented tokens, used ones, and valid ones from another chat, message
    or person.
    """
    from django.conf import settings

    from approvals.models import Approval
    from escalation.models import Button
    from escalation.telegram.api.client import BotApi
    from escalation.telegram.inbound import updates

    victim, command = _ask()
    card = server.control("wait_for_message", contains=command, timeout=PATIENCE_S)
    good = card["buttons"][0][0]["callback_data"]
    api = BotApi(settings.TELEGRAM)
    here, elsewhere = {"id": GROUP, "type": "supergroup"}, {"id": ANNA, "type": "private"}
    anna, stranger = {"id": ANNA, "is_bot": False, "first_name": "anna"}, {"id": 66, "is_bot": False, "first_name": "x"}
    kinds: list[Callable[[], Json]] = [
        lambda: _press(anna, here, card["message_id"], secrets.token_urlsafe(24)),
        lambda: _press(anna, here, card["message_id"] + 1000, good),
        lambda: _press(anna, elsewhere, card["message_id"], good),
        lambda: _press(stranger, here, card["message_id"], good),
        lambda: _press(anna, here, card["message_id"], str(victim)),
    ]
    for place in range(number):
        update = kinds[place % len(kinds)]()
        updates.handle({"update_id": 10_000_000 + place, "callback_query": update}, api)
    accepted = Approval.objects.exclude(pk=victim, status="pending").filter(pk=victim).count()
    spent = Button.objects.filter(approval=victim, used_at__isnull=False).count()
    _settle(victim)
    for place in range(number // 10):  # the valid token, after it was used
        update = _press(anna, here, card["message_id"], good)
        updates.handle({"update_id": 20_000_000 + place, "callback_query": update}, api)
    accepted += Approval.objects.filter(pk=victim).exclude(decided_by="olga").count()
    total = number + number // 10
    print(f"forged   {total} forged callback queries: {accepted} accepted, {spent} tokens spent by them")
    return {"presses": total, "accepted": accepted, "spent": spent}


def _press(person: Json, chat: Json, message: int, data: str) -> Json:
    return {
        "id": str(secrets.randbelow(10**15)), "from": person, "chat_instance": "1", "data": data,
        "message": {"message_id": message, "date": int(time.time()), "chat": chat},
    }  # fmt: skip


# --- small things


def _ask() -> tuple[UUID, str]:
    """Create an approval request; return it with its command, which is unique."""
    from approvals.commands import ApprovalRequest, request_approval

    command = f"rm -r build/{secrets.token_hex(4)}"
    question = ApprovalRequest(
        title=f"Bash: {command}", tool_name="Bash", tool_input=json.dumps({"command": command}), input_digest="0" * 64
    )
    return request_approval(question), command


def _settle(approval_id: UUID) -> None:
    from approvals.commands import decide_approval

    decide_approval(approval_id=approval_id, decision="rejected", by="olga", via="api")
    _until(_all_settled, "the card is settled")


def _all_settled() -> bool:
    from escalation.models import Delivery

    time.sleep(0.02)
    return not Delivery.objects.exclude(status__in=("settled", "failed")).exists()


def _noted(ids: list[UUID]) -> bool:
    from escalation.models import Delivery

    return Delivery.objects.filter(approval__in=ids).count() == len(ids)


def _link_anna() -> None:
    from django.contrib.auth.models import Group, User

    from escalation.models import Approver

    user, _ = User.objects.get_or_create(username="anna")
    user.groups.add(Group.objects.get(name="Approver"))
    Approver.objects.update_or_create(user=user, defaults={"telegram_user": ANNA, "telegram_name": "anna"})


def _listen(arrivals: dict[str, float]) -> None:
    """Record when the notification of each approval arrives; PostgreSQL sends it at the commit."""
    from orchestra.db import notify

    notify.listener.add(lambda topic, key: arrivals.setdefault(key, time.monotonic()) and None)
    assert notify.listener.listening.wait(PATIENCE_S)


def _ratio(name: str, spans: list[float], floors: list[float]) -> Json:
    p50, floor = statistics.median(spans), statistics.median(floors)
    worst = sorted(spans)[int(0.99 * (len(spans) - 1))]
    verdict = "met" if p50 / floor <= MUST else "MISSED"
    print(
        f"{name:<8} p50 {p50 * 1e3:.2f} ms, p99 {worst * 1e3:.2f} ms; floor p50 {floor * 1e3:.2f} ms;"
        f" ratio {p50 / floor:.2f} of at most {MUST:g}: {verdict}",
        flush=True,
    )
    return {"n": len(spans), "p50_s": p50, "p99_s": worst, "floor_p50_s": floor, "ratio": p50 / floor}


def _until(what: Callable[[], T | None], why: str, patience_s: float = PATIENCE_S) -> T:
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if answer := what():
            return answer
        time.sleep(0.005)
    raise SystemExit(f"not within {patience_s:g} s: {why}")


if __name__ == "__main__":
    main()
