"""What the pinned real CLI does with a prompt, and with a project's settings, before it asks anybody."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from sessions_app.commands import SessionRequest, start_session
from sessions_app.errors import InvalidSession
from sessions_app.models import Turn
from sessions_app.supervisor import worker
from tests.factories import make_user
from tests.fakes.real_cli import MessagesApi, messages_api, real_cli_env, real_cli_path

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Bench:
    """A project folder, and a model that answers "done" to everything."""

    project: Path
    api: MessagesApi

    def write(self, name: str, text: str) -> Path:
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def run(self, prompt: str, turns: list[Any] | None = None, **wanted: Any) -> Turn:
        """A session's first turn, from its start to its end, by the administrator ada."""
        self.api.state.load({"turns": turns or ["done"]})
        request = SessionRequest(prompt=prompt, working_directory=str(self.project), **wanted)
        session = start_session(request, by="ada", may_allow=True)
        worker.take_turn(Turn.objects.get(session=session).pk)
        return Turn.objects.get(session=session)

    def asked(self) -> str:
        """All that the model was sent."""
        return json.dumps(self.api.state.requests)

    def left(self) -> set[str]:
        """What ran and left its mark."""
        return {path.name for path in self.project.glob("ran-*")}


@pytest.fixture
def bench(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    make_user("ada", group="Administrator")
    with messages_api([]) as api:
        for name, value in real_cli_env(api.url, tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        (tmp_path / "home").mkdir()
        project = (tmp_path / "work" / "project").resolve()
        project.mkdir(parents=True)
        settings.AGENTS = replace(settings.AGENTS, cli_path=str(real_cli_path()), working_roots=(project.parent,))
        yield Bench(project, api)


def plugin(bench: Bench) -> None:
    """A plugin in a marketplace of the project, with a hook and a server."""
    plugins = [{"name": "pl", "source": "./pl"}]
    bench.write(
        "mk/.claude-plugin/marketplace.json", json.dumps({"name": "mk", "owner": {"name": "x"}, "plugins": plugins})
    )
    bench.write("mk/pl/.claude-plugin/plugin.json", json.dumps({"name": "pl", "version": "1.0.0"}))
    bench.write("mk/pl/hooks/hooks.json", json.dumps({"hooks": {"SessionStart": hook("plugin-hook")}}))
    server = {"command": "touch", "args": [str(bench.project / "ran-plugin-server")]}
    bench.write("mk/pl/.mcp.json", json.dumps({"mcpServers": {"p": server}}))


def hook(mark: str) -> list[dict[str, Any]]:
    return [{"hooks": [{"type": "command", "command": f"touch ran-{mark}"}]}]


@pytest.mark.parametrize("trusted", [False, True], ids=["untrusted", "trusted"])
def test_a_projects_settings_load_its_memory_and_run_nothing_by_themselves(
    bench: Bench, tmp_path: Path, trusted: bool
) -> None:
    """``trusted``: the account has accepted the CLI's own question about this folder, which lets plugins in."""
    known = {"projects": {str(bench.project): {"hasTrustDialogAccepted": trusted}}}
    (tmp_path / "home" / ".claude.json").write_text(json.dumps(known))
    plugin(bench)
    events = ("SessionStart", "UserPromptSubmit", "PreToolUse", "Stop")
    settings = {
        "hooks": {event: hook(event) for event in events}, "disableAllHooks": False,
        "disableSkillShellExecution": False,
        "apiKeyHelper": str(bench.project / "helper.sh"), "enableAllProjectMcpServers": True,
        "env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}, "permissions": {"allow": ["Bash"]},
        "extraKnownMarketplaces": {"mk": {"source": {"source": "directory", "path": str(bench.project / "mk")}}},
        "enabledPlugins": {"pl@mk": True},
    }  # fmt: skip
    bench.write(".claude/settings.json", json.dumps(settings))
    bench.write("helper.sh", f"#!/bin/sh\ntouch {bench.project}/ran-helper\necho key\n")
    bench.write(".mcp.json", json.dumps({"mcpServers": {"m": {"command": "touch", "args": ["ran-mcp"]}}}))
    bench.write(
        ".claude/commands/look.md",
        f"---\nallowed-tools: Bash(touch:*)\n---\n!`touch {bench.project}/ran-command` and look at MARK-OF-THE-COMMAND",
    )
    bench.write("CLAUDE.md", "MARK-OF-THE-MEMORY\n@./notes.md\n@./.env\n")
    bench.write("notes.md", "MARK-OF-THE-IMPORT")
    bench.write(".env", "MARK-OF-THE-SECRET")
    call = {"tool": "Bash", "input": {"command": "touch ran-tool"}}
    turn = bench.run("/look", [call, "heard: {{last_tool_result}}"], setting_sources=["project"], disallowed_tools=[],
                     approval_timeout_minutes=0.02)  # fmt: skip
    assert "Nobody answered in time" in turn.result  # our own callback is still asked
    for mark in ("MEMORY", "IMPORT", "COMMAND"):
        assert f"MARK-OF-THE-{mark}" in bench.asked()
    assert "MARK-OF-THE-SECRET" not in bench.asked()
    assert bench.left() == set()


@pytest.mark.parametrize("prompt", ["/heapdump", "/config permissionMode=auto", "/insights"])
def test_commands_of_the_cli_do_nothing(bench: Bench, prompt: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSession):
        bench.run(prompt)
    assert not [entry for entry in bench.api.state.requests if entry["method"] == "POST"]
    assert not list((tmp_path / "home").rglob("*.heapsnapshot"))


def test_a_prompt_that_begins_with_a_path_is_a_prompt(bench: Bench) -> None:
    assert bench.run("/srv/www/index.html looks odd, why?").result == "done"
    assert "/srv/www/index.html looks odd" in bench.asked()


SPELLINGS = "@{0} @\"{0}\" '@{0}' @{0}#L1-2 (@{0}) @file://{0}\n!cat {0}\n# @{0}\n/init @{0}\n@"


def test_nothing_in_a_prompt_or_in_an_attached_file_reads_another_file(bench: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "outside.txt"
    secret.write_text("MARK-FROM-OUTSIDE")
    bench.write(".env", "MARK-FROM-OUTSIDE")
    spelled = SPELLINGS.format(secret) + "\n@.env @./.env"
    bench.write("notes.txt", f"/compact\n{spelled}\nMARK-OF-THE-FILE")
    turn = bench.run(f"look at this: {spelled}", attachments=["notes.txt"])
    assert (turn.status, turn.result) == ("completed", "done")
    assert "MARK-OF-THE-FILE" in bench.asked() and str(secret) in bench.asked()
    assert "MARK-FROM-OUTSIDE" not in bench.asked()


def test_attached_files_reach_the_model_behind_the_prompt_each_as_a_block(bench: Bench) -> None:
    names = [f"{number}.txt" for number in range(4)]
    for name in names:
        bench.write(name, f"begin {name} " + "é" * 120_000 + f" end {name}")
    assert bench.run(" /config theme=dark", attachments=names).result == "done"  # no command: words before the files
    [request] = [one for one in bench.api.state.requests if one["method"] == "POST" and one["body"].get("tools")]
    texts = [block["text"] for message in request["body"]["messages"] for block in message["content"]
             if isinstance(block, dict) and block["type"] == "text"]  # fmt: skip
    at = texts.index(" /config theme=dark")
    for name, text in zip(names, texts[at + 1 :], strict=False):
        assert text.startswith(f'--- Attached file "{name}", 2400') and f" end {name}\n---" in text


def test_a_file_that_vanished_fails_the_turn_before_any_process_starts(bench: Bench) -> None:
    notes = bench.write("notes.txt", "x")
    request = SessionRequest(prompt="look", working_directory=str(bench.project), attachments=["notes.txt"])
    session = start_session(request, by="ada", may_allow=True)
    notes.unlink()
    worker.take_turn(Turn.objects.get(session=session).pk)
    turn = Turn.objects.get(session=session)
    assert (turn.status, turn.failure_code) == ("failed", "attachment_refused")
    assert "notes.txt cannot be read" in turn.failure_detail
    assert not bench.api.state.requests
