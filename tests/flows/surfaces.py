"""What each surface shows of each kind of approval request and what an approval needs there: the tables of the docs.

A request carries *parts*: a name, and words that stand nowhere else. A surface is a function that returns the text a
person or a program gets first, and after having opened everything the surface offers to open.
"""

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from approvals.models import Approval
from tests.factories import make_approval

LONG = 3_000  # lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of request: the fields of its row, and which words must be found on every surface."""

    name: str
    parts: Mapping[str, str]
    fields: Mapping[str, Any] = field(default_factory=dict)
    secret: str = ""
    """A value in it that people see after a press alone, and channels never."""

    def make(self) -> Approval:
        """An open request of this kind."""
        return make_approval(**self.fields)


def tool(
    name: str,
    tool_name: str,
    tool_input: Mapping[str, Any],
    parts: Mapping[str, str],
    *,
    secret: str = "",
    **fields: Any,
) -> Kind:
    """A request for one call of ``tool_name``, with the title that a real one would have."""
    from approvals.presentation.render import summary_for, title_for

    text = json.dumps(tool_input)
    own = {
        "tool_name": tool_name, "tool_input": text, "title": title_for(tool_name, text),
        "summary": summary_for(tool_name, text),
    }  # fmt: skip
    return Kind(name=name, parts=parts, fields=own | fields, secret=secret)


def asked(question: str, *options: str, several: bool = False) -> dict[str, Any]:
    """One question of an agent, as ``AskUserQuestion`` takes it."""
    choices = [{"label": option, "description": f"means {option}"} for option in options]
    return {"question": question, "header": "Choice", "multiSelect": several, "options": choices}


LONG_COMMAND = "\n".join(["echo start-of-command", *["#"] * LONG, "rm -rf end-of-command"])
SECRET = "-".join(("sk", "ant", "api03", "Zq7Xw2Lm9Vt4Rb8Np3Kc6Yh1"))  # in parts, so that no scanner takes it for one
SAME = "deploy the release of this week to the machines of the region "  # 62 characters


def kinds() -> list[Kind]:
    """Every kind of request that a surface must show whole."""
    return [
        tool(
            "command", "Bash", {"command": "make build && echo tail-of-command", "description": "claim-of-agent"},
            {"command": "tail-of-command", "claim of the agent": "claim-of-agent"},
        ),
        tool(
            "command of 3,002 lines", "Bash", {"command": LONG_COMMAND},
            {"first line": "start-of-command", "last line": "end-of-command"},
        ),
        tool(
            "command of high risk", "Bash", {"command": "rm -rf old-builds"}, {"command": "rm -rf old-builds"},
            risk="high", risk_reason="deletes or overwrites data",
        ),
        tool(
            "command with a secret", "Bash",
            {"command": f"curl -H 'Authorization: Bearer {SECRET}' https://api.example.org/items"},
            {"program": "curl -H", "address": "https://api.example.org/items"}, secret=SECRET,
        ),
        tool(
            "edit of a file", "Edit",
            {"file_path": "notes/list-of-names.txt", "old_string": "words-before", "new_string": "words-after"},
            {"path": "list-of-names.txt", "old text": "words-before", "new text": "words-after"},
        ),
        tool(
            "new file", "Write", {"file_path": "fresh-file.txt", "content": "first-line\n" + "x\n" * 40 + "last-line"},
            {"path": "fresh-file.txt", "first line": "first-line", "last line": "last-line"},
        ),
        tool(
            "web page", "WebFetch", {"url": "https://docs.example.org/guide-page", "prompt": "prompt-to-model"},
            {"address": "docs.example.org/guide-page", "prompt": "prompt-to-model"},
        ),
        tool(
            "tool of an MCP server", "mcp__tracker__create",
            {"project": "project-name", "nested": {"deep": "deep-value"}},
            {"argument": "project-name", "nested argument": "deep-value"},
        ),
        tool(
            "question, one choice", "AskUserQuestion",
            {"questions": [asked("Which-database?", SAME + "north-side", SAME + "south-side")]},
            {"question": "Which-database?", "first option": "north-side", "second option": "south-side",
             "description": "means deploy"}, kind="question",
        ),
        tool(
            "two questions, several choices", "AskUserQuestion",
            {"questions": [asked("Which-checks?", "lint-check", "type-check", several=True), asked("What-name?")]},
            {"first question": "Which-checks?", "option": "type-check", "second question": "What-name?"},
            kind="question",
        ),
        tool(
            "plan", "ExitPlanMode", {"plan": "# Plan-heading\n" + "step\n" * 20 + "last-step"},
            {"heading": "Plan-heading", "last step": "last-step"}, kind="plan",
        ),
        Kind(
            name="request of a program",
            parts={
                "end of the title": "end-of-title", "body": "words-of-body", "fact": "value-of-fact",
                "option": "choice-two",
            },
            fields={
                "kind": "external", "tool_name": "", "tool_input": "", "input_digest": "",
                "title": "May this go on? " + "word " * 52 + "end-of-title", "body": "words-of-body",
                "facts": {"pipeline": "value-of-fact"}, "options": '["choice-one", "choice-two"]',
            },
        ),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a surface gave. ``how`` says what a person does to get ``opened``; empty where ``first`` is all there is."""

    first: str
    opened: str = ""
    how: str = ""
    approve: str = ""
    """What it takes to approve there."""


Surface = Callable[[Approval], Shown]


def text_of(page: str) -> str:
    """The words of an HTML page, as a reader gets them: no tags, entities resolved, blanks run together."""
    body = re.sub(r"<(head|script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    words = html.unescape(re.sub(r"<[^>]+>", "", body))
    return re.sub(r"\s+", " ", words)


def cell(kind: Kind, shown: Shown) -> str:
    """What the table says: all at once, all after a step, or what is missing."""
    at_once = {name for name, words in kind.parts.items() if words in shown.first}
    opened = {name for name, words in kind.parts.items() if words in shown.first + shown.opened}
    missing = [name for name in kind.parts if name not in opened]
    if missing:
        return "**not shown: " + ", ".join(missing) + "**"
    later = [name for name in kind.parts if name not in at_once]
    words = f"all; after {shown.how}: {', '.join(later)}" if later else "all"
    if not kind.secret:
        return words
    return f"{words}; secret {'in clear' if kind.secret in shown.first + shown.opened else 'hidden'}"


def table(cells: Mapping[tuple[str, str], str], surfaces: list[str], kind_names: list[str]) -> str:
    """The same as Markdown, a line for each kind."""
    return "\n".join(_rows(cells, surfaces, kind_names)) + "\n"


def _rows(cells: Mapping[tuple[str, str], str], surfaces: list[str], kind_names: list[str]) -> Iterator[str]:
    yield "| Request | " + " | ".join(surfaces) + " |"
    yield "|---" * (len(surfaces) + 1) + "|"
    for name in kind_names:
        yield f"| {name} | " + " | ".join(cells[name, surface] for surface in surfaces) + " |"
