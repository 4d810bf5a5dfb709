"""The guardrails: calls that touch Orchestra itself are refused, whatever rules or people decide.

For paths in a tool's arguments the check is exact, apart from changes on disk between the check and
the run. For shell commands it is best effort: it resolves quotes, ``$HOME``, ``cd``, globs and
other notations of an address, but a program can always compute a name that the command does not
contain. The real protection is a separate user account (``AGENT_RUN_AS``).

A call that is too large to be checked in a few milliseconds is searched for plain words, and then a
person decides.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from approvals.policy.addresses import names_our_port
from approvals.policy.globs import WILDCARD, could_name_above, could_reach
from approvals.policy.lookup import Lookup, TooMuch
from approvals.policy.reach import takes_in_our_data
from approvals.policy.readings import BRACES, MOST_PARTS, SEPARATORS, SHELL_COMPOSITION, readings_of, words_of
from approvals.policy.surroundings import (
    INBOX_FOLDER,
    TEMPORARY_FOLDERS,
    Surroundings,
    goals,
    holds_ours,
    inboxes,
    is_inbox,
    is_ours,
    own_paths,
)
from approvals.policy.tool_call import KNOWN_TOOLS, Call, walk_json

# These tools act later or by themselves, when no permission request is made any more.
FORBIDDEN_TOOLS = ("CronCreate", "CronDelete", "CronList", "ScheduleWakeup", "Monitor", "Workflow")

OURS = "this path belongs to Orchestra itself"
OURS_BELOW = "it would take in Orchestra's own data folder, below a folder that it names; name the folders you need"
OUR_ADDRESS = "this address is Orchestra's own"
INBOX = "the sockets of other agents' CLIs are not for agents"
ENVIRONMENT = "the environment of processes is not readable"
TOO_LARGE = "it is too large or too deep to be judged; a person reads it first"
SEARCHES_OURS = "it searches a folder that holds Orchestra's own; a person decides"
LONGEST_COMMAND = 128 * 1024  # Linux: MAX_ARG_STRLEN, the longest argument of `sh -c`
LONGEST_JUDGED = 8 * 1024  # characters of all texts of a call that are checked closely
MOST_TEXTS = 1_000
MOST_FOLDERS = 16  # a bound on the work; ordinary commands change directory less often

ENVIRON = re.compile(r"/proc/[^\s/]+/(?:task/[^\s/]+/)?environ")
PS = re.compile(r"\bps\b([^|;&\n]*)")
ASKS_FOR_ENVIRONMENT = re.compile(r"\s[acfjlmrsuvwx]*e[acefjlmrsuvwx]*(?=\s|$|\))")
PROC_FOLDER = re.compile(r"/proc/[^/]+(?:/task/[^/]+)?")


@dataclass(frozen=True, slots=True)
class Finding:
    """``refusal`` is why the call is denied, ``doubt`` why only a person may allow it; both are
    empty for most calls.
    """

    refusal: str = ""
    doubt: str = ""


def examine(call: Call, around: Surroundings) -> Finding:
    """Check ``call`` against the guardrails."""
    if call.tool_name in FORBIDDEN_TOOLS:
        return Finding(refusal=f"{call.tool_name} acts later, without a permission request; Orchestra never allows it")
    if call.readable_arguments is None:
        return Finding(refusal="its input cannot be read")
    refusal = _path_refusal(call, around)
    if refusal:
        return Finding(refusal)
    try:
        return Finding(_text_refusal(call, around), _doubt(call, around))
    except TooMuch:
        return Finding(_plain_refusal(call.tool_input, around), TOO_LARGE)


def _path_refusal(call: Call, around: Surroundings) -> str:
    lookup = Lookup(call.directory)
    for path in call.paths:
        try:
            real = lookup.real(path, call.directory or "/")
        except TooMuch:
            real = ""
        if not real:
            return "its path cannot be one"
        if why := _why_refused(real, lookup.top, around):
            return why
    return ""


def _why_refused(real: str, top: str, around: Surroundings) -> str:
    if ENVIRON.fullmatch(real):
        return ENVIRONMENT
    if is_inbox(real, top):
        return INBOX
    return OURS if is_ours(real, around) else ""


def _text_refusal(call: Call, around: Surroundings) -> str:
    """
    Raises:
        TooMuch: the call has too many or too long texts.
    """
    command = call.arguments.get("command")
    if isinstance(command, str) and len(command.encode("utf-8", "replace")) > LONGEST_COMMAND:
        return "the command is longer than a shell takes"
    lookup = Lookup(call.directory)
    if call.tool_name == "Glob":
        return _found_refusal(call, lookup, around)
    texts = _texts(call)
    if isinstance(command, str) and len(SHELL_COMPOSITION.findall(command)) > MOST_PARTS:
        raise TooMuch  # deny rules would not see all of it
    for text in texts:
        if why := _refused_text(text, lookup, around):
            return why
    if takes_in_our_data(call, lookup, around):
        return OURS_BELOW
    return ""


def _texts(call: Call) -> list[str]:
    """Return the texts of a call that can name a resource: command and URL of a known tool, every
    text of another.

    Raises:
        TooMuch: there are too many, or they are too long.
    """
    if call.tool_name in KNOWN_TOOLS:
        found: Iterator[Any] = iter((call.arguments.get("command"), call.arguments.get("url")))
    else:
        found = _strings(call.arguments)
    texts: list[str] = []
    length = 0
    for number, text in enumerate(found):
        if isinstance(text, str) and text:
            texts.append(text)
            length += len(text)
        if length > LONGEST_JUDGED or number > MOST_TEXTS:
            raise TooMuch
    return list(dict.fromkeys(texts))


def _strings(value: Any) -> Iterator[Any]:
    """Yield every text in the arguments of an unknown tool, and None for each other value."""
    return (one.removeprefix("file://") if isinstance(one, str) else None for one in walk_json(value))


def _doubt(call: Call, around: Surroundings) -> str:
    """Return why a person must decide: the call searches a folder that contains files of Orchestra."""
    if call.tool_name not in ("Grep", "Glob"):
        return ""
    lookup = Lookup(call.directory)
    if call.tool_name == "Grep":
        return SEARCHES_OURS if holds_ours(_searched(call, lookup), around) else ""
    parts = _found(call, lookup).split("/")
    crosses = any(could_reach(goal, parts, crossing=True) for goal in goals(around))
    return SEARCHES_OURS if crosses else ""


def _searched(call: Call, lookup: Lookup) -> str:
    path = call.arguments.get("path")
    return lookup.real(path if isinstance(path, str) and path else ".", lookup.top)


def _found(call: Call, lookup: Lookup) -> str:
    """Return what Glob searches for, as one absolute pattern."""
    return lookup.real(BRACES.sub("*", str(call.arguments.get("pattern", ""))), _searched(call, lookup))


def _found_refusal(call: Call, lookup: Lookup, around: Surroundings) -> str:
    parts = _found(call, lookup).split("/")
    if "**" in parts:  # below it the search crosses folders, for which _doubt makes a person decide
        parts = parts[: parts.index("**")]
    fixed = "/".join(parts)
    return _why_refused(fixed, lookup.top, around) or _glob_refusal(fixed, around, crossing=False)


def _refused_text(text: str, lookup: Lookup, around: Surroundings) -> str:
    readings = readings_of(text, lookup.top)
    if any(ENVIRON.search(reading) or _ps_shows_environment(reading) for reading in readings):
        return ENVIRONMENT
    if any(names_our_port(reading, around) for reading in readings):
        return OUR_ADDRESS
    if any(own in reading for reading in readings for own in own_paths(around) if SEPARATORS.search(own)):
        return OURS
    words = list(dict.fromkeys(word for reading in readings for word in words_of(reading)))
    return _refused_words(words, lookup, around, crossing="globstar" in text)


def _ps_shows_environment(text: str) -> bool:
    return any(ASKS_FOR_ENVIRONMENT.search(found[1]) for found in PS.finditer(text))


def _refused_words(words: list[str], lookup: Lookup, around: Surroundings, *, crossing: bool) -> str:
    """Return why a word is refused. Words are resolved from the directory and from folders above
    Orchestra's own that the command names.
    """
    bases = [lookup.top]
    for word in words:
        for base in list(bases):
            real = lookup.real(word, base)
            why = _why_refused(real, lookup.top, around) or (
                _glob_refusal(real, around, crossing=crossing) if WILDCARD.search(word) else ""
            )
            if why:
                return why
            if _stands_above(real, around) and real not in bases and len(bases) < MOST_FOLDERS:
                bases.append(real)
    return ""


def _stands_above(real: str, around: Surroundings) -> bool:
    return holds_ours(real, around) or real in TEMPORARY_FOLDERS or PROC_FOLDER.fullmatch(real) is not None


def _glob_refusal(pattern: str, around: Surroundings, *, crossing: bool) -> str:
    parts = pattern.split("/")
    if any(could_reach(goal, parts, crossing=crossing) for goal in goals(around)):
        return OURS
    if any(could_reach(goal, parts, crossing=False) for goal in _environments(parts)):
        return ENVIRONMENT
    reaches = any(could_reach(goal, parts, crossing=False) for goal in inboxes())
    names = parts[-1].startswith("cc") and any(could_name_above(goal, parts) for goal in inboxes())
    return INBOX if reaches or names else ""


def _environments(parts: list[str]) -> Iterator[list[str]]:
    """Yield the environment files of the process and the thread that the pattern names."""
    if len(parts) > 3:
        yield ["", "proc", parts[2], "environ"]
    if len(parts) > 5:
        yield ["", "proc", parts[2], "task", parts[4], "environ"]


def _plain_refusal(text: str, around: Surroundings) -> str:
    """Return why a text of any length is refused, by a search for plain words alone."""
    for own in own_paths(around):
        within = sum(text.count(root) for root in around.working_roots if root.startswith(own + "/"))
        if text.count(own) > within:
            return OURS
    if f"/{INBOX_FOLDER}" in text:
        return INBOX
    if "/proc/" in text and "/environ" in text:
        return ENVIRONMENT
    if f":{around.port}" not in text:
        return ""
    hosts = (*around.hostnames, "127.0.0.1", "[::1]")
    return OUR_ADDRESS if any(f"{host}:{around.port}" in text for host in hosts) else ""
