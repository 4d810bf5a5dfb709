"""A conversation on disk: one JSON line per record, written before it is printed, so that a kill
loses nothing.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One tool call of the model. ``agent_id`` and ``parent`` are set inside a sub-agent.

    ``together``: the host is asked about adjacent read-only calls all at once.
    ``prompt_only``: the call is sent as ``can_use_tool`` although a hook is registered.
    """

    id: str
    name: str
    input: dict[str, Any]
    agent_id: str = ""
    parent: str = ""
    together: bool = False
    prompt_only: bool = False
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def asked_input(self) -> dict[str, Any]:
        """The input that the host receives: the CLI removes the plan from the call
        (f_plan_mode_approve).
        """
        return {} if self.name == "ExitPlanMode" else self.input


class Conversation:
    """The records of a session in order.

    Kinds: prompt, message, tool_result, deferred, dropped, note, wrote, end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[Record] = []
        if path.exists():
            lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # a kill cut off what follows the last newline
            self.records = [json.loads(line) for line in lines]

    def add(self, kind: str, **fields: Any) -> None:
        """Append a record to the file.

        When this returns, a kill of this process no longer loses it.
        """
        record = {"kind": kind, **fields}
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.records.append(record)

    def add_message(self, message_id: str, texts: list[str], calls: list[ToolUse]) -> None:
        self.add("message", id=message_id, texts=texts, calls=[asdict(call) for call in calls])

    def prompts(self) -> list[str]:
        return [record["text"] for record in self.records if record["kind"] == "prompt"]

    def turn(self) -> list[Record]:
        """The records after the last prompt."""
        starts = [number for number, record in enumerate(self.records) if record["kind"] == "prompt"]
        return self.records[starts[-1] + 1 :] if starts else []

    def messages_in_turn(self) -> int:
        """The number of messages of this turn, without those whose calls were all dropped."""
        dropped = self._ids("dropped")
        messages = [record for record in self.turn() if record["kind"] == "message"]
        return sum(
            not record["calls"] or any(call["id"] not in dropped for call in record["calls"]) for record in messages
        )

    def last_result(self) -> Record | None:
        results = [record for record in self.turn() if record["kind"] == "tool_result"]
        return results[-1] if results else None

    def open_calls(self) -> list[ToolUse]:
        """Calls without a result that were not dropped."""
        closed = self._ids("tool_result") | self._ids("dropped")
        calls = [call for record in self.records if record["kind"] == "message" for call in record["calls"]]
        return [ToolUse(**call) for call in calls if call["id"] not in closed]

    def deferred_call(self) -> ToolUse | None:
        """The deferred call that the next resume repeats."""
        deferred = self._ids("deferred")
        return next((call for call in reversed(self.open_calls()) if call.id in deferred), None)

    def turn_is_open(self) -> bool:
        """Whether the turn of the last prompt has not ended."""
        return bool(self.prompts()) and not any(record["kind"] == "end" for record in self.turn())

    def known_ids(self) -> set[str]:
        return {call["id"] for record in self.records if record["kind"] == "message" for call in record["calls"]}

    def messages_paid(self) -> int:
        """The number of messages of all ended and parked turns.

        Those of a killed turn are not counted.
        """
        return sum(record["messages"] for record in self.records if record["kind"] in ("end", "deferred"))

    def _ids(self, kind: str) -> set[str]:
        return {record["tool_use_id"] for record in self.records if record["kind"] == kind}
