"""A dialog with the real CLI, whose turns run on threads of the test and whose model is scripted."""

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from approvals.commands import decide_approval
from approvals.models import Approval
from sessions_app.commands import SessionRequest, send_message, start_session
from sessions_app.models import AgentSession, Turn
from sessions_app.supervisor import worker
from tests.fakes.real_cli import MessagesApi
from tests.stack import until

PATIENCE_S = 60.0


@dataclass
class Dialog:
    """A session; ``api`` calls in a test speak for the people who decide."""

    session: AgentSession
    thread: threading.Thread | None = None

    @property
    def folder(self) -> Path:
        return Path(self.session.working_directory)

    def run(self) -> None:
        """Let a worker take the open turn, in the background."""
        turn = Turn.objects.get(session=self.session, status__in=("queued", "running"))
        self.thread = threading.Thread(target=worker.take_turn, args=(turn.pk,))
        self.thread.start()

    def say(self, prompt: str) -> None:
        send_message(session_id=self.session.pk, prompt=prompt, by="anna")
        self.run()

    def ask(self, nth: int = 1) -> Approval:
        """The nth approval request, once it is there."""

        def look() -> Approval | None:
            asked = list(Approval.objects.filter(session=self.session.pk).order_by("created_at"))
            return asked[nth - 1] if len(asked) >= nth else None

        return until(look, f"approval request {nth} opens", PATIENCE_S)

    def answer(self, verdict: str, nth: int = 1, **answer: Any) -> None:
        decide_approval(approval_id=self.ask(nth).pk, decision=verdict, by="boris", via="api", **answer)

    def end(self) -> Turn:
        """The last turn, when its run is over."""
        assert self.thread
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        self.session.refresh_from_db()
        return Turn.objects.filter(session=self.session).latest("number")


@dataclass
class Start:
    """Starts a dialog whose model says what a scenario says, turn by turn."""

    api: MessagesApi

    def __call__(self, turns: list[Any], *, named: dict[str, Any] | None = None, **wanted: Any) -> Dialog:
        self.api.state.load({"turns": turns, "named": named or {}, "by": "position"})
        dialog = Dialog(start_session(SessionRequest(prompt="please", **wanted), by="anna", may_allow=True))
        dialog.run()
        return dialog

    def model_was_told(self, text: str) -> bool:
        """Whether ``text`` was in any request to the model."""
        return any(text in json.dumps(seen.get("body", "")) for seen in self.api.state.requests)
