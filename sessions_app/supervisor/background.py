"""What goes on behind a turn's text: sub-agents and commands that the CLI runs in the background. Pure.

Measured on 2.1.309 to 2.1.332: ``system/background_tasks_changed`` lists every task that is alive. A turn's ``result``
comes while they work; when one ends, the CLI starts a follow-up turn by itself within a second (``system/init`` again,
and a ``result`` of its own). A sub-agent runs in the background unless its call says otherwise.
"""

from dataclasses import dataclass, field
from typing import Any

from sessions_app.supervisor.protocol import Spoken

SETTLES_S = 5.0  # a follow-up turn begins much earlier, or not at all
MOST_TASKS_SHOWN = 20


@dataclass(slots=True)
class Background:
    """The tasks of one process, and whether the CLI is in a turn of its own."""

    tasks: dict[str, str] = field(default_factory=dict)
    in_turn: bool = False
    changed_at: float = 0.0
    _ever: bool = False

    def hear(self, spoken: Spoken, now: float) -> None:
        """Take in what a line says about tasks and turns."""
        if spoken.type != "system":
            return
        if spoken.subtype == "init":
            self.in_turn = True
        elif spoken.subtype == "background_tasks_changed":
            self.tasks = _described(spoken.body.get("tasks"))
            self.changed_at = now
            self._ever = self._ever or bool(self.tasks)

    def turn_ended(self, now: float) -> None:
        """A ``result`` came."""
        self.in_turn = False
        self.changed_at = now

    def agent_asked(self, now: float) -> None:
        """A sub-agent asks for a tool, so it lives."""
        self.changed_at = now
        self._ever = True

    def settled_at(self) -> float:
        """When it is clear that nothing follows; never while a task lives or a follow-up turn runs."""
        if self.tasks or self.in_turn:
            return float("inf")
        return self.changed_at + (SETTLES_S if self._ever else 0.0)

    def described(self) -> list[str]:
        """The living tasks in the agent's words, a bounded number of them."""
        return list(self.tasks.values())[:MOST_TASKS_SHOWN]


def _described(tasks: Any) -> dict[str, str]:
    listed = [task for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []
    return {str(task.get("task_id")): str(task.get("description") or task.get("task_type"))[:200] for task in listed}
