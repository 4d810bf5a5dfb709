"""What a person is shown about a question, the same at every door.

Nothing here runs or changes anything; everything returned is safe to print. A door adds its own quoting (HTML,
Markdown) and nothing else.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from approvals.diffs import Line, diff_lines, file_now, split_lines
from approvals.models import Approval
from approvals.policy.tool_call import parsed_arguments, telling_argument
from approvals.texts import editable, exact_json, has_repeated_names, hidden_kinds, one_line, pretty, visible

__all__ = [
    "OWN_WORDS", "Block", "Line", "blocks_for", "editable", "exact_json", "one_line", "pretty", "questions_in",
    "questions_of", "summary_for", "title_for", "visible", "what_would_run",
]  # fmt: skip

LONGEST_TITLE = 200
LONGEST_SUMMARY = 500
LONGEST_BLOCK = 200_000  # characters
MOST_DIFF_LINES = 4_000
NOT_ALLOWED = "Asked for, not allowed: "
OWN_WORDS = "The agent's own words"
AGAINST_DISK = "Against the file as it is on disk now."
EDIT_FIELDS = frozenset({"old_string", "new_string", "replace_all"})
PLAIN_TOOLS = frozenset({"Read", "Glob", "Grep", "LS", "WebFetch", "WebSearch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of what would run. ``kind`` is command, diff, text, json, question or plan.

    ``text`` is complete unless ``cut`` says what is missing. A diff has ``lines``, and its ``text`` is the same
    in the form every developer knows. ``note`` is Orchestra's remark, never the agent's words; a ``quiet`` one can be
    left out where room is scarce.
    """

    kind: str
    label: str
    text: str = ""
    lines: tuple[Line, ...] = ()
    note: str = ""
    quiet: bool = False
    cut: str = ""


def title_for(tool_name: str, tool_input: str) -> str:
    """A heading such as ``Bash: rm -r build``, at most 200 characters."""
    arguments = parsed_arguments(tool_input)
    if tool_name == "AskUserQuestion":
        return one_line("Question: " + "; ".join(q["question"] for q in questions_in(tool_input)), LONGEST_TITLE)
    if tool_name == "ExitPlanMode":
        return one_line(f"Plan: {arguments.get('plan') or 'ready to be carried out'}", LONGEST_TITLE)
    telling = telling_argument(tool_name, tool_input)
    return one_line(tool_name if telling in ("", "{}") else f"{tool_name}: {telling}", LONGEST_TITLE)


def summary_for(tool_name: str, tool_input: str) -> str:
    """One sentence below the title, at most 500 characters; what the agent itself claims is marked so."""
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
    """Everything about to happen if a person says yes, in the order to read it.

    No argument of the call is left out. A block longer than ``longest`` characters is cut and says how much is
    missing, with the digest of the whole. ``hide`` takes secrets out of each block before it is cut.
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
    return [_bounded(block, longest, approval.run_digest or approval.input_digest) for block in blocks]


def blocks_for(tool_name: str, tool_input: str, *, directory: str, body: str = "") -> list[Block]:
    """The blocks of one tool call; ``directory`` is where relative paths start, ``body`` text that came along."""
    arguments = parsed_arguments(tool_input)
    if not arguments:
        if body:
            return [Block(kind="plan", label="The plan", text=visible(body))]
        empty = tool_input.strip() in ("", "{}")
        return [_json(f"Input of {visible(tool_name)}", tool_input, note="" if empty else "This is not a JSON object.")]
    blocks, shown = DRAWN.get(tool_name, _plain)(tool_name, arguments, directory)
    if not blocks:
        blocks = [_json(f"Input of {visible(tool_name)}", pretty(tool_input))]
    elif rest := {name: value for name, value in arguments.items() if name not in shown}:
        blocks.append(_json("Further arguments", pretty(json.dumps(rest))))
    if has_repeated_names(tool_input):
        blocks.append(_json("Exact input", tool_input, note="A name occurs twice in this input; the last one counts."))
    return blocks


Drawn = tuple[list[Block], frozenset[str]]
"""Blocks, and the names of the arguments they show; no blocks where the input is not what the tool takes."""


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
    before, why_not = file_now(path, directory)
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
    before, why_not = file_now(path, directory)
    after = before
    for old, new, everywhere in edits:
        if after is not None:
            after = after.replace(old, new, -1 if everywhere else 1) if old and old in after else None
    if before is not None and after is not None:
        return [diff_block(label, before, after, note=AGAINST_DISK)], used
    note = why_not or "The text to replace is not in the file as it is on disk now."
    where = {True: ", everywhere it occurs", False: ""}
    return [diff_block(label + where[everywhere], old, new, note=note) for old, new, everywhere in edits], used


def _notebook(tool_name: str, arguments: dict[str, Any], directory: str) -> Drawn:
    source = arguments.get("new_source")
    if not isinstance(source, str):
        return [], frozenset()
    others = {name: value for name, value in arguments.items() if name != "new_source"}
    cell = Block(kind="text", label="New content of the cell", text=visible(source))
    return [_listed(tool_name, others), cell], frozenset(arguments)


def _questions(tool_name: str, arguments: dict[str, Any], directory: str) -> Drawn:
    asked = _well_formed(arguments.get("questions"))
    if not asked or len(asked) != len(arguments["questions"]):
        return [], frozenset()
    blocks = []
    for question in asked:
        choice = "Several may be chosen" if question["multiSelect"] else "One may be chosen"
        options = ["• " + ": ".join(filter(None, (one["label"], one["description"]))) for one in question["options"]]
        text = visible("\n".join([question["question"], *options]))
        label = visible(question["header"]) or "Question"
        blocks.append(Block(kind="question", label=label, text=text, note=choice if options else ""))
    return blocks, frozenset({"questions"})


def _plan(tool_name: str, arguments: dict[str, Any], directory: str) -> Drawn:
    plan = _text(arguments, "plan")
    text = visible(plan) if plan else "The agent gave no text; its last message before this question holds the plan."
    return [Block(kind="plan", label="The plan", text=text)], frozenset({"plan"} if plan else ())


DRAWN = {
    "Bash": _bash, "Write": _write, "Edit": _edit, "MultiEdit": _edit, "NotebookEdit": _notebook,
    "AskUserQuestion": _questions, "ExitPlanMode": _plan,
}  # fmt: skip


def _external(approval: Approval) -> list[Block]:
    blocks = [Block(kind="text", label="Question", text=visible(approval.body or approval.title))]
    if approval.facts:
        blocks.append(_json("Facts", pretty(json.dumps(approval.facts))))
    if approval.options:
        blocks.append(_json("Options", pretty(approval.options)))
    return blocks


def _listed(tool_name: str, arguments: dict[str, Any]) -> Block:
    lines = [f"{name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in arguments.items()]
    return Block(kind="text", label=f"Arguments of {visible(tool_name)}", text=visible("\n".join(lines)))


def _json(label: str, text: str, *, note: str = "") -> Block:
    return Block(kind="json", label=label, text=visible(text), note=note)


def questions_of(approval: Approval) -> list[dict[str, Any]]:
    """What a person answers in words: an agent's questions, or the choices an external asker offers under its title."""
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
    """The well-formed questions of an AskUserQuestion input.

    Each has question, header, multiSelect and options (label, description). The texts are the agent's, exactly:
    an answer is keyed by the question's own text.
    """
    return _well_formed(parsed_arguments(tool_input).get("questions"))


def _well_formed(asked: object) -> list[dict[str, Any]]:
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
        for one in (asked if isinstance(asked, list) else ())
        if isinstance(one, dict) and isinstance(one.get("question"), str)
    ]


def diff_block(label: str, before: str, after: str, *, note: str = "") -> Block:
    """A unified diff with three lines of context, line by line and as text."""
    lines = diff_lines(before, after)
    text = "\n".join(line.text if line.kind == "hunk" else f"{line.sign}{line.text}" for line in lines)
    return Block(kind="diff", label=label, text=text, lines=lines, note=note)


def _edits(tool_name: str, arguments: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Old text, new text, everywhere or once; empty if any of them is malformed."""
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
    return [(one["old_string"], one["new_string"], one.get("replace_all") is True) for one in fit]


def _text(arguments: dict[str, Any], name: str) -> str:
    value = arguments.get(name)
    return value if isinstance(value, str) else ""


def _counted_text(text: str) -> str:
    lines = len(split_lines(text))
    return f"{lines:,} {'line' if lines == 1 else 'lines'} ({len(text):,} characters)"


def _hidden_note(text: str) -> str:
    """What a reader could not have seen in ``text``, counted."""
    hidden = hidden_kinds(text)
    size = f"{len(text):,} {'character' if len(text) == 1 else 'characters'}"
    kinds = "kind" if hidden == 1 else "kinds"
    return f"Whole command, {size}" + (f", {hidden} {kinds} of hidden characters made visible" if hidden else "")


def _bounded(block: Block, longest: int, digest: str) -> Block:
    lines = block.lines[:MOST_DIFF_LINES]
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
