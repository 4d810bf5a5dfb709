"""Audits what ran: this run must have allowed each tool that ran, with the input with which it ran.
Pure.

The CLI requests permission twice before a tool runs (callback and permission prompt). This module
trusts neither: it compares what the CLI reports as done, by tool use id and by the digest of the
input, with what this run allowed. Two reports count: the PostToolUse callback, which carries the
input that ran, and the ``tool_result`` that goes to the model.
"""

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from sessions_app.supervisor.cli.protocol import OutputMessage, ToolEnded

RAN_UNAPPROVED = "ran_unapproved"
NOTHING_RAN = "<tool_use_error>"
"""The start of a result that the CLI itself made: an unknown tool, an invalid input, a tool that is
switched off.
"""
CALLS_REMEMBERED = 500
INPUT_SHOWN = 4000  # characters of an input that a violation quotes
ANSWERED_IN_INPUT = frozenset({"AskUserQuestion", "ExitPlanMode"})
"""The CLI itself completes the inputs of these tools, which change nothing, so their digests are
not compared.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A tool ran without a decision of this run. ``tool_input`` is JSON text, perhaps cut, empty if
    unknown.
    """

    tool_name: str
    tool_use_id: str
    tool_input: str
    reason: str


@dataclass(slots=True)
class _Permitted:
    """What may run under one tool use id: digests of inputs, none for a call that was refused."""

    inputs: set[str] = field(default_factory=set)
    reported: bool = False


@dataclass(slots=True)
class Reconciliation:
    """Compares what one run of the CLI did with what it was allowed to do."""

    _permitted: dict[str, _Permitted] = field(default_factory=dict)
    _calls: dict[str, tuple[str, str]] = field(default_factory=dict)
    _reported: set[str] = field(default_factory=set)
    is_stopping: bool = False
    """Orchestra has closed the CLI's stdin, signalled or interrupted it: an allowed call may end
    unreported.
    """

    def allow(self, tool_use_id: str, tool_input: str) -> None:
        """Record that the call may run once with exactly this input, JSON text."""
        permitted = self._permitted.setdefault(tool_use_id, _Permitted())
        permitted.inputs.add(digest_of(tool_input))
        permitted.reported = False

    def deny(self, tool_use_id: str) -> None:
        """Record that the call was denied, or its request withdrawn. An earlier permission no
        longer counts.
        """
        self._permitted[tool_use_id] = _Permitted()

    def remember_call(self, tool_use_id: str, tool_name: str, tool_input: str) -> None:
        """Remember a call, so that a violation can name what ran; ``tool_input`` is JSON text."""
        self._calls[tool_use_id] = (tool_name, tool_input[:INPUT_SHOWN])
        while len(self._calls) > CALLS_REMEMBERED:
            del self._calls[next(iter(self._calls))]

    def check_callback(self, ended: ToolEnded) -> Violation | None:
        """Check the report that ``ended`` ran, by its input."""
        permitted = self._permitted.get(ended.tool_use_id)
        if permitted is not None and permitted.inputs:
            if permitted.reported:
                return self._violation(ended.tool_use_id, "it ran a second time", ended)
            permitted.reported = True
            if ended.tool_name in ANSWERED_IN_INPUT or digest_of(ended.tool_input) in permitted.inputs:
                return None
            return self._violation(ended.tool_use_id, "it ran with another input than was allowed", ended)
        return self._violation(ended.tool_use_id, _reason(permitted), ended)

    def check_results(self, message: OutputMessage) -> list[Violation]:
        """Check every result that a message reports, and remember the calls that it announces."""
        if message.type == "assistant":
            self._remember_calls(message.body)
        if message.type != "user":
            return []
        meta = {entry.get("id"): entry for entry in _dicts(message.body.get("tool_result_meta"))}
        inner = bool(message.body.get("parent_tool_use_id"))
        found = [
            self._check_result(block, meta.get(block.get("tool_use_id"), {}), is_inner=inner)
            for block in _blocks(message.body)
            if block.get("type") == "tool_result"
        ]
        return [violation for violation in found if violation]

    def _check_result(self, block: dict[str, Any], meta: dict[str, Any], *, is_inner: bool) -> Violation | None:
        tool_use_id = str(block.get("tool_use_id") or "")
        permitted = self._permitted.get(tool_use_id)
        if permitted is not None and permitted.inputs:
            if permitted.reported or self.is_stopping or not was_executed(block, meta):
                return None
            return self._violation(tool_use_id, "it ran, and the CLI did not report with which input")
        if was_not_executed(block, meta, is_refused=permitted is not None or is_inner):
            return None
        return self._violation(tool_use_id, _reason(permitted))

    def _violation(self, tool_use_id: str, reason: str, ended: ToolEnded | None = None) -> Violation | None:
        """Return the violation of a call, or None if it was returned before: callback and result
        report the same call.
        """
        if tool_use_id in self._reported:
            return None
        self._reported.add(tool_use_id)
        name, asked = self._calls.get(tool_use_id, ("", ""))
        return Violation(
            tool_name=ended.tool_name if ended else name or "an unknown tool",
            tool_use_id=tool_use_id,
            tool_input=(ended.tool_input if ended else asked)[:INPUT_SHOWN],
            reason=reason,
        )

    def _remember_calls(self, body: dict[str, Any]) -> None:
        for block in _blocks(body):
            if block.get("type") == "tool_use":
                self.remember_call(str(block.get("id")), str(block.get("name")), json.dumps(block.get("input")))


def was_executed(block: dict[str, Any], meta: dict[str, Any]) -> bool:
    """Whether a ``tool_result`` says that its call was executed to its end, well or badly.

    Measured on 2.1.309 to 2.1.332: every such call is reported by a callback before its result. An
    error may also be that of an input which does not fit, or of a call that was interrupted.
    """
    return not block.get("is_error") or _permission_decision(meta) == "accept"


def was_not_executed(block: dict[str, Any], meta: dict[str, Any], *, is_refused: bool) -> bool:
    """Whether a ``tool_result`` says that its call was not executed.

    Measured on 2.1.330: a result of an executed call carries ``permission_decision.decision:
    accept``, one of a refused call ``non_execution_kind`` or ``decision: reject``; one that the CLI
    made up by itself, for a tool that does not exist or an input that does not fit, begins with
    ``<tool_use_error>`` and carries neither. Results inside a sub-agent carry nothing of the kind:
    there an error may be that of a call which was never requested, because the agent was stopped.
    What ran and failed there is found by its report.
    """
    if not block.get("is_error"):
        return False
    if meta.get("non_execution_kind") or _permission_decision(meta) == "reject":
        return True
    made_up = _text_of(block.get("content")).startswith(NOTHING_RAN)
    return _permission_decision(meta) is None and (is_refused or made_up)


def digest_of(tool_input: str) -> str:
    """Return the SHA-256 of the canonical JSON (sorted keys, no spaces, ASCII) of an input; of its
    text if it is no JSON.

    Numbers count as what JavaScript makes of them, since the CLI prints them anew: 1.0 is 1, 1e400
    is null.
    """
    try:
        value = json.loads(tool_input or "{}", parse_int=_number, parse_float=_number)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    except (ValueError, RecursionError):
        text = tool_input
    return hashlib.sha256(text.encode("ascii", "backslashreplace")).hexdigest()


def _number(text: str) -> float | None:
    number = float(text) + 0.0  # no negative zero
    return number if math.isfinite(number) else None


def _permission_decision(meta: dict[str, Any]) -> object:
    decision = meta.get("permission_decision")
    return decision.get("decision") if isinstance(decision, dict) else None


def _reason(permitted: _Permitted | None) -> str:
    return "it ran without a decision of this run" if permitted is None else "it ran although it was refused"


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(block.get("text", "")) for block in _dicts(content))


def _blocks(body: dict[str, Any]) -> list[dict[str, Any]]:
    message = body.get("message")
    return _dicts(message.get("content")) if isinstance(message, dict) else []


def _dicts(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
