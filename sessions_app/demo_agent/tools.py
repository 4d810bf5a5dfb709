"""The tools of the demo agent. They run exactly the input they are given."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sessions_app.demo_agent.cli_side import POLL_S, Cli, Outcome
from sessions_app.demo_agent.conversation import ToolUse

SHOWN_OUTPUT = 30_000
DEFAULT_TIMEOUT_MS = 120_000


def run_tool(cli: Cli, call: ToolUse) -> Outcome:
    """Run one allowed call; a failure becomes an outcome with ``is_error``.

    Raises:
        Interrupted: the host interrupts the turn; the command's process group has been killed.
    """
    tool = TOOLS.get(call.name)
    if tool is None:
        return Outcome(f"<tool_use_error>Error: No such tool available: {call.name}</tool_use_error>", is_error=True)
    try:
        return tool(cli, call.input)
    except KeyError as error:
        return Outcome(f"InputValidationError: {call.name} needs {error.args[0]!r}", is_error=True)
    except (OSError, ValueError, TypeError) as error:
        return Outcome(f"{type(error).__name__}: {error}", is_error=True)


def _bash(cli: Cli, given: dict[str, Any]) -> Outcome:
    timeout_s = float(given.get("timeout") or DEFAULT_TIMEOUT_MS) / 1000
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            ["/bin/sh", "-c", given["command"]],
            cwd=cli.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        cli.child = child
        try:
            waited = 0.0
            while child.poll() is None and waited < timeout_s:
                cli.pause(POLL_S)
                waited += POLL_S
        finally:
            timed_out = child.poll() is None
            if timed_out:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            cli.child = None
        output.seek(0)
        text = output.read(SHOWN_OUTPUT).decode(errors="replace").rstrip()
    detail = {"stdout": text, "stderr": "", "interrupted": timed_out, "isImage": False}
    if timed_out:
        return Outcome(f"Command timed out after {timeout_s:g} s\n{text}", is_error=True, detail=detail)
    if child.returncode:
        return Outcome(f"Exit code {child.returncode}\n{text}", is_error=True, detail=detail)
    return Outcome(text or "(Bash completed with no output)", detail=detail)


def _write(cli: Cli, given: dict[str, Any]) -> Outcome:
    path, content = cli.cwd / given["file_path"], given["content"]
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    done = "created" if before is None else "updated"
    detail = {"type": "create" if before is None else "update", "filePath": str(path), "content": content}
    return Outcome(f"File {done} successfully at: {path}", detail={**detail, "originalFile": before})


def _edit(cli: Cli, given: dict[str, Any]) -> Outcome:
    path = cli.cwd / given["file_path"]
    before, old, new = path.read_text(encoding="utf-8"), given["old_string"], given["new_string"]
    if not old or before.count(old) != 1:
        return Outcome(
            f"String to replace found {before.count(old) if old else 0} times, once is needed.", is_error=True
        )
    path.write_text(before.replace(old, new), encoding="utf-8")
    detail = {"filePath": str(path), "oldString": old, "newString": new, "originalFile": before, "replaceAll": False}
    return Outcome(f"The file {path} has been updated successfully.", detail=detail)


def _read(cli: Cli, given: dict[str, Any]) -> Outcome:
    path = cli.cwd / given["file_path"]
    text = path.read_text(encoding="utf-8", errors="replace")
    numbered = "\n".join(f"{number}\t{line}" for number, line in enumerate(text.splitlines(), 1))
    return Outcome(numbered[:SHOWN_OUTPUT], detail={"type": "text", "file": {"filePath": str(path), "content": text}})


def _ask_user_question(_cli: Cli, given: dict[str, Any]) -> Outcome:
    answers = given.get("answers")
    if not answers:
        return Outcome("The user did not answer the questions.", detail=given)
    pairs = ", ".join(
        f"{json.dumps(question, ensure_ascii=False)}={json.dumps(answer, ensure_ascii=False)}"
        for question, answer in answers.items()
    )
    content = f"Your questions have been answered: {pairs}. You can now continue with these answers in mind."
    return Outcome(content, detail={"questions": given["questions"], "answers": answers})


def _exit_plan_mode(cli: Cli, _given: dict[str, Any]) -> Outcome:
    cli.mode = "default"
    cli.system("status", status=None, permissionMode=cli.mode)
    detail = {"plan": None, "isAgent": False, "filePath": str(Path("plan.md"))}
    return Outcome("User has approved exiting plan mode. You can now proceed.", detail=detail)


TOOLS: dict[str, Callable[[Cli, dict[str, Any]], Outcome]] = {
    "Bash": _bash,
    "Write": _write,
    "Edit": _edit,
    "Read": _read,
    "AskUserQuestion": _ask_user_question,
    "ExitPlanMode": _exit_plan_mode,
}
