"""What a person is shown about a question, the same at every door.

Nothing here runs or changes anything; everything returned is safe to print: whatever could hide, reorder or
push away text is spelled out first. A door adds its own quoting (HTML, Markdown) and nothing else.
"""

import difflib
import json
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from approvals.models import Approval
from approvals.policy import inside, is_secret, parsed_arguments, resolve, telling_argument

LONGEST_TITLE = 200
LONGEST_SUMMARY = 500
LONGEST_BLOCK = 200_000  # characters
MOST_DIFF_LINES = 4_000
LARGEST_FILE = 512 * 1024  # bytes of a file on disk that a diff may read
PADDING_SPACES = 80  # more in a row are counted, not shown
PADDING_LINES = 12

# Invisible or blank, although their category is that of a letter or a mark.
BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
PADDING = re.compile(rf"[ \t]{{{PADDING_SPACES},}}|(?:[ \t]*\n){{{PADDING_LINES},}}")
EMOJI_STYLE = re.compile("(?<=[\u2000-\U0001ffff])\ufe0f")  # an emoji's own variation selector hides nothing


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a diff. ``kind`` is add, del, same, or hunk (a heading between the parts)."""

    kind: str
    text: str
    old: int | None = None
    new: int | None = None

    @property
    def sign(self) -> str:
        return {"add": "+", "del": "-"}.get(self.kind, " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of what would run. ``kind`` is command, diff, text, json, question or plan.

    ``text`` is complete unless ``cut`` says what is missing. A diff has ``lines``, and its ``text`` is the same
    in the form every developer knows. ``note`` is Orchestra's remark, never the agent's words.
    """

    kind: str
    label: str
    text: str = ""
    lines: tuple[Line, ...] = ()
    note: str = ""
    cut: str = ""


class _Escapes(dict[int, str]):
    """A table for ``str.translate`` that grows with the characters it meets."""

    def __missing__(self, code: int) -> str:
        self[code] = shown = _escape(chr(code))
        return shown


def _escape(char: str) -> str:
    if char in " \n\t":
        return char
    if char == "\r":
        return "\\r"
    variation = "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
    if variation or char in BLANK_LETTERS or unicodedata.category(char) in HIDDEN_CATEGORIES:
        return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
    return char


_ESCAPES = _Escapes()


def visible(text: str) -> str:
    """``text`` with everything that could hide, reorder or push away something spelled out.

    Control, bidirectional, zero-width, tag, blank and unassigned characters become escapes such as ``\\u202e``; long
    runs of spaces or empty lines become a count. Newlines, tabs and ordinary writing of any direction stay.
    """
    shown = "\ufe0f".join(part.translate(_ESCAPES) for part in EMOJI_STYLE.split(text))
    return PADDING.sub(_counted, shown)


def _counted(found: re.Match[str]) -> str:
    run = found[0]
    lines = run.count("\n")
    if lines:
        return f"\n⟨{lines:,} empty lines⟩\n"
    return f" ⟨{len(run):,} spaces⟩ " if "\t" not in run else f" ⟨{len(run):,} spaces and tabs⟩ "


def one_line(text: str, longest: int) -> str:
    """``text`` made visible, on one line, cut to ``longest`` characters."""
    flat = re.sub(r"\s*\n\s*", " ⏎ ", visible(text[: longest * 4].strip())).replace("\t", " ")
    return flat if len(flat) <= longest and len(text) <= longest * 4 else flat[: longest - 1] + "…"


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


def what_would_run(approval: Approval, *, longest: int = LONGEST_BLOCK) -> list[Block]:
    """Everything about to happen if a person says yes, in the order to read it.

    No argument of the call is left out. A block longer than ``longest`` characters is cut and says how much is
    missing, with the digest of the whole.
    """
    if approval.kind == Approval.Kind.EXTERNAL:
        blocks = _external(approval)
    else:
        blocks = blocks_for(approval.tool_name, approval.tool_input, directory=approval.working_directory, body=approval.body)
    if approval.updated_input:
        edited = blocks_for(approval.tool_name, approval.updated_input, directory=approval.working_directory)
        difference = diff_block("What the person changed", pretty(approval.tool_input), pretty(approval.updated_input))
        blocks = [
            *(replace(block, label=f"Allowed, as edited: {block.label}") for block in edited),
            difference,
            *(replace(block, label=f"Asked for, not allowed: {block.label}") for block in blocks),
        ]
    return [_bounded(block, longest, approval.run_digest or approval.input_digest) for block in blocks]


def blocks_for(tool_name: str, tool_input: str, *, directory: str, body: str = "") -> list[Block]:
    """The blocks of one tool call; ``directory`` is where relative paths start, ``body`` text that came along."""
    arguments = parsed_arguments(tool_input)
    if not arguments and tool_input.strip() not in ("", "{}"):
        return [Block(kind="json", label=f"Input of {visible(tool_name)}", text=visible(tool_input), note="This is not a JSON object.")]
    draw = {
        "Bash": _bash, "Write": _write, "Edit": _edit, "MultiEdit": _edit, "NotebookEdit": _notebook,
        "AskUserQuestion": _questions, "ExitPlanMode": _plan,
    }.get(tool_name)  # fmt: skip
    if draw is None:
        simple = tool_name in PLAIN_TOOLS and all(isinstance(value, str | int | float) for value in arguments.values())
        blocks, rest = ([_listed(tool_name, arguments)] if simple and arguments else []), ({} if simple else arguments)
        if not simple or not arguments:
            return [Block(kind="json", label=f"Input of {visible(tool_name)}", text=visible(pretty(tool_input)))]
    else:
        drawn, used = draw(tool_name, arguments, directory, tool_input)
        blocks, rest = drawn, {name: value for name, value in arguments.items() if name not in used}
    if body and tool_name == "ExitPlanMode" and not arguments.get("plan"):
        blocks = [Block(kind="plan", label="The plan", text=visible(body))]
    if rest:
        blocks.append(Block(kind="json", label="Further arguments", text=visible(json.dumps(rest, indent=2, ensure_ascii=False))))
    if _has_repeated_keys(tool_input):
        blocks.append(Block(kind="json", label="Exact input", text=visible(tool_input), note="A name occurs twice in this input; the last one counts."))
    return blocks


PLAIN_TOOLS = frozenset({"Read", "Glob", "Grep", "LS", "WebFetch", "WebSearch"})
Drawn = tuple[list[Block], frozenset[str]]
"""Blocks, and the names of the arguments they show."""


def _bash(tool_name: str, arguments: dict[str, Any], directory: str, tool_input: str) -> Drawn:
    command = arguments.get("command")
    if not isinstance(command, str):
        return [], frozenset()
    blocks = [Block(kind="command", label="Command", text=visible(command), note=_hidden_note(command))]
    claimed = _text(arguments, "description")
    if not claimed:
        return blocks, frozenset({"command"})
    blocks.append(Block(kind="text", label="The agent's own words", text=visible(claimed)))
    return blocks, frozenset({"command", "description"})


def _write(tool_name: str, arguments: dict[str, Any], directory: str, tool_input: str) -> Drawn:
    path, content = arguments.get("file_path"), arguments.get("content")
    if not isinstance(path, str) or not isinstance(content, str):
        return [], frozenset()
    before, why_not = file_now(path, directory)
    if before is None:
        label = f"Whole content of {visible(path)}"
        block = Block(kind="text", label=label, text=visible(content), note=why_not)
    elif before == content:
        block = Block(kind="text", label=f"Whole content of {visible(path)}", text=visible(content), note="The file on disk already is exactly this.")
    else:
        block = diff_block(f"Changes to {visible(path)}", before, content, note="Against the file as it is on disk now.")
    return [block], frozenset({"file_path", "content"})


def _edit(tool_name: str, arguments: dict[str, Any], directory: str, tool_input: str) -> Drawn:
    path, edits = arguments.get("file_path"), _edits(tool_name, arguments)
    if not isinstance(path, str) or not edits:
        return [], frozenset()
    used = frozenset({"file_path", "edits"} if tool_name == "MultiEdit" else {"file_path", "old_string", "new_string", "replace_all"})
    before, why_not = file_now(path, directory)
    after = before
    for old, new, everywhere in edits:
        if after is not None:
            after = after.replace(old, new, -1 if everywhere else 1) if old and old in after else None
    if before is not None and after is not None:
        return [diff_block(f"Changes to {visible(path)}", before, after, note="Against the file as it is on disk now.")], used
    note = why_not or "The text to replace is not in the file as it is on disk now."
    blocks = [
        diff_block(f"Changes to {visible(path)}" + (", everywhere it occurs" if everywhere else ""), old, new, note=note)
        for old, new, everywhere in edits
    ]
    return blocks, used


def _notebook(tool_name: str, arguments: dict[str, Any], directory: str, tool_input: str) -> Drawn:
    source = arguments.get("new_source")
    if not isinstance(source, str):
        return [], frozenset()
    others = {name: value for name, value in arguments.items() if name != "new_source"}
    return [_listed(tool_name, others), Block(kind="text", label="New content of the cell", text=visible(source))], frozenset(arguments)


def _questions(tool_name: str, arguments: dict[str, Any], directory: str, tool_input: str) -> Drawn:
    asked = questions_in(tool_input)
    if not asked or len(asked) != len(arguments["questions"]):
        return [], frozenset()
    blocks = []
    for question in asked:
        choice = "Several may be chosen" if question["multiSelect"] else "One may be chosen"
        options = [f"• {o['label']}" + (f": {o['description']}" if o["description"] else "") for o in question["options"]]
        text = visible("\n".join([question["question"], *options]))
        blocks.append(Block(kind="question", label=visible(question["header"]) or "Question", text=text, note=choice if options else ""))
    return blocks, frozenset({"questions"})


def _plan(tool_name: str, arguments: dict[str, Any], directory: str, tool_input: str) -> Drawn:
    plan = _text(arguments, "plan")
    text = visible(plan) if plan else "The agent gave no text; its last message before this question holds the plan."
    return [Block(kind="plan", label="The plan", text=text)], frozenset({"plan"} if plan else ())


def _external(approval: Approval) -> list[Block]:
    blocks = [Block(kind="text", label="Question", text=visible(approval.body or approval.title))]
    if approval.facts:
        blocks.append(Block(kind="json", label="Facts", text=visible(json.dumps(approval.facts, indent=2, ensure_ascii=False))))
    if approval.options:
        blocks.append(Block(kind="json", label="Options", text=visible(pretty(approval.options))))
    return blocks


def _listed(tool_name: str, arguments: dict[str, Any]) -> Block:
    lines = [f"{name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in arguments.items()]
    return Block(kind="text", label=f"Arguments of {visible(tool_name)}", text=visible("\n".join(lines)))


def questions_in(tool_input: str) -> list[dict[str, Any]]:
    """The well-formed questions of an AskUserQuestion input: question, header, multiSelect, options (label, description).

    The texts are the agent's, exactly: an answer is keyed by the question's own text.
    """
    asked = parsed_arguments(tool_input).get("questions")
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
    lines = tuple(_diff_lines(_lines(before), _lines(after)))
    text = "\n".join(line.text if line.kind == "hunk" else f"{line.sign}{line.text}" for line in lines)
    return Block(kind="diff", label=label, text=text, lines=lines, note=note)


def _lines(text: str) -> list[str]:
    """Lines with their ends, broken at newlines alone: other separators stay visible inside their line."""
    return [line for line in re.split(r"(?<=\n)", text) if line]


def _diff_lines(before: list[str], after: list[str]) -> Iterator[Line]:
    # autojunk stays on: without it a hostile pair of texts costs quadratic time
    for group in difflib.SequenceMatcher(None, before, after).get_grouped_opcodes(3):
        yield Line("hunk", f"@@ line {group[0][1] + 1} to {group[-1][2]}, then {group[0][3] + 1} to {group[-1][4]} @@")
        for tag, old, old_end, new, new_end in group:
            if tag == "equal":
                for step in range(old_end - old):
                    yield Line("same", _line(before[old + step]), old + step + 1, new + step + 1)
                continue
            for number in range(old, old_end):
                yield Line("del", _line(before[number]), old=number + 1)
            for number in range(new, new_end):
                yield Line("add", _line(after[number]), new=number + 1)


def _line(raw: str) -> str:
    return visible(raw[:-1]) if raw.endswith("\n") else visible(raw) + " ⟨no newline at the end⟩"


def file_now(path: str, directory: str) -> tuple[str | None, str]:
    """The file's text, or None and the reason. Only inside the working directory, and never keys or credentials."""
    real = resolve(path, directory)
    if not directory or "\0" in path or not inside(real, directory):
        return None, "The file is outside the working directory, so what is there now is not shown."
    if is_secret(real):
        return None, "The file looks like a secret, so what is there now is not shown."
    try:
        # O_NONBLOCK: a pipe must not hang us; O_NOFOLLOW: the path was resolved a moment ago
        with os.fdopen(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                return None, "There is something at this path that is not a file."
            if found.st_size > LARGEST_FILE:
                return None, f"The file on disk is large ({found.st_size:,} bytes), so no difference is shown."
            raw = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        return None, "A new file: nothing is at this path now."
    except OSError:
        return None, "The file on disk cannot be read from here, so no difference is shown."
    try:
        return raw.decode(), ""
    except UnicodeDecodeError:
        return None, "The file on disk is not text, so no difference is shown."


TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]|[^\s"\[\]{}:,]+')
DEEPEST_INDENT = 40


def pretty(json_text: str) -> str:
    """JSON text with line breaks and readable letters, every name and number exactly as written.

    Works on the tokens, so repeated names, long numbers and their spelling survive; no recursion.
    """
    out: list[str] = []
    depth = 0
    tokens = TOKEN.findall(json_text)
    for at, token in enumerate(tokens):
        following = tokens[at + 1] if at + 1 < len(tokens) else ""
        if token in "[{":
            depth += 1
            out.append(token if following in ("]", "}") else token + _indent(depth))
        elif token in "]}":
            depth -= 1
            empty = at > 0 and tokens[at - 1] in ("[", "{")
            out.append(token if empty else _indent(depth) + token)
        elif token == ",":
            out.append("," + _indent(depth))
        elif token == ":":
            out.append(": ")
        else:
            out.append(_readable(token))
    return "".join(out)


def _indent(depth: int) -> str:
    return "\n" + "  " * min(depth, DEEPEST_INDENT)


def _readable(token: str) -> str:
    try:
        return json.dumps(json.loads(token), ensure_ascii=False) if token.startswith('"') else token
    except ValueError:
        return token


def _has_repeated_keys(tool_input: str) -> bool:
    repeated = False

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        found = dict(pairs)
        repeated = repeated or len(found) != len(pairs)
        return found

    try:
        json.loads(tool_input or "{}", object_pairs_hook=note)
    except (ValueError, RecursionError):
        return False
    return repeated


def _edits(tool_name: str, arguments: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Old text, new text, everywhere or once; empty if any of them is malformed."""
    raw = arguments.get("edits") if tool_name == "MultiEdit" else [arguments]
    if not isinstance(raw, list):
        return []
    known = {"old_string", "new_string", "replace_all"}
    fit = [
        one for one in raw
        if isinstance(one, dict) and isinstance(one.get("old_string"), str) and isinstance(one.get("new_string"), str)
        and (tool_name == "Edit" or one.keys() <= known)
    ]  # fmt: skip
    return [(one["old_string"], one["new_string"], one.get("replace_all") is True) for one in fit] if len(fit) == len(raw) else []


def _text(arguments: dict[str, Any], name: str) -> str:
    value = arguments.get(name)
    return value if isinstance(value, str) else ""


def _counted_text(text: str) -> str:
    lines = len(_lines(text))
    return f"{lines:,} {'line' if lines == 1 else 'lines'} ({len(text):,} characters)"


def _hidden_note(text: str) -> str:
    """What a reader could not have seen in ``text``, counted."""
    hidden = {char for char in text if char not in "\n\t" and _ESCAPES[ord(char)] != char} - {"\ufe0f"}
    size = f"{len(text):,} {'character' if len(text) == 1 else 'characters'}"
    kinds = "kind" if len(hidden) == 1 else "kinds"
    return f"Whole command, {size}" + (f", {len(hidden)} {kinds} of hidden characters made visible" if hidden else "")


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
    return replace(block, text=text, lines=tuple(kept), cut=f"Cut: {what} are not shown here. Digest of the whole: {digest}")


def editable(json_text: str) -> str:
    """JSON text to edit by hand: laid out, and hidden characters as JSON's own escapes, so that it still means the same."""
    shown = pretty(json_text)
    return re.sub(r"[^\n\x20-\x7e]", lambda found: found[0] if _ESCAPES[ord(found[0])] == found[0] else json.dumps(found[0])[1:-1], shown)


def exact_json(text: str) -> str:
    """Edited JSON text in the form approvals keep it: ASCII, meaning unchanged."""
    return re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], text.replace("\r\n", "\n").strip())
