"""People at a console with requests of every kind, for tests in a real browser."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from playwright.sync_api import Browser, Page

from tests import browser as browsers
from tests.stack import Stack

PATIENCE_MS = 60_000
RESTED_MS = 900  # a card that just appeared, and a key after one that chose or opened, need a rest

WIDE = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}

ADA = """
from django.contrib.auth.models import Group, User
from django.test import Client
user, _ = User.objects.get_or_create(username="ada")
user.groups.add(Group.objects.get(name="Administrator"))
client = Client()
client.force_login(user)
print(client.cookies["sessionid"].value)
"""
REQUESTS = """
import json
from datetime import timedelta
from django.utils import timezone
from approvals.models import Approval
from tests.factories import make_approval

def question(*texts):
    options = [{"label": "Now", "description": "at once"}, {"label": "Tonight", "description": ""}]
    return json.dumps({"questions": [
        {"question": text, "header": "When", "multiSelect": False, "options": options} for text in texts]})

KINDS = {
    "low": dict(title="Bash: make test", tool_input=json.dumps({"command": "make test"}), risk="low"),
    "high": dict(risk="high", risk_reason="deletes or overwrites data"),
    "edit": dict(title="Write: notes.txt", tool_name="Write", risk="medium",
                 tool_input=json.dumps({"file_path": "/tmp/notes.txt", "content": "one"})),
    "plan": dict(title="Plan", kind="plan", tool_name="ExitPlanMode", tool_input=json.dumps({"plan": "1. look"})),
    "question": dict(title="Question", kind="question", tool_name="AskUserQuestion", tool_input=question("When?")),
    "two": dict(title="Approvals", kind="question", tool_name="AskUserQuestion",
                tool_input=question("When first?", "When then?")),
    "external": dict(title="May I deploy?", kind="external", tool_name="", tool_input=""),
    "choice": dict(title="Which one?", kind="external", tool_name="", tool_input="", options=json.dumps(["a", "b"])),
}
made = []
for number, kind in enumerate(%(kinds)s):
    ends = timezone.now() + timedelta(minutes=60 + number)
    made.append(str(make_approval(**KINDS[kind] | {"expires_at": ends, "working_directory": "/tmp"}).pk))
print(json.dumps(made))
"""
CLEAR = """
from django.utils import timezone
from approvals.models import Approval
Approval.objects.filter(status="pending").update(status="cancelled", decided_at=timezone.now())
"""

Opens = Callable[..., Page]


@contextmanager
def desk(stack: Stack, chromium: Browser) -> Iterator[Opens]:
    """``opens(path, **options)``: a page of ada's, who may do everything; what it complains about fails the test."""
    cookie = stack.manage("shell", "-v", "0", "-c", ADA).strip().splitlines()[-1]
    complaints: list[list[str]] = []
    with ExitStack() as everything:

        def opens(path: str, **options: Any) -> Page:
            own, said = everything.enter_context(browsers.context(chromium, stack.console_url, **options))
            complaints.append(said)
            own.add_cookies([{"name": "sessionid", "value": cookie, "url": stack.console_url}])
            own.set_default_timeout(PATIENCE_MS)
            page = own.new_page()
            page.goto(path)
            page.wait_for_selector("html[data-hub=live]", state="attached")
            return page

        yield opens
    said = [line for said in complaints for line in said]
    assert said == [], said


def seed(stack: Stack, *kinds: str) -> list[str]:
    """Open requests of these kinds and no others, the first ends first; their ids."""
    stack.manage("shell", "-v", "0", "-c", CLEAR)
    made = stack.manage("shell", "-v", "0", "-c", REQUESTS % {"kinds": repr(list(kinds))})
    return list(json.loads(made.strip().splitlines()[-1]))


def statuses(stack: Stack, ids: list[str]) -> list[str]:
    """What became of each."""
    return [str(stack.call("GET", f"/api/approvals/{one}", expect=200)["status"]) for one in ids]


def ask(stack: Stack, title: str, **more: Any) -> str:
    """A program's request, as it comes by REST while people look; its id."""
    return str(stack.call("POST", "/api/approvals", {"title": title, **more}, expect=201)["id"])


def play(keys: list[tuple[float, Page, str]]) -> None:
    """Press keys on several pages, each at its time in seconds from now."""
    begin = time.monotonic()
    for at, page, key in sorted(keys, key=lambda one: one[0]):
        page.wait_for_timeout(max(0.0, (begin + at - time.monotonic()) * 1000))
        page.keyboard.press(key)
