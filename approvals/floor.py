"""The hard floor: what touches Orchestra itself is refused, whatever rules or people say.

For paths that a tool names this is exact, up to what changes between the check and the run. For shell commands it
is best effort: quotes, ``$HOME``, ``cd``, globs and other spellings of an address are seen through, but a program can
always compute what it does not spell. The real wall is another user account (``AGENT_RUN_AS``).
"""
# The paths here are text that an agent wrote; pathlib would tidy away what matters.
# ruff: noqa: PTH111, PTH114, PTH118

import fnmatch
import ipaddress
import os
import re
import socket
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any
from urllib.parse import unquote

from approvals.calls import KNOWN_TOOLS, PATH_ARGUMENTS, Call, inside, read_arguments, resolve

# They act later or by themselves, when nobody is asked any more.
NEVER = ("CronCreate", "CronDelete", "CronList", "ScheduleWakeup", "Monitor", "Workflow")

OURS = "this path belongs to Orchestra itself"
OUR_ADDRESS = "this address is Orchestra's own"
ENVIRONMENT = "the environment of processes is not readable"
LONGEST_COMMAND = 128 * 1024  # Linux: MAX_ARG_STRLEN, the most `sh -c` can be given

ENVIRON = re.compile(r"/proc/[^\s/]+/(?:task/[^\s/]+/)?environ")
ENVIRON_PATHS = ("/proc/1/environ", "/proc/self/environ", "/proc/thread-self/environ", "/proc/self/task/1/environ")
# Agents choose the texts, so no pattern here may look at a piece of text again from each of its characters.
PS = re.compile(r"\bps\b([^|;&\n]*)")
ASKS_FOR_ENVIRONMENT = re.compile(r"\s[acfjlmrsuvwx]*e[acefjlmrsuvwx]*(?=\s|$|\))")
PROC_DOOR = re.compile(r"^/proc/[^/]+/(?:task/[^/]+/)?(root|cwd)(?=/|$)")
PROC_FOLDER = re.compile(r"/proc/[^/]+(?:/task/[^/]+)?")
MOST_FOLDERS = 16  # a bound on the work; nobody changes directory more often to read one file
SEPARATORS = re.compile(r"[=<>|;&(),:`\"'\s@]+")
VARIABLE = re.compile(r"\$(?:\{(\w+)(?:[^}$]|\$(?!\{))*\}|(\w+))")
BRACES = re.compile(r"\{[^{},\s]*,[^{}\s]*\}")
ASSIGNMENT = re.compile(r"(?:^|[\s;&|(])(\w+)=(\"[^\"]*\"|'[^']*'|[^\s;&|)]*)")
GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the hard floor protects: Orchestra's own folder, code, port and socket.

    ``private_paths`` are further files and folders of its own, such as a socket outside the data folder.
    """

    data_dir: str
    code_dir: str
    working_roots: tuple[str, ...]
    port: int
    hostnames: tuple[str, ...] = ("localhost", "ip6-localhost", "localhost.localdomain")
    private_paths: tuple[str, ...] = ()


def floor_violation(call: Call, around: Surroundings) -> str:
    """Why nobody may allow this call; empty if the floor has nothing to say."""
    if call.tool_name in NEVER:
        return f"{call.tool_name} acts when nobody is asked any more; Orchestra never allows it"
    arguments = read_arguments(call.tool_input)
    if arguments is None:
        return "its input cannot be read"
    for name in PATH_ARGUMENTS:
        path = arguments.get(name)
        if isinstance(path, str) and path:
            real = resolve(_through_proc(path, call.directory), call.directory)
            if not real:
                return "its path cannot be one"
            if _protected(real, around):
                return OURS
    if call.tool_name == "Glob":
        return _command_violation(str(arguments.get("pattern", "")), call.directory, around)
    command = arguments.get("command")
    if isinstance(command, str) and len(command.encode("utf-8", "replace")) > LONGEST_COMMAND:
        return "the command is longer than a shell takes"
    texts = (command, arguments.get("url")) if call.tool_name in KNOWN_TOOLS else _strings(arguments)
    violations = (_command_violation(text, call.directory, around) for text in texts if isinstance(text, str) and text)
    return next(filter(None, violations), "")


def holds_ours(folder: str, around: Surroundings) -> bool:
    """Whether something of Orchestra's lies in or below ``folder``, a real path."""
    return bool(folder) and any(f"{own}/".startswith(folder.rstrip("/") + "/") for own in _own_paths(around))


def _command_violation(command: str, directory: str, around: Surroundings) -> str:
    readings = _readings(command, directory)
    if any(ENVIRON.search(text) or _ps_shows_environment(text) for text in readings):
        return ENVIRONMENT
    if any(_names_our_port(text, around) for text in readings):
        return OUR_ADDRESS
    words = dict.fromkeys(word for text in readings for word in _words(text))
    globs = [word for word in words if GLOB.search(word)]
    if any(fnmatch.fnmatchcase(path, word) for word in globs if word.startswith("/") for path in ENVIRON_PATHS):
        return ENVIRONMENT
    return OURS if _names_our_path(list(words), directory, around) else ""


def _ps_shows_environment(text: str) -> bool:
    return any(ASKS_FOR_ENVIRONMENT.search(found[1]) for found in PS.finditer(text))


def _readings(command: str, directory: str) -> list[str]:
    """The command as written, and as a shell sees it: joined lines, known variables, no quotes; braces as globs."""
    text = command.replace("\\\n", "")
    text = re.sub(r"\$'([^']*)'", lambda found: _escapes(found[1]), text)
    known = {"HOME": os.path.expanduser("~"), "PWD": directory}
    known |= {name: value.strip("\"'") for name, value in ASSIGNMENT.findall(text)}
    for _ in range(3):  # a variable may hold another one
        text = VARIABLE.sub(lambda found: known.get(found[1] or found[2], found[0]), text)
    text = re.sub(r"[\"'\\]", "", text.replace("~+", directory))
    braces = BRACES.sub("*", text)
    return list(dict.fromkeys((command, text, braces)))


def _escapes(text: str) -> str:
    try:
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape")
    except UnicodeDecodeError:
        return text


def _words(text: str) -> Iterator[str]:
    """Everything that could be a path: words, what follows a glued option, percent-encoded ones decoded."""
    for word in SEPARATORS.split(text):
        if not word:
            continue
        yield word
        if "%" in word:
            yield unquote(word)
        start = word.find("/")
        if start > 0:
            yield word[start:]


def _names_our_path(words: list[str], directory: str, around: Surroundings) -> bool:
    """Whether a word names something of ours, seen from the directory or from a folder above ours that is named too."""
    top = os.path.realpath(directory) if directory else "/"
    bases = [top]
    parent = cache(os.path.realpath)
    for word in words:
        for base in list(bases):
            real = _quick_resolve(_through_proc(word, top), base, parent)
            if _protected(real, around) or (GLOB.search(word) and _glob_names_ours(real, around)):
                return True
            stands_above = holds_ours(real, around) or PROC_FOLDER.fullmatch(real)
            if stands_above and real not in bases and len(bases) < MOST_FOLDERS:
                bases.append(real)
    return False


def _quick_resolve(word: str, base: str, parent: Any) -> str:
    """Like ``resolve``, but folders are looked up once: a command may have thousands of words."""
    try:
        whole = os.path.join(base, os.path.expanduser(word))
        folder, name = os.path.split(whole)
        if name in ("", ".", "..") or os.path.islink(whole):
            return os.path.realpath(whole)
        return str(os.path.join(parent(folder), name))
    except ValueError:
        return ""


def _glob_names_ours(pattern: str, around: Surroundings) -> bool:
    parts = os.path.normpath(pattern).split("/")
    for own in _own_paths(around):
        goal = own.split("/")
        if len(parts) >= len(goal) and all(map(fnmatch.fnmatchcase, goal, parts)):
            return True
    return False


def _through_proc(path: str, directory: str) -> str:
    """``/proc/PID/root`` and ``/proc/PID/cwd`` are other doors to the same files."""
    found = PROC_DOOR.match(os.path.normpath(path)) if path.startswith("/proc/") else None
    if not found:
        return path
    return ("/" if found[1] == "root" else directory) + os.path.normpath(path)[found.end() :]


@lru_cache(maxsize=8)
def _own_paths(around: Surroundings) -> tuple[str, ...]:
    manage = os.path.join(around.code_dir, "manage.py")
    return tuple(os.path.realpath(path) for path in (around.data_dir, manage, *around.private_paths))


def _protected(real: str, around: Surroundings) -> bool:
    if ENVIRON.fullmatch(real):
        return True
    if not any(real == own or real.startswith(own + "/") for own in _own_paths(around)):
        return False
    return not any(inside(real, root) for root in around.working_roots)


def _names_our_port(text: str, around: Surroundings) -> bool:
    """Whether the text spells this machine and our port: as ``host:port`` in any notation, or as two words."""
    port = rf"0*{around.port}(?![\d])"
    text = unquote(unicodedata.normalize("NFKC", text)).lower()
    if not re.search(rf"{around.port}(?!\d)", text):
        return False
    if re.search(rf"/dev/(?:tcp|udp)/[^/\s]+/{port}", text):
        return True
    letter = r"[^\s/@\"'=,()\[\]<>|;&:]"
    hosts = rf"\[[^\[\]\s]*\]|(?<!{letter}){letter}+|"
    for url, host in re.findall(rf"(//(?:[^\s/@]*@)?)?({hosts}):{port}", text):
        if _is_local(host, around) or (url and not _is_foreign_address(host)):
            return True
    apart = re.search(rf"(?<![\w.:]){port}(?![\w.])", text)
    names = (token for token in re.split(r"[^\w.:\[\]-]+", text) if not token.isdigit() or len(token) > 7)
    return bool(apart) and any(_is_local(name, around) for name in names if name)


def _is_local(host: str, around: Surroundings) -> bool:
    name = host.strip("[]").rstrip(".")
    if not name or "$" in name or "`" in name:  # nothing, or computed: assume the worst
        return True
    if name in around.hostnames or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and (address.is_loopback or address.is_unspecified)


def _is_foreign_address(host: str) -> bool:
    address = _address(host.strip("[]").rstrip("."))
    return address is not None and not (address.is_loopback or address.is_unspecified)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Also in the notations of inet_aton(3): ``127.1``, ``0x7f000001``, ``2130706433``."""
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(name))
        except (OSError, ValueError):
            return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _strings(value: Any) -> Iterator[str]:
    """Every text anywhere in the arguments of a tool we do not know."""
    if isinstance(value, str):
        yield value.removeprefix("file://")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(key)
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
