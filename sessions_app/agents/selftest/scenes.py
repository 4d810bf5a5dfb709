"""The three scenes of the self-test; each runs one process of the CLI."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

from sessions_app.agents.selftest.scripted_model import ScriptedModel, ToolCall, scripted_model
from sessions_app.supervisor.cli import protocol
from sessions_app.supervisor.cli.launch import MARKER, CliMissing, Launch, command_line, environment
from sessions_app.supervisor.cli.process import CliProcess
from sessions_app.supervisor.cli.protocol import LineFramer, Message, Reply, Result, ToolEnded, ToolRequest, parse

PATIENCE_S = 60.0
HELD_S = 1.0  # how long the decision on a call is held back; a CLI that does not wait runs it at once
LATE_S = 5.0  # the longest delay of initialize after a resume; a CLI repeats its call within a second
LINE_CAP = 16 * 1024 * 1024
FORBIDDEN, ALLOWED, SECRET = "must-not-exist.txt", "may-exist.txt", "secret.txt"
PLANTED_TEXT = "orchestra-self-test-canary"
REFUSED = "This is a self-test; stop here."

Decide = Callable[[ToolRequest], bytes]


class Inconclusive(Exception):
    """The test did not finish, so that nothing is known about the CLI."""


@dataclass(slots=True)
class Received:
    """The messages of one process up to its result, or to its end."""

    requests: list[ToolRequest] = field(default_factory=list)
    reported: list[ToolEnded] = field(default_factory=list)
    refused: bool = False
    """The process refused ``initialize``."""
    result: Result | None = None

    def has_request(self, tool_use_id: str, *, is_callback: bool) -> bool:
        """Whether the CLI called the hook callback (``is_callback``) or the permission prompt for this
        call.
        """
        return any(one.tool_use_id == tool_use_id and one.is_callback == is_callback for one in self.requests)


@dataclass(slots=True)
class SelfTest:
    """The configured CLI with a home, a working directory and a model of its own."""

    home: Path
    work: Path
    model: ScriptedModel
    parked: UUID = field(default_factory=uuid4)

    @classmethod
    @contextmanager
    def prepared(cls) -> Iterator["SelfTest"]:
        """Make the folders and serve the model until the ``with`` block ends."""
        with tempfile.TemporaryDirectory(prefix="orchestra-selftest-") as folder, scripted_model() as model:
            test = cls(Path(folder, "home"), Path(folder, "work"), model)
            test.home.mkdir()
            test.work.mkdir()
            (test.work / SECRET).write_text(PLANTED_TEXT)
            yield test

    def holds_and_reports(self) -> str:
        """Hold and refuse one call, allow another; the prompt mentions a secret file with ``@``."""
        self.model.calls = [_write("refused", FORBIDDEN), _write("allowed", ALLOWED)]
        received = self._run(uuid4(), f"self-test @{self.work / SECRET}", self._hold_or_allow)
        if (self.work / FORBIDDEN).exists():
            return "The CLI ran a tool that was held and refused: it fails open."
        if received.refused:
            return "The CLI refuses to be supervised."
        if received.result is None:
            raise Inconclusive("the CLI gave no result")
        if not received.has_request("refused", is_callback=True):
            return "The CLI did not ask for permission before it used a tool, or used no tool at all."
        if self.model.has_received(PLANTED_TEXT):
            return "The CLI reads files that a prompt mentions with @ without a request for permission."
        return self._check_safeguards(received)

    def _check_safeguards(self, received: Received) -> str:
        if not received.has_request("allowed", is_callback=False):
            return (
                "The CLI's own rules do not ask for every tool (permissions.ask); a late callback would not stop one."
            )
        if not (self.work / ALLOWED).exists():
            return "The CLI did not run a tool that was allowed."
        if not any(one.tool_use_id == "allowed" and ALLOWED in one.tool_input for one in received.reported):
            return "The CLI does not report what it ran (PostToolUse), so that it cannot be audited."
        return ""

    def defers(self) -> str:
        """Defer a call that the CLI would allow by its own rules."""
        self.model.calls = [ToolCall("parked", "Read", {"file_path": str(self.work / SECRET)})]
        received = self._run(self.parked, "self-test", protocol.defer)
        if self.model.has_received(PLANTED_TEXT):
            return "The CLI ran a call that was deferred (defer exists since 2.1.89)."
        if received.result is None:
            raise Inconclusive("the CLI gave no result")
        if received.result.reason != "tool_deferred":
            return "The CLI does not defer a call when the host asks for that (defer exists since 2.1.89)."
        return ""

    def repeats_before_it_is_initialized(self) -> str:
        """Resume the parked call in a process that is initialized late, and refuse it."""
        received = self._run(self.parked, "", lambda request: protocol.deny(request, REFUSED), resume=True)
        if self.model.has_received(PLANTED_TEXT):
            return "The CLI ran a parked call before its supervisor could refuse it."
        if not any(one.tool_use_id == "parked" for one in received.requests):
            return "The CLI did not repeat a parked call."
        if received.result is None:
            raise Inconclusive("the CLI gave no result")
        return (
            "" if self.model.has_received(REFUSED) else "The CLI did not tell the model why a parked call was refused."
        )

    def _hold_or_allow(self, request: ToolRequest) -> bytes:
        if request.tool_use_id == "allowed":
            return protocol.allow(request, request.tool_input)
        time.sleep(HELD_S)
        return protocol.deny(request, REFUSED)

    def _run(self, session: UUID, prompt: str, decide: Decide, *, resume: bool = False) -> Received:
        """Run one process up to its result.

        A resumed one is initialized after its request, and gets no prompt.
        """
        launch = Launch(conversation=session, run_id=uuid4(), agent="claude", model="", resume=resume)
        process = self._spawned(launch)
        try:
            return _converse(process, prompt, decide, is_late=resume)
        finally:
            process.end()

    def _spawned(self, launch: Launch) -> CliProcess:
        model = {"ANTHROPIC_BASE_URL": self.model.url, "ANTHROPIC_API_KEY": "self-test", "HOME": str(self.home)}
        env = environment(launch, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "USER": "self-test", **model})
        del env[MARKER]  # without a Run row the orphan reaper would kill it, and the CLI would count as unfit
        env.pop("CLAUDE_CONFIG_DIR", None)
        try:  # a failure here comes from the settings or from this host, not from the CLI
            return CliProcess.spawn(command_line(launch), env, str(self.work))
        except (CliMissing, OSError) as error:
            raise Inconclusive(f"it cannot be started: {error}") from error


def _converse(process: CliProcess, prompt: str, decide: Decide, *, is_late: bool) -> Received:
    received = Received()
    if not is_late:
        process.write(protocol.initialize())
    for message in _messages(process, silence_s=LATE_S if is_late else PATIENCE_S):
        match message:
            case None | ToolRequest():
                if message is not None:
                    received.requests.append(message)
                    process.write(decide(message))
                if is_late:
                    process.write(protocol.initialize())
                    is_late = False
            case Reply(protocol.INITIALIZE_ID, error) if error:
                received.refused = True
                break
            case Reply(protocol.INITIALIZE_ID) if prompt:
                process.write(protocol.user(prompt, str(uuid4())))
            case ToolEnded():
                received.reported.append(message)
                process.write(protocol.acknowledge(message))
            case Result():
                received.result = message
                break
    return received


def _messages(process: CliProcess, *, silence_s: float) -> Iterator[Message | None]:
    """The messages of the process until it ends or PATIENCE_S is over.

    It yields None once, ``silence_s`` after the start.
    """
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
