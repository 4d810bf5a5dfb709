"""What is tried: tool x mode x moment x verdict, each natural and with a resumed CLI that reads its stdin late."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

ASKED, EDITED = "CANARY-ASKED", "CANARY-EDITED"
"""What shows that a call ran: in a file it wrote, or in what the model was told."""

MODES = ("default", "acceptEdits", "plan")
MOMENTS = ("live", "parked", "killed")
VERDICTS = ("approve", "approve edited", "reject", "expire", "withdraw", "nobody answers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A call and how it is seen to have run. ``{home}`` and ``{work}`` in texts are the CLI's folders.

    ``file`` is what the call writes, seen from the working directory; a call without one shows what it read to the
    model. ``allowed_by_cli`` says that the CLI, left to itself, asks nobody.
    """

    name: str
    calls: tuple[dict[str, Any], ...]
    file: str = ""
    edited: dict[str, Any] | None = None
    answers: dict[str, str] = field(default_factory=dict)
    modes: tuple[str, ...] = MODES
    moments: tuple[str, ...] = MOMENTS
    allowed_by_cli: bool = False
    sub_agent: bool = False
    told: str = ASKED


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"tool": tool, "id": f"toolu_{tool}", "input": arguments}


QUESTION = {"question": "Which?", "header": "H", "multiSelect": False,
            "options": [{"label": "Red", "description": "r"}, {"label": "Blue", "description": "b"}]}  # fmt: skip

TOOLS = (
    Tool(
        name="Read of a secret inside", calls=(call("Read", file_path=".env"),), allowed_by_cli=True,
        edited={"file_path": "{work}/.env.other"},
    ),
    Tool(
        name="Read outside", calls=(call("Read", file_path="{home}/outside.txt"),),
        edited={"file_path": "{work}/.env.other"},
    ),
    Tool(
        name="cat", calls=(call("Bash", command="cat .env", description="x"),), allowed_by_cli=True,
        edited={"command": "cat .env.other", "description": "x"},
    ),
    Tool(
        name="Bash", calls=(call("Bash", command=f"echo {ASKED} >> ran.txt", description="x"),), file="ran.txt",
        edited={"command": f"echo {EDITED} >> ran.txt", "description": "x"},
    ),
    Tool(
        name="Bash in the background", file="ran.txt", moments=("live", "parked"),
        calls=(call("Bash", command=f"echo {ASKED} >> ran.txt", description="x", run_in_background=True),),
        edited={"command": f"echo {EDITED} >> ran.txt", "description": "x", "run_in_background": True},
    ),
    Tool(
        name="Write", calls=(call("Write", file_path=".husky/pre-commit", content=ASKED),), file=".husky/pre-commit",
        edited={"file_path": "{work}/.husky/pre-commit", "content": EDITED},
    ),
    Tool(
        name="Edit", file=".vscode/tasks.json",
        calls=(
            call("Read", file_path=".vscode/tasks.json"),
            call("Edit", file_path=".vscode/tasks.json", old_string="before", new_string=ASKED),
        ),
        edited={"file_path": "{work}/.vscode/tasks.json", "old_string": "before", "new_string": EDITED},
    ),
    Tool(
        name="Write into the CLI's memory", allowed_by_cli=True, file="{home}/.claude/projects/{slug}/memory/note.md",
        calls=(call("Write", file_path="{home}/.claude/projects/{slug}/memory/note.md", content=ASKED),),
        edited={"file_path": "{home}/.claude/projects/{slug}/memory/note.md", "content": EDITED},
    ),
    Tool(
        name="a sub-agent's Bash", sub_agent=True, file="ran.txt", moments=("live",),
        calls=(call("Bash", command=f"echo {ASKED} >> ran.txt", description="x"),),
        edited={"command": f"echo {EDITED} >> ran.txt", "description": "x"},
    ),
    Tool(
        name="AskUserQuestion", calls=(call("AskUserQuestion", questions=[QUESTION]),),
        answers={"Which?": ASKED}, told=f'"Which?"="{ASKED}"',
    ),
    Tool(
        name="EnterPlanMode", calls=(call("EnterPlanMode"),), modes=("default", "acceptEdits"), allowed_by_cli=True,
        told="Entered plan mode",
    ),
    Tool(
        name="ExitPlanMode", calls=(call("ExitPlanMode", plan="1. look"),), modes=("plan",),
        told="User has approved",
    ),
    Tool(
        name="Bash after an approved plan", modes=("plan",), file="ran.txt", moments=("live", "parked"),
        calls=(
            call("ExitPlanMode", plan="1. look"),
            call("Bash", command=f"echo {ASKED} >> ran.txt", description="x"),
        ),
        edited={"command": f"echo {EDITED} >> ran.txt", "description": "x"},
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One try. ``late``: a resumed CLI reads its stdin 1.5 s late, as on a busy machine."""

    tool: Tool
    mode: str
    moment: str
    verdict: str
    late: bool

    def __str__(self) -> str:
        return f"{self.tool.name}, {self.mode}, {self.moment}, {self.verdict}{', late' if self.late else ''}"


def cells() -> Iterator[Cell]:
    """All that can be tried."""
    for tool, late in itertools.product(TOOLS, (False, True)):
        for mode, moment, verdict in itertools.product(tool.modes, tool.moments, VERDICTS):
            nothing_to_edit = verdict == "approve edited" and not tool.edited
            never_resumed = late and moment == "live"
            if not (nothing_to_edit or never_resumed):
                yield Cell(tool=tool, mode=mode, moment=moment, verdict=verdict, late=late)


SHORT = (
    ("Read of a secret inside", "default", "parked", "reject", True),
    ("Read of a secret inside", "default", "parked", "approve edited", True),
    ("cat", "default", "parked", "reject", False),
    ("cat", "plan", "parked", "expire", True),
    ("Bash", "default", "killed", "approve", False),
    ("Bash", "default", "live", "reject", False),
    ("Bash", "default", "parked", "withdraw", True),
    ("Write", "acceptEdits", "live", "reject", False),
    ("Write into the CLI's memory", "default", "parked", "reject", True),
    ("a sub-agent's Bash", "default", "live", "approve", False),
    ("AskUserQuestion", "default", "parked", "approve", True),
    ("EnterPlanMode", "default", "parked", "reject", True),
    ("Bash after an approved plan", "plan", "parked", "approve", False),
    ("Bash after an approved plan", "plan", "parked", "reject", True),
)
"""Cells that failed once, each of another kind."""


def short_lane() -> list[Cell]:
    """What ``make test`` tries."""
    wanted = set(SHORT)
    return [one for one in cells() if (one.tool.name, one.mode, one.moment, one.verdict, one.late) in wanted]
