"""The whole of Orchestra with Telegram by webhook, as `make run` starts it: a card, a press, a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.bot_api import FakeBotApi
from tests.stack import Stack, until

TOKEN, GROUP, ANNA = "123456:CANARY-token-that-nobody-may-see", -1001234, 42


@pytest.fixture(scope="module")
def telegram() -> Iterator[FakeBotApi]:
    with FakeBotApi(token=TOKEN, chats=[GROUP], users={ANNA: "anna"}, flood=False, poll_throttle=False) as server:
        yield server


@pytest.fixture(scope="module")
def stack(telegram: FakeBotApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    env = {
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "TELEGRAM_CHAT_ID": str(GROUP),
        "TELEGRAM_API_URL": telegram.base_url,
        "TELEGRAM_MODE": "webhook",
        "TELEGRAM_WEBHOOK_SECRET": "the-secret-of-the-hook",
    }
    one = Stack(tmp_path_factory.mktemp("telegram"), env)
    one.env = {**env, "ORCHESTRA_PUBLIC_URL": one.url}
    one.start()
    yield one
    one.stop()
    assert TOKEN.split(":")[1] not in one.log


def test_a_press_on_the_card_lets_the_agent_write_its_file(stack: Stack, telegram: FakeBotApi) -> None:
    """By webhook: Telegram calls the web process, the telegram process decides."""
    stack.manage("create_token", "anna", "--create", "--group", "Approver")
    code = stack.manage("telegram", "link", "anna").split()[-1]
    telegram.send_text(ANNA, f"/link {code}")
    telegram.wait_for_message("You are anna", timeout=90)
    session = stack.call("POST", "/api/sessions", {"prompt": "Write a file", "agent": "demo"}, expect=201)
    approval = stack.pending(session["id"])
    for _ in ("a command", "a file"):  # is what the demo agent asks for
        number = until(lambda: _open_card(telegram), "a card with buttons")
        telegram.press(ANNA, GROUP, number, "Approve")
        until(lambda number=number: not telegram.message(GROUP, number)["buttons"], "the card is settled")
        if stack.call("GET", f"/api/sessions/{session['id']}")["status"] in ("completed", "failed"):
            break
    ended = stack.ended(session["id"])
    assert ended["status"] == "completed"
    assert (Path(ended["working_directory"]) / "hello-from-orchestra.md").exists()
    decided = stack.call("GET", f"/api/approvals/{approval['id']}")
    assert (decided["decided_by"], decided["decided_via"]) == ("anna", "telegram")
    for message in telegram.messages(GROUP, by_bot=True):
        assert len(message["history"]) <= 1  # edited once, when it closed
    telegram.assert_clean()


def test_health_and_figures_know(stack: Stack) -> None:
    told = stack.call("GET", "/api/diagnostics/telegram/status", expect=200)
    assert (told["healthy"], told["mode"], told["stale_cards"]) == (True, "webhook", 0)
    assert stack.call("GET", "/health")["parts"]["telegram"] == "untested"


def _open_card(telegram: FakeBotApi) -> int | None:
    return next((m["message_id"] for m in telegram.messages(GROUP, by_bot=True) if m["buttons"]), None)
