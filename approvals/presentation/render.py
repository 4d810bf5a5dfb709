"""What people see of a request, the same on every surface.

Nothing here runs or changes anything, and everything that is returned is safe to print. A surface
only adds its own escaping (HTML, Markdown).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from approvals.models import Approval
from approvals.policy.tool_call import parsed_arguments, telling_argument
from approvals.presentation.diffs import Line, diff_lines, file_now, split_lines
from approvals.presentation.edits import AGAINST_DISK, Edit, preview_edits, without_bom
from approvals.presentation.lookalikes import lookalike_warning
from approvals.presentation.readable import fact_lines, numbered
from approvals.presentation.safe_text import (
    editable,
    exact_json,
    has_repeated_names,
    hidden_kinds,
    one_line,
    pretty,
    visible,
)

__all__ = [
    "OWN_WORDS", "WHOLE", "Block", "Line", "blocks_for", "editable", "exact_json", "holds_a_plan", "one_line", "pretty",
    "questions_in", "questions_of", "summary_for", "title_for", "visible", "what_would_run", "without_title",
]  # fmt: skip

LONGEST_TITLE = 200
LONGEST_SUMMARY = 500
LONGEST_BLOCK = 200_000  # characters
WHOLE = 20_000_000  # characters: the largest possible input
MOST_DIFF_LINES = 4_000  # unless the caller wants the whole
TITLE = "Title"
NO_PLAN = "The agent gave no plan."
NOT_ALLOWED = "Asked for, not allowed: "
OWN_WORDS = "The agent's own words"
EDIT_FIELDS = frozenset({"old_string", "new_string", "replace_all"})
QUESTION_FIELDS = frozenset({"question", "header", "multiSelect", "options"})
OPTION_FIELDS = frozenset({"label", "description"})
PLAIN_TOOLS = frozenset({"Read", "Glob", "Grep", "LS", "WebFetch", "WebSearch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of what would run. ``kind`` is command, diff, text, json, question or plan.

    ``text`` is complete unless ``cut`` says what is missing. A diff has ``lines``, and its ``text``
    is the same diff in unified format. ``note`` is a remark of Orchestra, never words of the agent;
    a ``quiet`` note may be left out where there is little room.
    """

    kind: str
    label: str
    text: str = ""
    lines: tuple[Line, ...] = ()
    note: str = ""
    quiet: bool = False
    cut: str = ""


def title_for(tool_name: str, tool_input: str, *, body: str = "") -> str:
    """Return a title such as ``Bash: rm -r build``, at most 200 characters; ``body`` is a plan sent
    beside the call.
    """
    arguments = parsed_arguments(tool_input)
    if tool_name == "AskUserQuestion":
        return one_line("Question: " + "; ".join(q["question"] for q in questions_in(tool_input)), LONGEST_TITLE)
    if tool_name == "ExitPlanMode":
        return one_line(f"Plan: {_text(arguments, 'plan') or body or 'ready to be carried out'}", LONGEST_TITLE)
    telling = telling_argument(tool_name, tool_input)
    return one_line(tool_name if telling in ("", "{}") else f"{tool_name}: {telling}", LONGEST_TITLE)


def summary_for(tool_name: str, tool_input: str) -> str:
    """Return a sentence for below the title, at most 500 characters.

    Claims of the agent are marked as such.
    """
    arguments = parsed_arguments(tool_input)
    if tool_name == "Write":
        content = _text(arguments, "content")
        return one_line(f"Writes {_counted_text(content)} to {_text(arguments, 'file_path')}", LONGEST_SUMMARY)
    if tool_name in ("Edit", "MultiEdit"):
        edits = _edits(tool_name, arguments)
        places = "1 place" if len(edits) == 1 else f"{len(edits)} places"
        return one_line(f"Changes {places} in {_text(arguments, 'file_path')}", LONGEST_SUMMARY)
    if tool_name == "AskUserQuestion":
        return one_line("; ".join(q["question"] for q in questions_in(tool_input)), LONGEST_SUMMARY)
    claimed = _text(arguments, "description")
    return one_line(f"The agent says: {claimed}", LONGEST_SUMMARY) if claimed else ""


def what_would_run(
    approval: Approval, *, longest: int = LONGEST_BLOCK, hide: Callable[["Block"], "Block"] | None = None
) -> list[Block]:
    """Return everything that an approval would allow, in reading order.

    No argument of the call is left out. A block longer than ``longest`` characters is cut and says
    how much is missing, with the digest of the whole. ``hide`` removes the secrets from each block
    before it is cut.
    """
    if approval.kind == Approval.Kind.EXTERNAL:
        blocks = _external(approval)
    else:
        blocks = blocks_for(
            approval.tool_name, approval.tool_input, directory=approval.working_directory, body=approval.body
        )
    if approval.updated_input:
        edited = blocks_for(approval.tool_name, approval.updated_input, directory=approval.working_directory)
        before, after = pretty(approval.tool_input) + "\n", pretty(approval.updated_input) + "\n"
        blocks = [
            *(replace(one, label=f"Allowed, as edited: {one.label}") for one in edited if one.label != OWN_WORDS),
            diff_block("What the person changed", before, after),
            *(one if one.label == OWN_WORDS else replace(one, label=f"{NOT_ALLOWED}{one.label}") for one in blocks),
        ]
    blocks = [hide(block) for block in blocks] if hide else blocks
    return bounded([_warned(block) for block in blocks], approval, longest=longest)


def bounded(blocks: list[Block], approval: Approval, *, longest: int, most_lines: int = 0) -> list[Block]:
    """Cut each block to ``longest`` characters and to ``most_lines``; 0 lines means no limit.

    ``cut`` says how much.
    """
    digest = approval.run_digest or approval.input_digest
    return [_bounded(block, _first_lines(block.text, longest, most_lines), digest) for block in blocks]


def _first_lines(text: str, longest: int, most_lines: int) -> int:
    """Return how many characters of ``text`` fit both limits."""
    if not most_lines:
        return longest
    kept = "\n".join(text[: longest + 1].split("\n", most_lines)[:most_lines])
    return min(longest, len(kept))


def without_title(approval: Approval, blocks: list[Block], *, longest: int = LONGEST_TITLE) -> list[Block]:
    """Remove the title block of an external request if the heading of the surface shows the whole
    title.
    """
    shown = one_line(approval.title, longest) == one_line(approval.title, 20 * LONGEST_TITLE)
    return [block for block in blocks if block.label != TITLE] if shown else blocks


def _warned(block: Block) -> Block:
    """Add a note about look-alike letters, which every surface shows."""
    warning = lookalike_warning(f"{block.label}\n{block.text}")
    if not warning:
        return block
    return replace(block, note=" ".join(filter(None, (f"Look-alike letters: {warning}", block.note))), quiet=False)


def blocks_for(tool_name: str, tool_input: str, *, directory: str, body: str = "") -> list[Block]:
    """Return the blocks of one tool call.

    Relative paths start at ``directory``; ``body`` is a plan sent beside the call.
    """
    arguments = parsed_arguments(tool_input)
    if not arguments:
        if body or tool_name == "ExitPlanMode":
            return [Block(kind="plan", label="The plan", text=visible(body) if body.strip() else NO_PLAN)]
        empty = tool_input.strip() in ("", "{}")
        return [_json(f"Input of {visible(tool_name)}", tool_input, note="" if empty else "This is not a JSON object.")]
    if tool_name == "ExitPlanMode" and body and not arguments.get("plan"):
        arguments["plan"] = body  # the CLI keeps the plan in a file and sends the call without it
    blocks, shown = DRAWN.get(tool_name, _plain)(tool_name, arguments, directory)
    if not blocks:
        blocks = [_json(f"Input of {visible(tool_name)}", pretty(tool_input))]
    elif rest := {name: value for name, value in arguments.items() if name not in shown}:
        blocks.append(_json("Further arguments", pretty(json.dumps(rest))))
    if has_repeated_names(tool_input):
        blocks.append(_json("Exact input", tool_input, note="A name occurs twice in this input; the last one counts."))
    return blocks


Drawn = tuple[list[Block], frozenset[str]]
"""Blocks, and the names of the arguments that they show; no blocks if the input does not fit the
tool.
"""


def _plain(tool_name: str, arguments: dict[str, Any], directory: str) -> Drawn:
    simple = tool_name in PLAIN_TOOLS and all(isinstance(value, str | int | float) for value in arguments.values())
    return ([_listed(tool_name, arguments)] if simple else []), frozenset(arguments)


def _bash(tool_name: str, arguments: dict[str, Any], directory: str) -> Drawn:
    command = arguments.get("command")
    if not isinstance(command, str):
        return [], frozenset()
    quiet = not hidden_kinds(command)
    blocks = [Block(kind="command", label="Command", text=visible(command), note=_hidden_note(command), quiet=quiet)]
    claimed = _text(arguments, "description")
    if not claimed:
        return blocks, frozenset({"command"})
    blocks.append(Block(kind="text", label=OWN_WORDS, text=visible(claimed)))
    return blocks, frozenset({"command", "description"})


def _write(tool_name: str, arguments: dict[str, Any], directory: str) -> Drawn:
    path, content = arguments.get("file_path"), arguments.get("content")
    if not isinstance(path, str) or not isinstance(content, str):
        return [], frozenset()
    on_disk, why_not = file_now(path, directory)
    before = None if on_disk is None else without_bom(on_disk)  # the CLI keeps the mark
    if before is None:
        label = f"Whole content of {visible(path)}"
        block = Block(kind="text", label=label, text=visible(content), note=why_not)
    elif before == content:
        label, note = f"Whole content of {visible(path)}", "The file on disk already is exactly this."
        block = Block(kind="text", label=label, text=visible(content), note=note)
    else:
        block = diff_block(f"Changes to {visible(path)}", before, content, note=AGAINST_DISK)
    return [block], frozenset({"file_path", "content"})


def _edit(tool_name: str, arguments: dict[str, Any], directory: str) -> Drawn:
    path, edits = arguments.get("file_path"), _edits(tool_name, arguments)
    if not isinstance(path, str) or not edits:
        return [], frozenset()
    used = frozenset({"file_path", "edits"} if tool_name == "MultiEdit" else {"file_path", *EDIT_FIELDS})
    label = f"Changes to {visible(path)}"
    on_disk, why_not = file_now(path, directory)
    note = why_not
    if on_disk is not None:
        done = preview_edits(on_disk, edits, path=path)
        if done.after is not None:
            return [diff_block(label, done.before, done.after, note=done.note)], used
        note = done.note
    where = {True: ", everywhere it occurs", False: ""}
    return [diff_block(label + where[one.everywhere], one.old, one.new, note=note) for one in edits], used


def _notebook(tool_name: str, arguments: dict[str, Any], directory: str) -> Drawn:
    source = arguments.get("new_source")
    if not isinstance(source, str):
        return [], frozenset()
    others = {name: value for name, value in arguments.items() if name != "new_source"}
    cell = Block(kind="text", label="New content of the cell", text=visible(source))
    return [_listed(tool_name, others), cell], frozenset(arguments)


def _questions(tool_name: str, arguments: dict[str, Any], directory: str) -> Drawn:
    questions = _well_formed(arguments.get("questions"))
    if not questions or len(questions) != len(arguments["questions"]):
        return [], frozenset()
    blocks = []
    for question in questions:
        choice = "Several may be chosen" if question["multiSelect"] else "One may be chosen"
        options = [": ".join(filter(None, (one["label"], one["description"]))) for one in question["options"]]
        text = visible("\n".join([question["question"], *numbered(options)]))
        label = visible(question["header"]) or "Question"
        blocks.append(Block(kind="question", label=label, text=text, note=choice if options else ""))
    if any(_says_more(one) for one in arguments["questions"]):
        blocks.append(_json("All that came with it", pretty(json.dumps(arguments["questions"]))))
    return blocks, frozenset({"questions"})


def _says_more(question: dict[str, Any]) -> bool:
    """Whether a question, or one of its options, has content that the decision form does not show."""
    options = question.get("options", [])
    if not isinstance(options, list) or not question.keys() <= QUESTION_FIELDS:
        return True
    return not isinstance(question.get("header", ""), str) or any(
        not isinstance(one, dict)
        or not one.keys() <= OPTION_FIELDS
        or not isinstance(one.get("label"), str)
        or not isinstance(one.get("description", ""), str)
        for one in options
    )


def _plan(tool_name: str, arguments: dict[str, Any], directory: str) -> Drawn:
    plan = _text(arguments, "plan")
    text = visible(plan) if plan.strip() else NO_PLAN
    return [Block(kind="plan", label="The plan", text=text)], frozenset({"plan"} if plan else ())


def holds_a_plan(approval: Approval) -> bool:
    """Whether a request to leave plan mode contains a plan."""
    return bool(approval.body.strip() or _text(parsed_arguments(approval.tool_input), "plan").strip())


DRAWN = {
    "Bash": _bash, "Write": _write, "Edit": _edit, "MultiEdit": _edit, "NotebookEdit": _notebook,
    "AskUserQuestion": _questions, "ExitPlanMode": _plan,
}  # fmt: skip


def _external(approval: Approval) -> list[Block]:
    blocks = [Block(kind="text", label="Request", text=visible(approval.body or approval.title))]
    if approval.body:
        blocks.insert(0, Block(kind="text", label=TITLE, text=visible(approval.title)))
    if approval.facts:
        known = approval.facts if isinstance(approval.facts, dict) else {"facts": approval.facts}
        blocks.append(Block(kind="text", label="Facts", text=visible("\n".join(fact_lines(known)))))
    if choices := [one["label"] for question in questions_of(approval) for one in question["options"]]:
        blocks.append(Block(kind="text", label="Options", text=visible("\n".join(numbered(choices)))))
    return blocks


def _listed(tool_name: str, arguments: dict[str, Any]) -> Block:
    lines = [f"{name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in arguments.items()]
    return Block(kind="text", label=f"Arguments of {visible(tool_name)}", text=visible("\n".join(lines)))


def _json(label: str, text: str, *, note: str = "") -> Block:
    return Block(kind="json", label=label, text=visible(text), note=note)


def questions_of(approval: Approval) -> list[dict[str, Any]]:
    """Return the questions of an agent, or the choices of an external request as one question with
    its title.
    """
    if approval.kind == Approval.Kind.QUESTION:
        return questions_in(approval.tool_input)
    if approval.kind != Approval.Kind.EXTERNAL or not approval.options:
        return []
    choices = [
        {"label": choice, "description": ""} for choice in json.loads(approval.options) if isinstance(choice, str)
    ]
    one = {"question": approval.title, "header": "", "multiSelect": False, "options": choices}
    return [one] if choices else []


def questions_in(tool_input: str) -> list[dict[str, Any]]:
    """Return the well-formed questions of an AskUserQuestion input.

    Each has question, header, multiSelect and options (label, description). The texts are exactly
    the agent's, because the CLI matches an answer by the text of its question.
    """
    return _well_formed(parsed_arguments(tool_input).get("questions"))


def _well_formed(questions: object) -> list[dict[str, Any]]:
    return [
        {
            "question": one["question"],
            "header": _text(one, "header"),
            "multiSelect": one.get("multiSelect") is True,
            "options": [
                {"label": option["label"], "description": _text(option, "description")}
                for option in (one["options"] if isinstance(one.get("options"), list) else ())
                if isinstance(option, dict) and isinstance(option.get("label"), str)
            ],
        }
        for one in (questions if isinstance(questions, list) else ())
        if isinstance(one, dict) and isinstance(one.get("question"), str)
    ]


def diff_block(label: str, before: str, after: str, *, note: str = "") -> Block:
    """Build the block of a unified diff with three lines of context."""
    lines = diff_lines(before, after)
    text = "\n".join(line.text if line.kind == "hunk" else f"{line.sign}{line.text}" for line in lines)
    return Block(kind="diff", label=label, text=text, lines=lines, note=note)


def _edits(tool_name: str, arguments: dict[str, Any]) -> list[Edit]:
    """Return the replacements of the call; an empty list if any of them is malformed."""
    raw = arguments.get("edits") if tool_name == "MultiEdit" else [arguments]
    if not isinstance(raw, list):
        return []
    fit = [
        one for one in raw
        if isinstance(one, dict) and isinstance(one.get("old_string"), str) and isinstance(one.get("new_string"), str)
        and (tool_name == "Edit" or one.keys() <= EDIT_FIELDS)
    ]  # fmt: skip
    if len(fit) != len(raw):
        return []
    return [Edit(one["old_string"], one["new_string"], one.get("replace_all") is True) for one in fit]


def _text(arguments: dict[str, Any], name: str) -> str:
    value = arguments.get(name)
    return value if isinstance(value, str) else ""


def _counted_text(text: str) -> str:
    lines = len(split_lines(text))
    return f"{lines:,} {'line' if lines == 1 else 'lines'} ({len(text):,} characters)"


def _hidden_note(text: str) -> str:
    """Return the size of the command and how many kinds of hidden characters it has."""
    hidden = hidden_kinds(text)
    size = f"{len(text):,} {'character' if len(text) == 1 else 'characters'}"
    kinds = "kind" if hidden == 1 else "kinds"
    return f"Whole command, {size}" + (f", {hidden} {kinds} of hidden characters made visible" if hidden else "")


def _bounded(block: Block, longest: int, digest: str) -> Block:
    lines = block.lines[: MOST_DIFF_LINES if longest < WHOLE else len(block.lines)]
    text = block.text[:longest]
    missing = len(block.text) - len(text)
    if not missing and len(lines) == len(block.lines):
        return block
    kept, size = [], 0
    for line in lines:
        size += len(line.text) + 2
        if size > longest:
            break
        kept.append(line)
    what = f"{missing:,} more characters" + (f" and {len(block.lines) - len(kept):,} more lines" if block.lines else "")
    cut = f"Cut: {what} are not shown here. Digest of the whole: {digest}"
    return replace(block, text=text, lines=tuple(kept), cut=cut)


def answers_given(approval: Approval) -> list[tuple[str, str]]:
    """Return pairs of question and answer, as safe text."""
    try:
        given = json.loads(approval.answers or "{}")
    except ValueError:
        return []
    return (
        [(visible(str(name)), visible(str(value))) for name, value in given.items()] if isinstance(given, dict) else []
    )
