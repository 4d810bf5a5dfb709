"""Approvals with their secrets hidden, for pages, channels, callbacks and the terminal.

The digest stays that of the raw input. What runs, is edited or is stored is always the raw input.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from approvals.commands import record_attempt
from approvals.models import Approval
from approvals.presentation.diffs import Line
from approvals.presentation.render import Block, what_would_run
from orchestra.redaction import Redaction

TEXTS = ("title", "summary", "body", "risk_reason", "working_directory", "tool_name", "reason", "note")
SHORT_TEXTS = ("title", "summary", "risk_reason", "working_directory", "tool_name", "reason", "note")
JSON_TEXTS = ("tool_input", "updated_input", "options", "answers")
REVEALED = "secrets_revealed"


@dataclass(frozen=True, slots=True)
class Shown:
    """An approval to show: ``raw`` is the row, ``approval`` a copy with hidden secrets, which is
    never saved.

    If it is ``revealed``, nothing is hidden.
    """

    raw: Approval
    approval: Approval
    redaction: Redaction
    revealed: bool = False

    @property
    def secrets(self) -> int:
        """The number of different secrets that the approval contains."""
        return self.redaction.count

    @property
    def left_out(self) -> bool:
        """Whether a part is hidden because it is too large to be searched for secrets."""
        return self.redaction.left_out and not self.revealed

    def hide(self, text: str) -> str:
        """Hide the secrets of this approval in another text about it."""
        return text if self.revealed else self.redaction.hide(text)

    def blocks(self, *, longest: int) -> list[Block]:
        """Return what would run; secrets are hidden before a block is cut."""
        hide = None if self.revealed else self._hidden
        return what_would_run(self.raw, longest=longest, hide=hide)

    def _hidden(self, block: Block) -> Block:
        label, note = self.hide(block.label), self.hide(block.note)
        if block.kind != "diff":
            return replace(block, label=label, note=note, text=self.hide(block.text))
        lines = _hidden_lines(block.lines, self.hide)
        text = "\n".join(line.text if line.kind == "hunk" else f"{line.sign}{line.text}" for line in lines)
        return replace(block, label=label, note=note, text=text, lines=lines)


def shown_of(approval: Approval, *, revealed: bool = False, whole: bool = True) -> Shown:
    """Hide the secrets of ``approval``.

    Without ``whole`` the body and the JSON texts of a tool call stay as they are, because a list
    shows neither. Those of a request without a tool are hidden: its line in a list may show them.
    """
    redaction = Redaction()
    read = {name: _read(getattr(approval, name)) for name in (JSON_TEXTS if whole or not approval.tool_name else ())}
    for value in (*read.values(), approval.facts):
        redaction.learn_from(value)
    redaction.learn(*(getattr(approval, name) for name in (TEXTS if whole else SHORT_TEXTS)))
    if revealed:
        return Shown(approval, approval, redaction, revealed=True)
    hidden = copy.copy(approval)
    for name in TEXTS if whole or not approval.tool_name else SHORT_TEXTS:
        setattr(hidden, name, redaction.hide(getattr(approval, name)))
    for name, value in read.items():
        setattr(hidden, name, _written(redaction, getattr(approval, name), value))
    hidden.facts = redaction.hide_in(approval.facts)
    return Shown(approval, hidden, redaction)


def hidden_text(text: str) -> str:
    """Hide the secrets in any text, such as a title in a list."""
    return Redaction().hide(text)


def record_reveal(approval: Approval, *, by: str, via: str, address: str) -> None:
    """Record in the audit that ``by`` reveals the secrets; callers do this before they show them."""
    record_attempt(
        action=REVEALED, won=True, by=by, via=via, address=address, reason="", approval_id=approval.pk
    )  # fmt: skip


def _hidden_lines(lines: tuple[Line, ...], hide: Callable[[str], str]) -> tuple[Line, ...]:
    """Hide secrets in a diff.

    The lines are searched together, to find a secret that spans several of them.
    """
    texts = hide("\n".join(line.text for line in lines)).split("\n")
    return tuple(replace(line, text=text) for line, text in zip(lines, texts, strict=True))


def _read(text: str) -> Any:
    """Parse JSON text; return the text itself if it is not JSON."""
    try:
        return json.loads(text) if text else ""
    except (ValueError, RecursionError):
        return text


def _written(redaction: Redaction, text: str, value: Any) -> str:
    """Write the redacted value as JSON text. The text stays as it is if nothing is hidden; what is
    not JSON is redacted as text.
    """
    if value is text or not text:
        return redaction.hide(text)
    hidden = redaction.hide_in(value)
    return text if hidden == value else json.dumps(hidden)
