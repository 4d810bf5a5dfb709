"""The shell scripts of a call: its command, and the scripts that it passes to other shells."""

import re

from approvals.policy.lookup import TooMuch
from approvals.policy.readings import variables_of, with_current_folder
from approvals.policy.shell import programs
from approvals.policy.shell.parser import Script, parse
from approvals.policy.shell.programs import Invocation
from approvals.policy.shell.words import Word
from approvals.policy.tool_call import Call

BACKQUOTED = re.compile(r"`([^`]+)`")
MOST_SCRIPTS = 8
MOST_COMMANDS = 400
LETTERS_FOR_GRAMMAR = 1_500  # of all scripts; later scripts are read without the grammar
MOST_LETTERS = 16 * 1024  # of all scripts with the values of their variables

Step = tuple[Invocation, tuple[Word, ...]]
"""A program with its arguments, and the files that it is redirected to."""


def scripts_of(call: Call) -> list[list[Step]]:
    """Return the steps of each script; they are parsed once for each call.

    Raises:
        TooMuch: the scripts are too many or too long.
    """
    if "scripts" not in call.notes:
        command = call.arguments.get("command")
        call.notes["scripts"] = _read(command, call.directory) if isinstance(command, str) else []
    scripts: list[list[Step]] = call.notes["scripts"]
    return scripts


def _read(command: str, directory: str) -> list[list[Step]]:
    known = variables_of(command, directory)
    scripts: list[list[Step]] = []
    texts, letters, steps = [command], 0, 0
    for text in texts:  # the list grows during the loop
        letters += len(text)
        if letters > MOST_LETTERS or len(scripts) == MOST_SCRIPTS:
            raise TooMuch
        script = parse(with_current_folder(text), known, roughly=letters > LETTERS_FOR_GRAMMAR)
        steps += len(script.commands)
        if not script.is_finished or steps > MOST_COMMANDS:
            raise TooMuch
        scripts.append(_steps(script))
        inner = [text for found, _ in scripts[-1] for text in programs.inner_scripts(found)]
        inner += BACKQUOTED.findall(text) if "<<" in text else []  # the grammar finds none in a here-document
        texts += [text for text in dict.fromkeys(inner) if text not in texts]
    return scripts


def _steps(script: Script) -> list[Step]:
    return [(programs.invocation_of(command.words), command.writes) for command in script.commands]
