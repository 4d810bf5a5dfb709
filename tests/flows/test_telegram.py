"""From the agent's question to the tap on a phone and back: a real session, the whole stack, the Bot API's stand-in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bot_api import FakeBotApi
from tests.fakes.real_cli import messages_api, real_cli_env, real_cli_path
from tests.stack import Stack, running, until

SCENARIOS = {
    "named": {
        "write": [
            {"tool": "Write", "id": "toolu_w", "input": {"file_path": "a.txt", "content": "exactly this é\n"}},
            "written: {{last_tool_result}}",
            {"tool": "Bash", "id": "toolu_b", "input": {"command": "touch forbidden.txt"}},
            "heard: {{last_tool_result}}",
            {"tool": "Bash", "id": "toolu_c", "input": {"command": "touch asked.txt"}},
            "done: {{last_tool_result}}",
        ]
    },
    "by": "position",
}
TOKEN, GROUP, ANNA = "123456:CANARY-token-of-a-bot-nobody-sees", -1001234, 42


@pytest.fixture
def telegram() -> Iterator[FakeBotApi]:
    with FakeBotApi(TOKEN, [GROUP], {ANNA: "anna"}) as server:
        yield server


@pytest.fixture
def stack(telegram: FakeBotApi, tmp_path: Path) -> Iterator[Stack]:
    """Embedded mode, as a newcomer starts it."""
    (tmp_path / "home").mkdir()
    bot = {"TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_CHAT_ID": str(GROUP), "TELEGRAM_API_URL": telegram.base_url}
    with messages_api(SCENARIOS) as api:
        cli = {"AGENT_CLI_PATH": str(real_cli_path()), **real_cli_env(api.url, tmp_path / "home")}
        with running(tmp_path, **cli, **bot) as stack:
            yield stack


def card_of(telegram: FakeBotApi, words: str) -> dict[str, Any]:
    return telegram.wait_for_message(words, GROUP, timeout=90)


def test_a_file_is_written_by_a_tap_a_command_stopped_with_a_reason_and_cards_follow_other_doors(
    stack: Stack, telegram: FakeBotApi
) -> None:
    telegram.send_text(ANNA, f"/link {stack.manage('telegram', 'link', 'tester').split()[-1]}")
    telegram.wait_for_message("✅ You are tester", ANNA, timeout=90)
    body = {"prompt": "please do scenario:write", "title": "Write it down"}
    session = str(stack.call("POST", "/api/sessions", body, expect=201)["id"])

    card = card_of(telegram, "Write this file?")
    assert "exactly this é" in card["text"] and "💬 Write it down · claude" in card["text"]
    folder = Path(stack.call("GET", f"/api/sessions/{session}")["working_directory"])
    assert not (folder / "a.txt").exists()
    assert card["edit_date"] == 0, "nothing has changed, so nothing is edited"
    query = telegram.press(ANNA, GROUP, card["message_id"], "Approve")
    assert telegram.wait_for_answer(query, timeout=90)["text"] == "Approved. The agent is told."
    settled = card_of(telegram, "Approved by tester in Telegram")
    assert settled["message_id"] == card["message_id"] and settled["buttons"] == []
    assert stack.ended(session)["status"] == "completed"
    assert (folder / "a.txt").read_text() == "exactly this é\n"

    stack.call("POST", f"/api/sessions/{session}/messages", {"prompt": "go on"}, expect=201)
    card = card_of(telegram, "touch forbidden.txt")
    telegram.press(ANNA, GROUP, card["message_id"], "Reject")
    prompt = card_of(telegram, "why?")
    telegram.send_text(ANNA, "not on <my> machine", GROUP, reply_to=prompt["message_id"])
    card_of(telegram, "Rejected by tester in Telegram")
    ended = stack.ended(session, turn=2)
    assert "not on <my> machine" in ended["turns"][1]["result"] and not (folder / "forbidden.txt").exists()

    stack.call("POST", f"/api/sessions/{session}/messages", {"prompt": "go on"}, expect=201)
    card = card_of(telegram, "touch asked.txt")
    approval = stack.pending(session)
    edited = {"updated_input": {"command": "touch edited.txt"}}
    stack.call("POST", f"/api/approvals/{approval['id']}/approve", edited, expect=200)
    settled = card_of(telegram, "As edited: not what is shown here ran")
    assert settled["message_id"] == card["message_id"] and settled["buttons"] == []
    stack.ended(session, turn=3)
    assert (folder / "edited.txt").exists() and not (folder / "asked.txt").exists()

    telegram.assert_clean()
    until(lambda: stack.call("GET", "/api/diagnostics/telegram/status")["stale_cards"] == 0, "no card is stale")
    assert TOKEN not in stack.log and TOKEN.split(":")[1] not in stack.log
