"""Background tasks of a turn: sub-agents and commands that the CLI runs behind the turn's text.
Pure.

Measured on 2.1.309 to 2.1.332: ``system/background_tasks_changed`` lists every task that is alive.
A turn's ``result`` comes while they work; when one ends, the CLI starts a follow-up turn by itself
within a second (``system/init`` again, and a ``result`` of its own). A sub-agent runs in the
background unless its call says otherwise.
"""

from dataclasses import dataclass, field
from typing import Any

from sessions_app.supervisor.cli.protocol import OutputMessage

SETTLES_S = 5.0  # a follow-up turn begins much earlier, or not at all
MOST_TASKS_SHOWN = 20


@dataclass(slots=True)
class Background:
    """The tasks of one process, and whether the CLI is in a turn of its own."""

    tasks: dict[str, str] = field(default_factory=dict)
    in_turn: bool = False
    changed_at: float = 0.0
    _ever: bool = False

    def handle_output(self, message: OutputMessage, now: float) -> None:
        """Record what a message says about tasks and turns."""
        if message.type != "system":
            return
        if message.subtype == "init":
            self.in_turn = True
        elif message.subtype == "background_tasks_changed":
            self.tasks = _described(message.body.get("tasks"))
            self.changed_at = now
            self._ever = self._ever or bool(self.tasks)

    def turn_ended(self, now: float) -> None:
        """The CLI sent a ``result``."""
        self.in_turn = False
        self.changed_at = now

    def sub_agent_is_alive(self, now: float) -> None:
        """A sub-agent has requested a tool, so it is alive."""
        self.changed_at = now
        self._ever = True

    def settled_at(self) -> float:
        """Return when it is certain that nothing follows: infinity while a task or a follow-up turn
        runs.
        """
        if self.tasks or self.in_turn:
            return float("inf")
        return self.changed_at + (SETTLES_S if self._ever else 0.0)

    def described(self) -> list[str]:
        """Return the agent's descriptions of its live tasks, at most ``MOST_TASKS_SHOWN``."""
        return list(self.tasks.values())[:MOST_TASKS_SHOWN]


def _described(tasks: Any) -> dict[str, str]:
    listed = [task for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []
    return {str(task.get("task_id")): str(task.get("description") or task.get("task_type"))[:200] for task in listed}
