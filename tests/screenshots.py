"""Pictures of the console for the docs, taken from the running thing: ``make screenshots``.

A whole Orchestra in a temporary folder, the real CLI against a scripted model, a real Chromium. To add a page, add a
line to ``PAGES``; its address may name what the story made: ``{session}``, ``{question}``, ``{approval}``.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

from tests import browser as browsers
from tests.fakes.real_cli import messages_api, real_cli_env, real_cli_path
from tests.stack import Stack, running, until

OUT = Path(__file__).resolve().parent.parent / "docs" / "images"
PERSON = "marta"
WIDE, PHONE = (1280, 860), (360, 740)


@dataclass(frozen=True)
class Picture:
    """One file: what is photographed, how wide, in which theme, and what a person does first."""

    name: str
    address: str
    size: tuple[int, int] = WIDE
    theme: str = "light"
    open: str = ""
    """A selector to click before the picture is taken."""


PAGES = [
    Picture("home", "/"),
    Picture("home-dark", "/", theme="dark"),
    Picture("home-phone", "/", size=PHONE),
    Picture("session", "/sessions/{session}", size=(1280, 1000)),
    Picture("session-dark", "/sessions/{session}", theme="dark", size=(1280, 1000)),
    Picture("session-phone", "/sessions/{session}", size=PHONE, theme="dark"),
    Picture("question", "/sessions/{question}"),
    Picture("question-phone", "/sessions/{question}", size=PHONE),
    Picture("new-session", "/", open="text=New session"),
    Picture("welcome", "/welcome"),
    Picture("approval", "/approvals/{approval}"),
    Picture("approval-dark", "/approvals/{notes}", theme="dark", open="summary:has-text('Edit and approve')"),
    Picture("approval-phone", "/approvals/{approval}", size=PHONE, theme="dark"),
    Picture("questions", "/approvals"),
    Picture("questions-phone", "/approvals", size=PHONE),
    Picture("sessions", "/sessions"),
    Picture("sessions-phone", "/sessions", size=PHONE, theme="dark"),
    Picture("statistics", "/statistics?period=24h"),
    Picture("statistics-dark", "/statistics", theme="dark"),
    Picture("agents", "/agents"),
    Picture("diagnostics", "/diagnostics"),
    Picture("diagnostics-phone", "/diagnostics", size=PHONE),
    Picture("account", "/account"),
]

MODELS = """class Order(models.Model):
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT)
    status = models.CharField(max_length=12)
    total = models.DecimalField(max_digits=12, decimal_places=2)
"""
TESTS = r"""printf '........................................ \033[32m[ 61%%]\033[0m\n'
printf '.........................\033[33ms\033[0m               \033[32m[100%%]\033[0m\n'
printf '\033[1m\033[32m65 passed\033[0m, \033[33m1 skipped\033[0m in 17.82s\n'
"""
FILES = {"orders/models.py": MODELS, "reports/daily.py": "TOTALS = 'select 1'\n", "scripts/test.sh": TESTS}
STORY: dict[str, Any] = {
    "named": {
        "orders": [
            {"blocks": [
                {"type": "text", "text": "I start with the model, then the migration. Existing rows get "
                 "`placed_at` from `created`, so nothing is lost if the script stops half way:\n\n"
                 "1. add the field\n2. fill it in batches\n3. compare **counts and totals**"},
                {"type": "tool_use", "id": "toolu_read", "name": "Read", "input": {"file_path": "orders/models.py"}},
            ]},
            {"tool": "Edit", "id": "toolu_edit", "input": {
                "file_path": "orders/models.py",
                "old_string": "    status = models.CharField(max_length=12)\n",
                "new_string": "    status = models.CharField(max_length=24, choices=Status)\n"
                "    placed_at = models.DateTimeField(db_index=True)\n"}},
            {"tool": "Bash", "id": "toolu_test", "input": {
                "command": "sh scripts/test.sh", "description": "Run the tests of orders"}},
            {"tool": "Task", "id": "toolu_task", "input": {
                "description": "Check who else reads the orders table", "subagent_type": "general-purpose",
                "prompt": "scenario:readers Look for other readers of the orders table."}},
            {"blocks": [
                {"type": "text", "text": "Everything is ready. The migration itself touches the staging database."},
                {"type": "tool_use", "id": "toolu_go", "name": "Bash", "input": {
                    "command": "rm -rf build/orders && bash scripts/migrate_orders.sh --env staging --batch 500",
                    "description": "Migrate existing staging orders in batches"}},
            ]},
            "Done.",
        ],
        "readers": [
            {"tool": "Read", "id": "toolu_sub", "input": {"file_path": "reports/daily.py"}},
            "Two readers outside the app: the **daily report** and the export to the warehouse.",
        ],
        "which": [
            {"blocks": [
                {"type": "text", "text": "There are two ways to go on, and they differ for the people who wait."},
                {"type": "tool_use", "id": "toolu_ask", "name": "AskUserQuestion", "input": {"questions": [
                    {"question": "Which orders should move first?", "header": "Order", "options": [
                        {"label": "Open orders", "description": "1,204 rows. Customers can be affected."},
                        {"label": "Closed orders, oldest first", "description": "88,310 rows, about 25 minutes."},
                    ], "multiSelect": False}]}},
            ]},
            "Thank you.",
        ],
        "notes": [
            {"tool": "Write", "id": "toolu_notes", "input": {
                "file_path": "CHANGELOG.md",
                "content": "# Changelog\n\n## 4.2\n\n- Orders carry the time they were placed\n"}},
            "Written.",
        ],
        "busy": [{"text": "Running the suite a third time. " * 400, "chunk": 20, "chunk_delay": 1.5}],
    },
    "by": "position",
}  # fmt: skip


HISTORY = """
import json, random
from datetime import timedelta
from django.utils import timezone
from approvals.models import Approval
from sessions_app.models import AgentSession, Turn

random.seed(4)
now = timezone.now()
old = AgentSession.objects.create(title="Tidy the lifecycle rules", status="completed", working_directory="/srv/infra",
    requested_by="priya", host="build-01", cost_usd=1.93, input_tokens=184000)
AgentSession.objects.filter(pk=old.pk).update(created_at=now - timedelta(days=8))
for day in range(30):
    Turn.objects.create(session=old, number=day + 1, prompt="Go on", status="completed",
        finished_at=now - timedelta(days=day, hours=3), cost_usd=4 + 9 * random.random())
    for _ in range(random.randint(6, 40)):
        at = now - timedelta(days=day, minutes=random.randint(180, 1300))
        who, pace = random.choice([("priya", 60), ("jonas", 4), ("marta", 40)])
        status = random.choices(["approved", "rejected", "expired", "cancelled"], [84, 9, 4, 3])[0]
        via = random.choices(["dashboard", "telegram", "policy"], [5, 4, 1])[0]
        by = who if status in ("approved", "rejected") and via != "policy" else ""
        row = Approval.objects.create(
            title="Bash: make test", tool_name="Bash", tool_input=json.dumps({"command": "make test"}), session=old.pk,
            working_directory="/srv/infra", requested_by="tom", status=status, decided_at=at, decided_by=by,
            decided_via=via if by or via == "policy" else "", expires_at=at + timedelta(minutes=30), counted=True,
        )
        waited = 0 if via == "policy" else 1 + random.expovariate(1 / pace)
        Approval.objects.filter(pk=row.pk).update(created_at=at - timedelta(seconds=waited))
"""
"""A month of answers, for the statistics."""


@contextmanager
def told(folder: Path) -> Iterator[tuple[Stack, dict[str, str]]]:
    """A running Orchestra in which something has happened, and the ids of it."""
    home = folder / "home"
    home.mkdir(parents=True)
    shop = folder / "src" / "shop-api"
    for name, text in FILES.items():
        (shop / name).parent.mkdir(parents=True, exist_ok=True)
        (shop / name).write_text(text)
    with messages_api(STORY) as api:
        cli = home / "bin" / "claude"  # no picture tells where this repository lies
        cli.parent.mkdir()
        cli.symlink_to(real_cli_path())
        env = {"AGENT_CLI_PATH": str(cli), **real_cli_env(api.url, home)}
        env |= {"AGENT_WORKING_ROOTS": str(shop.parent), "ORCHESTRA_HOSTNAME": "build-01"}
        with running(folder, **env) as stack:
            yield stack, tell(stack, shop)


def tell(stack: Stack, shop: Path) -> dict[str, str]:
    """The story up to where people are asked: one session works, three wait, a few answers were given."""
    made = stack.manage("create_token", PERSON, "--create", "--group", "Administrator")
    stack.token = made.strip().splitlines()[-1]
    stack.manage("shell", "--no-imports", "-c", HISTORY)
    session = begin(stack, "orders", "Move orders to the new schema", shop)
    for _ in ("Edit", "Bash"):
        approval = stack.pending(session)
        stack.call("POST", f"/api/approvals/{approval['id']}/approve", {}, expect=200)
        until(lambda gone=approval["id"]: stack.pending(session)["id"] != gone, "the next request")
    rejected = begin(stack, "notes", "Release notes for 4.1", shop)
    refusal = {"reason": "open a pull request instead"}
    stack.call("POST", f"/api/approvals/{stack.pending(rejected)['id']}/reject", refusal, expect=200)
    question = begin(stack, "which", "Plan the move of the orders", shop)
    notes = begin(stack, "notes", "Release notes for 4.2", shop)
    begin(stack, "busy", "Fix the flaky checkout test", shop)
    approval = stack.pending(session)["id"]
    stack.pending(question)
    return {"session": session, "question": question, "approval": approval, "notes": stack.pending(notes)["id"]}


def begin(stack: Stack, scenario: str, title: str, folder: Path) -> str:
    """Start a session of the story."""
    prompt = f"{title}. Staging first, keep it safe to run twice, and show me the counts before and after."
    body = {"prompt": prompt, "title": title, "working_directory": str(folder)}
    body["append_system_prompt"] = f"scenario:{scenario}"  # which the scripted model goes by
    return str(stack.call("POST", "/api/sessions", body, expect=201)["id"])


def photograph(stack: Stack, chromium: Browser, ids: dict[str, str], out: Path, only: str) -> None:
    """Take every picture whose name begins with ``only``."""
    cookies = signed_in(stack, chromium)
    for picture in PAGES:
        if not picture.name.startswith(only):
            continue
        width, height = picture.size
        options = {"viewport": {"width": width, "height": height}, "color_scheme": picture.theme}
        with browsers.context(chromium, stack.console_url, has_touch=width < 500, **options) as (context, complaints):
            context.add_cookies(cookies)
            page = context.new_page()
            page.goto(picture.address.format(**ids))
            settle(page)
            if picture.open:
                page.click(picture.open)
                page.wait_for_timeout(500)
            page.screenshot(path=out / f"{picture.name}.png")
            print(f"{picture.name}.png", *complaints)


def settle(page: Page) -> None:
    """Wait until the page is live, if it is one that can be, and nothing is on its way."""
    if page.locator("#wire").count():
        expect(page.locator("html")).to_have_attribute("data-hub", "live", timeout=60_000)
    page.wait_for_timeout(1200)


def signed_in(stack: Stack, chromium: Browser) -> Any:
    """The cookies of the administrator."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(stack.manage("sign_in_link", PERSON).strip().splitlines()[-1])
    page.click("main button")
    page.wait_for_load_state()
    cookies = context.cookies()
    context.close()
    return cookies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="?", default="", help="only pictures whose name begins with this")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="demo-"))
    try:
        with told(folder) as (stack, ids), browsers.running() as chromium:
            photograph(stack, chromium, ids, asked.out, asked.only)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
