"""A scriptable stand-in for the CLI: speaks its protocol, obeys a scenario, and misbehaves on demand.

``make_fake_cli(folder)`` writes an executable that tests give as AGENT_CLI_PATH. What it does in a turn is a list of
steps, taken from the first of: the prompt itself (``scenario:[...]`` or ``scenario-file:/path``, up to its end), the
file named by ANTHROPIC_FAKE_SCENARIO, ``scenario.json`` in the folder. A file holds a list of steps for every turn, or
``{"start": [...], "turns": [[...], [...]]}``: ``start`` comes before anything is said, the last turn repeats. With
``"replay_first": true`` beside them a deferred call is replayed before ``initialize`` is read, and so as
``can_use_tool``, as the real one does now and then.

Steps that speak:
    {"text": "..."}  {"thinking": "..."}          {{last_tool_result}} and {{prompt}} are filled in
    {"tool": "Write", "input": {...}}             asks, then runs what was allowed; the conversation's next step follows
        "id": "toolu_1"   "fill": n (pads input.content)   "via": "can_use_tool" (although a hook is registered)
        "really": true (runs Bash; Write, Edit and Read inside the working directory always run)   "output": "..."
    {"tools": [{...}, ...], "together": true}     several calls in one message; together: asked all at once
    {"subagent": [{"tool": ...}, ...]}            the calls of a sub-agent
    {"question": "...", "options": ["a", "b"]}    {"plan": "..."}
    {"result": {...}}                             ends the turn; the fields replace those of the result line
Steps that misbehave (done once a conversation, unless "again": true):
    {"api_retry": 429, "times": 2}  {"emit": {...}}  {"raw": "...", "newline": false}  {"raw_hex": "fffe"}
    {"long_line": n}  {"flood": n}  {"stderr": "..."}  {"sleep": s}  {"hang": true}  {"linger": s}
    {"exit": code}  {"kill": "KILL"}  {"ignore": "TERM"}  {"ignore": "EOF"} (of a closed stdin)
    {"spawn": "exec sleep 600", "setsid": true, "stdout": true}   its pid goes to ``children`` in the folder

Every executed input is first written, with fsync, to the ledger: ANTHROPIC_FAKE_LEDGER, or ``ledger.jsonl`` in the
folder.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # run as a program, isolated

from sessions_app.demo_agent.cli_side import Cli, Outcome, Profile  # noqa: E402
from sessions_app.demo_agent.conversation import ToolUse  # noqa: E402
from sessions_app.demo_agent.options import BadUsage, Options  # noqa: E402
from sessions_app.demo_agent.tools import TOOLS, run_tool  # noqa: E402

Step = dict[str, Any]

VERSION = "2.1.330"
CLOSING = "(end of scenario)"
HARMLESS = frozenset({"AskUserQuestion", "ExitPlanMode"})
INSIDE_ONLY = frozenset({"Write", "Edit", "Read"})


# --- for tests


def make_fake_cli(folder: Path, scenario: Any = None) -> Path:
    """Write the executable ``claude`` into ``folder``, with everything it keeps beside it; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    if scenario is not None:
        (folder / "scenario.json").write_text(json.dumps(scenario))
    command = shlex.join([sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(folder.resolve())])
    path = folder / "claude"
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    path.chmod(0o755)
    return path


def read_ledger(folder: Path) -> list[dict[str, Any]]:
    """What the fake of that folder has executed: session, tool_use_id, tool, input (JSON text), pid, at."""
    path = folder / "ledger.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def children(folder: Path) -> list[int]:
    """Process ids of what ``spawn`` steps started."""
    path = folder / "children"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


# --- the program


class Play:
    """The scenario of one process, and its place in it."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.ledger = Path(environ.get("ANTHROPIC_FAKE_LEDGER", "") or folder / "ledger.jsonl")
        named = Path(environ.get("ANTHROPIC_FAKE_SCENARIO", "") or folder / "scenario.json")
        given: Any = json.loads(named.read_text()) if named.exists() else []
        scenario: dict[str, Any] = given if isinstance(given, dict) else {"turns": [given]}
        self.start: list[Step] = scenario.get("start", [])
        self.turns: list[list[Step]] = scenario.get("turns", [])
        self.replay_first: bool = scenario.get("replay_first", False)
        self.is_self_test = environ.get("ANTHROPIC_API_KEY") == "self-test"  # Orchestra tries whether it is fit
        self.calls: dict[str, Step] = {}  # tool use id -> the step that made it

    def reply(self, cli: Cli) -> list[ToolUse]:
        """Take steps up to the next message with calls; none left ends the turn."""
        if self.is_self_test:
            calls = ask_model(os.environ["ANTHROPIC_BASE_URL"], cli)
            return cli.message([] if calls else ["done"], calls)
        steps = self.steps(cli)
        place = self.place(cli)
        while place < len(steps):
            step = steps[place]
            if "result" in step:
                cli.override_result(step["result"])
                return []
            calls = self.make_calls(cli, step)
            if calls:
                cli.talk.add("note", place=place, calls=[call.id for call in calls])
                return cli.message(step.get("say", []), calls)
            if not step.get("again"):
                cli.talk.add("note", place=place, calls=[])
            act(cli, self.folder, step)
            place += 1
        if not steps or "text" not in steps[-1]:
            cli.say(CLOSING)
        return []

    def steps(self, cli: Cli) -> list[Step]:
        """The steps of the current turn."""
        prompts = cli.talk.prompts()
        _, in_prompt, inline = prompts[-1].partition("scenario:")
        if in_prompt:
            steps: list[Step] = json.loads(inline)
            return steps
        _, in_file, path = prompts[-1].partition("scenario-file:")
        turns = [json.loads(Path(path.strip()).read_text())] if in_file else self.turns
        return turns[min(len(prompts), len(turns)) - 1] if turns else []

    def place(self, cli: Cli) -> int:
        """How many steps of this turn are behind us; a step whose calls were all dropped is to be taken again."""
        turn = cli.talk.turn()
        dropped = {record["tool_use_id"] for record in turn if record["kind"] == "dropped"}
        said = {call["id"] for record in turn if record["kind"] == "message" for call in record["calls"]}
        notes = [record for record in turn if record["kind"] == "note"]
        done = [note["place"] + 1 for note in notes if not note["calls"] or set(note["calls"]) & said - dropped]
        return max(done, default=0)

    def make_calls(self, cli: Cli, step: Step) -> list[ToolUse]:
        """The tool calls of a step; an id that the conversation knows already gets a number behind it."""
        if "tools" in step:
            return [self.make_call(cli, {"together": step.get("together", False), **one}) for one in step["tools"]]
        if "subagent" in step:
            given = {"description": "sub", "prompt": "do it", "subagent_type": "general-purpose"}
            return [self.make_call(cli, {**step, "tool": "Task", "input": given})]
        if "question" in step:
            options = [{"label": label, "description": label} for label in step.get("options", ["Yes", "No"])]
            multi = step.get("multi", False)
            question = {"question": step["question"], "header": "Fake", "options": options, "multiSelect": multi}
            return [self.make_call(cli, {**step, "tool": "AskUserQuestion", "input": {"questions": [question]}})]
        if "plan" in step:
            return [self.make_call(cli, {**step, "tool": "ExitPlanMode", "input": {"plan": step["plan"]}})]
        return [self.make_call(cli, step)] if "tool" in step else []

    def make_call(self, cli: Cli, step: Step) -> ToolUse:
        wanted = step.get("id") or f"toolu_fake_{uuid.uuid4().hex[:16]}"
        name, number = wanted, 1
        while name in cli.talk.known_ids() or name in self.calls:
            number += 1
            name = f"{wanted}_{number}"
        self.calls[name] = step
        given = dict(step.get("input", {}))
        if "fill" in step:
            given["content"] = "x" * step["fill"]
        prompt_only = step.get("via") == "can_use_tool"
        return ToolUse(
            id=name,
            name=step["tool"],
            input=given,
            together=bool(step.get("together")),
            prompt_only=prompt_only,
            extra={key: step[key] for key in ("really", "output", "subagent") if key in step},
        )

    def execute(self, cli: Cli, call: ToolUse) -> Outcome:
        """Enter the call in the ledger, then run it, as far as that is harmless."""
        if not self.is_self_test:
            self.enter(cli, call)
        if "subagent" in call.extra:
            return self.run_subagent(cli, call)
        if "output" in call.extra:
            return Outcome(call.extra["output"])
        inside = call.name in INSIDE_ONLY and is_inside(cli.cwd, call.input.get("file_path"))
        if call.name in HARMLESS or inside or (call.extra.get("really") and call.name in TOOLS):
            return run_tool(cli, call)
        return Outcome(f"({call.name} was pretended)")

    def enter(self, cli: Cli, call: ToolUse) -> None:
        entry = {
            "session": cli.session_id,
            "tool_use_id": call.id,
            "tool": call.name,
            "input": json.dumps(call.input),
            "pid": os.getpid(),
            "at": time.time(),
        }
        with self.ledger.open("a") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def run_subagent(self, cli: Cli, call: ToolUse) -> Outcome:
        agent_id = uuid.uuid4().hex[:17]
        about = {"task_id": agent_id, "tool_use_id": call.id, "description": "sub"}
        cli.system("task_started", **about, subagent_type="general-purpose", task_type="local_agent")
        done = cli.run_inside(agent_id, call, [self.make_call(cli, step) for step in call.extra["subagent"]])
        cli.system("task_notification", **about, status="completed", summary="sub")
        return Outcome("sub-agent done" if done else "")


def ask_model(url: str, cli: Cli) -> list[ToolUse]:
    """Tell the scripted model of the self-test the conversation, as the real CLI would; the call that it makes."""
    messages: list[dict[str, Any]] = []
    for record in cli.talk.records:
        if record["kind"] == "prompt":
            messages.append({"role": "user", "content": record["text"]})
        elif record["kind"] == "message":
            messages.append({"role": "assistant", "content": [call["id"] for call in record["calls"]]})
        elif record["kind"] == "tool_result":
            result = {"type": "tool_result", "tool_use_id": record["tool_use_id"], "content": record["content"]}
            messages.append({"role": "user", "content": [result]})
    body = json.dumps({"model": "fake", "tools": ["any"], "messages": messages}).encode()
    with urllib.request.urlopen(f"{url}/v1/messages", body, timeout=30) as answer:
        events = [json.loads(line[5:]) for line in answer.read().split(b"\n") if line.startswith(b"data:")]
    block = next(event["content_block"] for event in events if event["type"] == "content_block_start")
    if block["type"] != "tool_use":
        return []
    given = next(event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta")
    return [ToolUse(id=block["id"], name=block["name"], input=json.loads(given))]


def act(cli: Cli, folder: Path, step: Step) -> None:
    """Do one step that makes no call."""
    match step:
        case {"text": text}:
            last = cli.talk.last_result() or {"content": ""}
            prompt = cli.talk.prompts()[-1]
            cli.say(text.replace("{{last_tool_result}}", last["content"]).replace("{{prompt}}", prompt))
        case {"thinking": text}:
            cli.think(text)
        case {"api_retry": status}:
            error = {401: "authentication_failed", 429: "rate_limit", 529: "overloaded"}.get(status, "api_error")
            for attempt in range(1, step.get("times", 1) + 1):
                delay = {"attempt": attempt, "max_retries": 2, "retry_delay_ms": 500 * attempt}
                cli.system("api_retry", **delay, error_status=status, error=error)
        case {"emit": line}:
            cli.emit({"session_id": cli.session_id, "uuid": str(uuid.uuid4()), **line})
        case {"raw": text}:
            cli.write(text.encode() + (b"\n" if step.get("newline", True) else b""))
        case {"raw_hex": digits}:
            cli.write(bytes.fromhex(digits) + b"\n")
        case {"long_line": size}:
            cli.system("informational", content="x" * size)
        case {"flood": count}:
            for number in range(count):
                cli.emit({"type": "system", "subtype": "informational", "content": f"{number}"})
        case {"stderr": text}:
            sys.stderr.write(f"{text}\n")
        case {"sleep": seconds}:
            cli.pause(seconds)
        case {"hang": _}:
            while True:
                time.sleep(3600)
        case {"linger": seconds}:
            cli.linger_s = seconds
        case {"exit": code}:
            os._exit(code)
        case {"kill": name}:
            os.kill(os.getpid(), signal.Signals[f"SIG{name}"])
        case {"ignore": "EOF"}:
            os.open("/proc/self/fd/0", os.O_WRONLY)  # a pipe with a writer left does not end
        case {"ignore": name}:
            signal.signal(signal.Signals[f"SIG{name}"], signal.SIG_IGN)
        case {"spawn": command}:
            out = None if step.get("stdout") else subprocess.DEVNULL
            own = bool(step.get("setsid"))
            child = subprocess.Popen(["/bin/sh", "-c", command], stdout=out, stderr=out, start_new_session=own)
            with (folder / "children").open("a") as file:
                file.write(f"{child.pid}\n")
        case _:
            raise ValueError(f"no such step: {step}")


def is_inside(folder: Path, path: object) -> bool:
    """Whether ``path``, seen from ``folder``, lies below it."""
    return isinstance(path, str) and (folder / path).resolve().is_relative_to(folder.resolve())


def main(argv: list[str]) -> int:
    folder = Path(argv[0])
    if argv[1:3] == ["auth", "status"]:
        logged_in = "ANTHROPIC_API_KEY" in os.environ
        sys.stdout.write(json.dumps({"loggedIn": logged_in, "authMethod": "api_key" if logged_in else "none"}) + "\n")
        return 0 if logged_in else 1
    try:
        options = Options.parse(argv[1:])
    except BadUsage as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.wants_version:
        sys.stdout.write(f"{VERSION} (Claude Code)\n")
        return 0
    play = Play(folder, dict(os.environ))
    profile = Profile("claude-fake", VERSION, 0.00018, 10, 7)
    state = folder / "sessions"
    cli = Cli(profile=profile, options=options, state_dir=state, reply=play.reply, execute=play.execute)
    if play.replay_first:
        cli.replay_grace_s = 0
    for step in play.start:
        act(cli, folder, step)
    return cli.run()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
