"""The real CLI, pinned, and the scripted model API it talks to."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.fake_messages_api import State, make_server

CLI_VERSION = "2.1.330"
"""The CLI inside the pinned ``claude-agent-sdk`` wheel; a test compares."""


def real_cli_path() -> Path:
    """The CLI's binary; it needs no Node."""
    import claude_agent_sdk

    return Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"


@dataclass(frozen=True)
class MessagesApi:
    """A running scripted API: ``state.requests`` holds what the CLI sent."""

    url: str
    state: State


@contextlib.contextmanager
def messages_api(scenario: Any) -> Iterator[MessagesApi]:
    """Serve ``scenario`` on a free port of the loopback interface."""
    server = make_server(scenario)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield MessagesApi(f"http://127.0.0.1:{server.server_address[1]}", server.state)
    finally:
        server.shutdown()
        server.server_close()


def real_cli_env(base_url: str, home: Path) -> dict[str, str]:
    """What the CLI needs in its environment to talk to the scripted API and to keep its files in ``home``."""
    return {"ANTHROPIC_BASE_URL": base_url, "ANTHROPIC_API_KEY": "dummy-key", "HOME": str(home)}
