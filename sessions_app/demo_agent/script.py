"""The script of the demo agent: a dialog makes two real, harmless tool calls, each only if a person
approves it.

After a rejection it repeats the reason, and then requests what the reason names instead, or stops.
"""

import re
import uuid
from typing import Any

from sessions_app.demo_agent.cli_side import Cli
from sessions_app.demo_agent.conversation import Record, ToolUse

FILE = "hello-from-orchestra.md"
"""The file that it writes if the prompt names none."""

NAMED_FILE = re.compile(r"(?<![\w./-])[\w-]{1,60}\.(?:txt|md)\b")
REASON = re.compile(r"rejected this: (.*)", re.DOTALL)
STOPS = re.compile(r"\b(stop|nothing|no files?|do not retry|don't|do not write)\b", re.IGNORECASE)
TEMPORARY = re.compile(r"\b(temporary|temp|tmp)\b", re.IGNORECASE)
COMMAND = "uname -srm && date && ls -la"
MARK = "<!-- the next turn writes here -->"
QUESTION = "Which greeting should go into the file?"
WHAT = {"Bash": "The command", "Write": "The file"}
HINTS = "Send another message and I will edit that file, or write “ask me” to be asked a question yourself."


def reply(cli: Cli) -> list[ToolUse]:
    """Print the next message of this turn and return its tool calls; none ends the turn."""
    prompt, step = cli.talk.prompts()[-1], cli.talk.messages_in_turn()
    if cli.mode == "plan":
        return _propose(cli, prompt) if step == 0 else cli.message([_still_planning(cli)])
    planned = _last_tool(cli) == "ExitPlanMode"
    if "ask me" in prompt.lower():
        return _ask(cli, step)
    if len(cli.talk.prompts()) > 1 and not planned and _already_written(cli):
        return _edit(cli, prompt, step)
    return _first_turn(cli, prompt)


def _first_turn(cli: Cli, prompt: str) -> list[ToolUse]:
    last = _last_tool(cli)
    if last in ("", "ExitPlanMode"):
        greeting = [] if last else [_introduction(prompt)]
        looking = "First I would like to look around: one harmless command, which runs only if somebody allows it."
        return cli.message(
            [*greeting, looking], [_call("Bash", command=COMMAND, description="Look around, change nothing")]
        )
    reason = _rejection(cli)
    if last == "Bash" and not (reason and STOPS.search(reason)):
        skipped = " It needs no command." if reason else ""
        text = f"{_result_text(cli, 'The command')}\n\nNext I would like to write a small file, {_file(cli)}.{skipped}"
        return cli.message([text], [_write(cli, prompt, _file(cli))])
    instead = _instead(cli, reason) if last == "Write" else ""
    if instead:
        text = f"{_result_text(cli, 'The file')}\n\nThen I would like to write {instead} instead."
        return cli.message([text], [_write(cli, prompt, instead)])
    end = "I stop here. Tell me in a message what to do instead." if reason else HINTS
    return cli.message([f"{_result_text(cli, WHAT[last])}\n\n{_summary(cli)}\n\n{end}"])


def _edit(cli: Cli, prompt: str, step: int) -> list[ToolUse]:
    if step == 0:
        turn = len(cli.talk.prompts())
        name = _already_written(cli)
        text = f"Demo agent again, turn {turn} of our dialog. I would like to add what you wrote to {name}."
        new = f"Turn {turn}: {_one_line(prompt)}\n{MARK}"
        return cli.message([text], [_call("Edit", file_path=str(cli.cwd / name), old_string=MARK, new_string=new)])
    left = "\n\nI leave the file as it is. Tell me in a message what to write instead." if _rejection(cli) else ""
    return cli.message([f"{_result_text(cli, 'The edit')}\n\n{_summary(cli)}{left}"])


def _ask(cli: Cli, step: int) -> list[ToolUse]:
    if step == 0:
        options = [
            {"label": "Good morning", "description": "Short and friendly"},
            {"label": "Ahoy", "description": "For people near water"},
        ]
        question = {"question": QUESTION, "header": "Greeting", "options": options, "multiSelect": False}
        text = "This is the demo agent, no model is behind it. Here is a question for you."
        return cli.message([text], [_call("AskUserQuestion", questions=[question])])
    return cli.message(
        [f"{_result_text(cli, 'The question')}\n\nThis was a demonstration of questions; nothing was changed."]
    )


def _propose(cli: Cli, prompt: str) -> list[ToolUse]:
    plan = f"1. Look around: `{COMMAND}`\n2. Write `{_file(cli)}` with your words in it\n3. Say what was done"
    return cli.message([_introduction(prompt), "Here is my plan."], [_call("ExitPlanMode", plan=plan)])


def _still_planning(cli: Cli) -> str:
    return f"{_result_text(cli, 'The plan')}\n\nI stay in plan mode and change nothing."


def _introduction(prompt: str) -> str:
    return (
        "This is the demo agent, no model is behind it: "
        "I follow a short script, so that you can see how Orchestra asks. "
        f"You wrote: “{_one_line(prompt)}”"
    )


def _summary(cli: Cli) -> str:
    outcomes = {True: "not done", False: "done"}
    lines = [f"- {name}: {outcomes[result['is_error']]}" for name, result in _results(cli)]
    return "\n".join(["In this turn (demo):", *lines])


def _result_text(cli: Cli, what: str) -> str:
    """The last result as a sentence of the agent; a rejection includes its reason."""
    result = cli.talk.last_result()
    if result is None:
        return f"{what} came to no result."
    if reason := _rejection(cli):
        return f"{what} was rejected, and I do not try it again. I was told: {reason}"
    if result["is_error"]:
        return f"{what} was not carried out. I was told: {result['content']}"
    return f"{what} went through. I was told:\n\n{result['content']}"


def _rejection(cli: Cli) -> str:
    """The reason for which the last call was rejected; empty if it was not."""
    result = cli.talk.last_result()
    if result is None or not cli.was_rejected(result["tool_use_id"]):
        return ""
    found = REASON.search(result["content"])
    return found[1].strip() if found else str(result["content"])


def _instead(cli: Cli, reason: str) -> str:
    """The file that a rejection names in place of the requested one.

    The result is empty if none, or after the first time in a turn.
    """
    written = [name for name, _ in _results(cli) if name == "Write"]
    if not reason or len(written) > 1 or STOPS.search(reason):
        return ""
    named = NAMED_FILE.search(reason)
    name = named[0] if named else _file(cli)
    if TEMPORARY.search(reason):
        return f"tmp/{name}"
    return name if named and name != _file(cli) else ""


def _file(cli: Cli) -> str:
    """The file that the first prompt names, or the default: "Write hello.txt" writes hello.txt."""
    named = NAMED_FILE.search(cli.talk.prompts()[0])
    return named[0] if named else FILE


def _results(cli: Cli) -> list[tuple[str, Record]]:
    turn = cli.talk.turn()
    names = {call["id"]: call["name"] for record in turn if record["kind"] == "message" for call in record["calls"]}
    return [(names[record["tool_use_id"]], record) for record in turn if record["kind"] == "tool_result"]


def _last_tool(cli: Cli) -> str:
    results = _results(cli)
    return results[-1][0] if results else ""


def _already_written(cli: Cli) -> str:
    """The file of an earlier turn that this turn can edit; empty if there is none."""
    places = [record["path"] for record in cli.talk.records if record["kind"] == "wrote"]
    return next((place for place in reversed([_file(cli), *places]) if _is_marked(cli, place)), "")


def _is_marked(cli: Cli, name: str) -> bool:
    try:
        return MARK in (cli.cwd / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _write(cli: Cli, prompt: str, name: str) -> ToolUse:
    cli.talk.add("wrote", path=name)
    content = (
        "# Hello from Orchestra\n\nThe demo agent wrote this; no model was involved.\n\n"
        f"You wrote: {_one_line(prompt)}\n\n{MARK}\n"
    )
    return _call("Write", file_path=str(cli.cwd / name), content=content)


def _one_line(text: str) -> str:
    words = " ".join(text.split()).replace(MARK, "")
    return words if len(words) <= 300 else words[:300] + " …"


def _call(name: str, **given: Any) -> ToolUse:
    return ToolUse(id=f"toolu_demo_{uuid.uuid4().hex[:16]}", name=name, input=given)
