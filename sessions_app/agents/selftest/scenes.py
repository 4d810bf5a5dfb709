"""The three scenes of the self-test, each one process of the CLI."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

from sessions_app.agents.selftest.scripted_model import ScriptedModel, ToolCall, scripted_model
from sessions_app.supervisor import protocol
from sessions_app.supervisor.launch import MARKER, CliMissing, Launch, command_line, environment
from sessions_app.supervisor.process import CliProcess
from sessions_app.supervisor.protocol import LineFramer, Message, Reply, Result, ToolEnded, ToolRequest, parse

PATIENCE_S = 60.0
HELD_S = 1.0  # how long a call is held; a CLI that does not wait acts at once
LATE_S = 5.0  # how late a resumed CLI hears of its host at the most; it repeats its call within a second
LINE_CAP = 16 * 1024 * 1024
FORBIDDEN, ALLOWED, SECRET = "must-not-exist.txt", "may-exist.txt", "secret.txt"
CANARY = "orchestra-self-test-canary"
REFUSED = "This is a self-test; stop here."

Answer = Callable[[ToolRequest], bytes]


class Inconclusive(Exception):
    """The test came to no end, for whatever reason; nothing is known about the CLI."""


@dataclass(slots=True)
class Heard:
    """What a process said until its result, or its end."""

    requests: list[ToolRequest] = field(default_factory=list)
    reported: list[ToolEnded] = field(default_factory=list)
    refused: bool = False
    result: Result | None = None

    def asked(self, tool_use_id: str, *, is_callback: bool) -> bool:
        """Whether the callback (``held``) or the permission prompt was called for it."""
        return any(one.tool_use_id == tool_use_id and one.is_callback == is_callback for one in self.requests)


@dataclass(slots=True)
class SelfTest:
    """A home, a folder and a model of its own for the CLI that is configured."""

    home: Path
    work: Path
    model: ScriptedModel
    parked: UUID = field(default_factory=uuid4)

    @classmethod
    @contextmanager
    def prepared(cls) -> Iterator["SelfTest"]:
        """Make the folders and serve the model for the length of a ``with``."""
        with tempfile.TemporaryDirectory(prefix="orchestra-selftest-") as folder, scripted_model() as model:
            test = cls(Path(folder, "home"), Path(folder, "work"), model)
            test.home.mkdir()
            test.work.mkdir()
            (test.work / SECRET).write_text(CANARY)
            yield test

    def holds_and_reports(self) -> str:
        """Hold and refuse a call, let another go; the prompt mentions a file that nobody may read."""
        self.model.calls = [_write("refused", FORBIDDEN), _write("allowed", ALLOWED)]
        heard = self._run(uuid4(), f"self-test @{self.work / SECRET}", self._hold_or_allow)
        if (self.work / FORBIDDEN).exists():
            return "The CLI ran a tool that was held and refused: it fails open."
        if heard.refused:
            return "The CLI refuses to be supervised."
        if heard.result is None:
            raise Inconclusive("the CLI gave no result")
        if not heard.asked("refused", is_callback=True):
            return "The CLI did not ask before using a tool, or could not be brought to use one."
        if self.model.was_told(CANARY):
            return "The CLI reads files that a prompt mentions with @ before anybody is asked."
        return self._nets(heard)

    def _nets(self, heard: Heard) -> str:
        if not heard.asked("allowed", is_callback=False):
            return "The CLI's own rules do not ask for every tool (permissions.ask): a late callback would be no gate."
        if not (self.work / ALLOWED).exists():
            return "The CLI did not run a tool that was allowed."
        if not any(one.tool_use_id == "allowed" and ALLOWED in one.tool_input for one in heard.reported):
            return "The CLI does not report what it ran (PostToolUse), so that it cannot be audited."
        return ""

    def puts_off(self) -> str:
        """Put a call off that the CLI would allow by itself."""
        self.model.calls = [ToolCall("parked", "Read", {"file_path": str(self.work / SECRET)})]
        heard = self._run(self.parked, "self-test", protocol.defer)
        if self.model.was_told(CANARY):
            return "The CLI ran a call that was put off (defer exists since 2.1.89)."
        if heard.result is None:
            raise Inconclusive("the CLI gave no result")
        if heard.result.reason != "tool_deferred":
            return "The CLI does not put a call off when it is told to (defer exists since 2.1.89)."
        return ""

    def repeats_before_it_is_initialized(self) -> str:
        """Resume the parked call in a process that hears of its callbacks late, and refuse it."""
        heard = self._run(self.parked, "", lambda request: protocol.deny(request, REFUSED), resume=True)
        if self.model.was_told(CANARY):
            return "The CLI ran a parked call before its supervisor could refuse it."
        if not any(one.tool_use_id == "parked" for one in heard.requests):
            return "The CLI did not repeat a parked call."
        if heard.result is None:
            raise Inconclusive("the CLI gave no result")
        return "" if self.model.was_told(REFUSED) else "The CLI did not tell the model why a parked call was refused."

    def _hold_or_allow(self, request: ToolRequest) -> bytes:
        if request.tool_use_id == "allowed":
            return protocol.allow(request, request.tool_input)
        time.sleep(HELD_S)
        return protocol.deny(request, REFUSED)

    def _run(self, session: UUID, prompt: str, answer: Answer, *, resume: bool = False) -> Heard:
        """One process from its start to its result. A resumed one is initialized after it asked, and gets no prompt."""
        launch = Launch(conversation=session, run_id=uuid4(), agent="claude", model="", resume=resume)
        process = self._spawned(launch)
        try:
            return _conversation(process, prompt, answer, is_late=resume)
        finally:
            process.end()

    def _spawned(self, launch: Launch) -> CliProcess:
        model = {"ANTHROPIC_BASE_URL": self.model.url, "ANTHROPIC_API_KEY": "self-test", "HOME": str(self.home)}
        env = environment(launch, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "USER": "self-test", **model})
        del env[MARKER]  # no run is recorded for it, so the orphan reaper would kill it
        env.pop("CLAUDE_CONFIG_DIR", None)
        try:  # what fails here is of the settings or this host, and mended there
            return CliProcess.spawn(command_line(launch), env, str(self.work))
        except (CliMissing, OSError) as error:
            raise Inconclusive(f"it cannot be started: {error}") from error


def _conversation(process: CliProcess, prompt: str, answer: Answer, *, is_late: bool) -> Heard:
    heard = Heard()
    if not is_late:
        process.write(protocol.initialize())
    for message in _messages(process, silence_s=LATE_S if is_late else PATIENCE_S):
        match message:
            case None if is_late:
                process.write(protocol.initialize())
                is_late = False
            case Reply(protocol.INITIALIZE_ID, error):
                if error:
                    heard.refused = True
                    break
                if prompt:
                    process.write(protocol.user(prompt, str(uuid4())))
            case ToolRequest():
                heard.requests.append(message)
                process.write(answer(message))
                if is_late:
                    process.write(protocol.initialize())
                    is_late = False
            case ToolEnded():
                heard.reported.append(message)
                process.write(protocol.acknowledge(message))
            case Result():
                heard.result = message
                break
    return heard


def _messages(process: CliProcess, *, silence_s: float) -> Iterator[Message | None]:
    """What the process says until it ends or patience does; None once, ``silence_s`` after the start."""
    framer = LineFramer(LINE_CAP)
    started = time.monotonic()
    wakes = [started + silence_s, started + PATIENCE_S]
    while wakes:
        events = process.wait(wakes[0] - time.monotonic())
        yield from map(parse, framer.feed(events.output))
        if events.has_exited and not events.output:
            return
        if time.monotonic() >= wakes[0]:
            del wakes[0]
            yield None


def _write(tool_use_id: str, name: str) -> ToolCall:
    return ToolCall(tool_use_id, "Write", {"file_path": name, "content": "self-test"})
