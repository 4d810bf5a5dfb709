"""Plays one cell with a real CLI: asks, parks or kills, decides, resumes, and looks at what ran."""

import json
import os
import re
import shlex
import threading
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from approvals.commands import cancel_approval, decide_approval, expire_due_approvals
from approvals.models import Approval, Violation
from sessions_app.commands import SessionRequest, cancel_session, start_session
from sessions_app.models import AgentSession, Run, Turn
from sessions_app.supervisor import leases
from tests.dialog import Dialog
from tests.fakes.fake_messages_api import flat_text
from tests.fakes.real_cli import MessagesApi, real_cli_path
from tests.gate.cells import ASKED, EDITED, Cell
from tests.stack import until

LATE_S = 1.5
QUIET_S = 1.0  # how long a call that nobody answers is watched
REASON = "because-of-the-other-branch"
LONG = timedelta(minutes=10)
SHORT_HOLD = timedelta(seconds=2)  # time enough to answer what comes before


def cli_under_test() -> Path:
    """``GATE_CLI`` names it; else the pinned one."""
    return Path(os.environ.get("GATE_CLI") or real_cli_path())


@dataclass
class Rig:
    """One cell's folders, settings and dialog."""

    cell: Cell
    folder: Path
    api: MessagesApi
    settings: Settings
    dialog: Dialog = field(init=False)
    found: list[str] = field(default_factory=list)
    """What is wrong, in words; empty if the cell is in order."""

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def play(self) -> list[str]:
        """Everything, from the first prompt to the judgement."""
        self._prepare()
        self._begin()
        approval = self._reach_the_call()
        self._arrive_at_the_moment()
        self._decide(approval)
        self._go_on()
        self._evaluate_policy(approval)
        return self.found

    # --- before

    def _prepare(self) -> None:
        for folder in (self.home, self.work / ".vscode", self.work / ".husky"):
            folder.mkdir(parents=True, exist_ok=True)
        (self.work / ".env").write_text(ASKED)
        (self.work / ".env.other").write_text(EDITED)
        (self.work / ".vscode" / "tasks.json").write_text("before\n")
        (self.home / "outside.txt").write_text(ASKED)
        self.settings.AGENTS = replace(
            self.settings.AGENTS, cli_path=str(self._wrapper()), working_roots=(self.work.resolve(),)
        )
        self.settings.APPROVALS = replace(self.settings.APPROVALS, hold=self._hold(), self_approval=False)
        self.api.state.load(self._scenario())

    def _hold(self) -> timedelta:
        if self.cell.moment != "parked":
            return LONG
        return SHORT_HOLD if len(self.cell.tool.calls) > 1 else timedelta(0)

    def _wrapper(self) -> Path:
        """The CLI, or a script in which a resumed one hears of its host late."""
        if not self.cell.late:
            return cli_under_test()
        script, cli = self.folder / "claude", shlex.quote(str(cli_under_test()))
        script.write_text(
            "#!/bin/sh\n"
            f'case " $* " in *" --resume="*) {{ sleep {LATE_S}; exec cat; }} | exec {cli} "$@" ;; esac\n'
            f'exec {cli} "$@"\n'
        )
        script.chmod(0o755)
        return script

    def _scenario(self) -> dict[str, Any]:
        calls, after = self._filled(list(self.cell.tool.calls)), "said: {{last_tool_result}}"
        turns = [*({**one, "id": f"{one['id']}_{number}"} for number, one in enumerate(calls)), after, after, after]
        if not self.cell.tool.sub_agent:
            return {"turns": turns, "by": "position"}
        agent = {"description": "sub", "prompt": "scenario:sub", "subagent_type": "general-purpose"}
        main = [{"tool": "Agent", "id": "toolu_agent", "input": agent}, "main text", after, after]
        return {"turns": main, "named": {"sub": turns}, "by": "position"}

    def _filled(self, value: Any) -> Any:
        slug = re.sub(r"[^A-Za-z0-9]", "-", str(self.work.resolve()))
        text = json.dumps(value)
        for name, path in (("{home}", self.home), ("{work}", self.work.resolve()), ("{slug}", slug)):
            text = text.replace(name, str(path))
        return json.loads(text)

    # --- the call, the moment, the decision

    def _begin(self) -> None:
        wanted = SessionRequest(prompt="go", permission_mode=self.cell.mode, working_directory=str(self.work))
        self.dialog = Dialog(start_session(wanted, by="anna", may_allow=True))
        self.dialog.run()

    def _reach_the_call(self) -> Approval:
        """The approval request of the cell's call; what is asked before is approved."""
        for earlier in self.cell.tool.calls[:-1]:
            if earlier["tool"] != "Read":
                self.dialog.answer("approved")
        return self.dialog.ask(sum(one["tool"] != "Read" for one in self.cell.tool.calls[:-1]) + 1)

    def _arrive_at_the_moment(self) -> None:
        if self.cell.moment == "parked":
            self.dialog.end()
            if self.dialog.session.runs.filter(ended_at=None).exists() or self.dialog.session.status != "waiting":
                self.found.append(f"it was not parked but {self.dialog.session.status}")
        elif self.cell.moment == "killed":
            run = Run.objects.get(session=self.dialog.session, ended_at=None)
            leases.reclaim(run, why="killed", dead=True)
            self.dialog.end()

    def _decide(self, approval: Approval) -> None:
        match self.cell.verdict:
            case "approve":
                answers = json.dumps(self.cell.tool.answers) if self.cell.tool.answers else ""
                decide_approval(approval_id=approval.pk, decision="approved", by="boris", via="api", answers=answers)
            case "approve edited":
                text = json.dumps(self._filled(self.cell.tool.edited))
                decide_approval(approval_id=approval.pk, decision="approved", by="boris", via="api", updated_input=text)
            case "reject":
                decide_approval(approval_id=approval.pk, decision="rejected", by="boris", via="api", reason=REASON)
            case "expire":
                Approval.objects.filter(pk=approval.pk).update(expires_at=Now() - timedelta(seconds=1))
                expire_due_approvals(batch=10)
            case "withdraw":
                cancel_approval(approval_id=approval.pk, by="anna", via="api", reason="no longer needed")
            case "nobody answers":
                threading.Event().wait(QUIET_S)

    def _go_on(self) -> None:
        """Whatever follows runs to its end; a dialog that was closed without a process gets another message."""
        if self.cell.verdict == "nobody answers":
            self._check_nothing_ran("while nobody answered")
            cancel_session(session_id=self.dialog.session.pk, by="anna")
            self.dialog.end()
            return
        if self.cell.moment == "live":
            self.dialog.end()
        self._resume_queued()
        if self.cell.moment != "live" and self.cell.verdict in ("expire", "withdraw"):
            self.dialog.say("go on")
            self.dialog.end()
            self._resume_queued()

    def _resume_queued(self) -> None:
        """Run the turn as long as it is queued again: after a decision, after a start that failed."""
        for _ in range(3):
            self.dialog.session.refresh_from_db()
            if self.dialog.session.status != "queued":
                return
            self.dialog.run()
            self.dialog.end()

    # --- the judgement

    def _evaluate_policy(self, approval: Approval) -> None:
        ran, verdict = self._ran(), self.cell.verdict
        wanted = {"approve": {"asked"}, "approve edited": {"edited"}}.get(verdict, set())
        if ran != wanted:
            self.found.append(f"ran {sorted(ran)} instead of {sorted(wanted)}; {self._story()}")
        for violation in Violation.objects.all():
            self.found.append(f"alarm without cause: {violation.tool_name}: {violation.reason}")
        asked = list(Approval.objects.filter(session=self.dialog.session.pk, tool_name=approval.tool_name))
        if len(asked) > 1:
            self.found.append(f"asked {len(asked)} times: {[one.status for one in asked]}; {self._story()}")
        if verdict == "reject" and REASON not in self._told():
            self.found.append(f"the model was not told the reason; {self._story()}")
        if verdict == "approve" and self._last_status() != "completed":
            self.found.append(f"it ended as {self._last_status()}; {self._story()}")

    def _check_nothing_ran(self, when: str) -> None:
        if ran := self._ran():
            self.found.append(f"ran {sorted(ran)} {when}")

    def _ran(self) -> set[str]:
        if self.cell.tool.file:
            path = self.work / self._filled(self.cell.tool.file)
            self._settled(path)
            seen = path.read_text() if path.exists() else ""
        else:
            seen = self._told()
        signs = {"asked": self.cell.tool.told, "edited": EDITED}
        return {word for word, sign in signs.items() if sign in seen}

    def _settled(self, path: Path) -> None:
        """A command in the background may write a moment later."""
        if "background" in self.cell.tool.name and self.cell.verdict.startswith("approve"):
            until(path.exists, f"{path.name} is written", 10)

    def _told(self) -> str:
        """What came back from tools in all requests to the model."""
        results = []
        for request in self.api.state.requests:
            for message in request.get("body", {}).get("messages", []):
                content = message.get("content")
                for block in content if isinstance(content, list) else []:
                    if block.get("type") == "tool_result":
                        results.append(flat_text(block.get("content")))
        return "\n".join(results)

    def _last_status(self) -> str:
        return Turn.objects.filter(session=self.dialog.session).latest("number").status

    def _story(self) -> str:
        session = AgentSession.objects.get(pk=self.dialog.session.pk)
        runs = [run.ended_why for run in session.runs.order_by("fence")]
        return f"session {session.status} {session.failure_code}, runs {runs}, told {self._told()[-200:]!r}"
