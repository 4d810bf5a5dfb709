"""Attachments: files that a person adds to a prompt. Each needs the permission that a Read by the
agent needs.

The CLI's own ``@path`` is switched off, because it reads any file of the account without a policy
decision. Orchestra opens a file first and then lets the policy decide on the real path of the open
file, so that a symbolic link replaced in between gives nothing to the model. The policy decides
when the turn is queued and again, with the rights of that moment, when its process starts.
"""
# Paths stay text as it was entered: pathlib would normalise parts that the policy needs to see.
# ruff: noqa: PTH118

import hashlib
import json
import os
import secrets
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings

from approvals.commands import record_attempt
from approvals.models import DecisionSource, Rule
from approvals.policy import ALLOW, DENY, Call
from approvals.policy.standing_rules import rules_for
from sessions_app.errors import AttachmentRefused
from sessions_app.supervisor import permissions
from sessions_app.supervisor.cli.launch import wrapper
from sessions_app.supervisor.leases import Claim
from sessions_app.workspace import directory_problem

MOST_FILES = 20
LARGEST_FILE = 256 * 1024  # bytes
LARGEST_TOTAL = 1024 * 1024
LONGEST_PATH = 4096
READ_S = 10.0
ASK_FOR_IT = (
    "files outside the working directory, or that look like secrets, are not attached; let the agent ask to read it"
)
# Runs as the agent's account: open the file, then print its real path and its bytes. A named pipe
# blocks until READ_S.
AS_ACCOUNT = (
    '[ -f "$1" ] && exec 3<"$1" && [ -f /proc/self/fd/3 ] && real="$(readlink "/proc/$$/fd/3")"'
    ' && [ /proc/self/fd/3 -ef "$real" ] && printf "%s\\0" "$real" && exec head -c "$2" <&3'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """The session and the person that files are read for; relative paths start at ``directory``."""

    session_id: UUID
    directory: str
    requester: str


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """An open file: its real path and its first bytes, one more than may be attached."""

    real: str
    content: bytes


def paths_problem(paths: Sequence[str]) -> str:
    """Why these paths are malformed or too many, in one sentence; empty if they are not.

    This function reads no files.
    """
    if len(paths) > MOST_FILES:
        return f"At most {MOST_FILES} files can be attached."
    if any(not path.strip() or "\0" in path or len(path) > LONGEST_PATH for path in paths):
        return f"A path is a text of up to {LONGEST_PATH} characters, not empty and without the character NUL."
    try:
        "".join(paths).encode()
    except UnicodeEncodeError:  # the name of a file in another encoding
        return "A path is not valid Unicode text."
    return ""


def inspect_attachments(paths: Sequence[str], reader: Reader, *, here: bool) -> list[dict[str, Any]]:
    """Check the files of a turn that is being queued; return ``{path, bytes, sha256}`` of each, to
    store with it.

    ``here`` is whether the session's files are on this host. If they are not, or if only the
    agent's account can read a file, the policy decides on the path alone, and ``bytes`` is None and
    ``sha256`` empty until the process starts.

    Raises:
        AttachmentRefused: a file cannot be attached; ``detail`` names the reason.
    """
    kept, total = [], 0
    for path in dict.fromkeys(paths):
        _decide_read(path, _absolute(path, reader), reader)
        opened = _open_and_decide(path, reader) if here else None
        if opened is not None:
            total += len(_checked_content(path, opened, total))
        kept.append(_entry(path, opened))
    return kept


def record_attachments(kept: Sequence[Mapping[str, Any]], reader: Reader, *, turn: int, via: str) -> None:
    """Record in the audit who attached which file, in the transaction that queues the turn."""
    for one in kept:
        digest = f"sha256 {one['sha256']}" if one["sha256"] else "to be read when the turn starts"
        reason = f"{json.dumps(one['path'])} ({digest}) to turn {turn} of session {reader.session_id}"
        record_attempt(action="attached", by=reader.requester, via=via, address="", reason=reason, won=True)


def read_attachments(claim: Claim) -> list[str]:
    """Read the files of a claimed turn as texts for the model; empty if the turn sends no prompt.

    If an earlier process of this turn has started, a changed file does not stop the turn, because
    the agent itself may have changed it: the text for the model then names the reason in place of
    the content.

    Raises:
        AttachmentRefused: a file was changed or removed, or the policy no longer allows to read it.
    """
    if not (claim.prompt and claim.attachments):
        return []
    if problem := directory_problem(claim.directory):
        raise AttachmentRefused(problem)
    reader = Reader(session_id=claim.session_id, directory=claim.directory, requester=claim.requested_by)
    texts, total = [], 0
    for one in claim.attachments:
        try:
            content = _read_again(one, reader, total)
        except AttachmentRefused as error:
            if not claim.repeats:
                raise
            texts.append(f"(A file was attached and cannot be shown again. {error.detail})")
            continue
        total += len(content)
        texts.append(frame(str(one["path"]), content))
    return texts


def frame(path: str, content: bytes) -> str:
    """The content between two marker lines.

    A random number in them keeps a file from imitating the end of a block.
    """
    mark, name = secrets.token_hex(8), json.dumps(path)
    text = content.decode("utf-8", "replace")
    return (
        f"--- Attached file {name}, {len(content)} bytes, begins ({mark}) ---\n"
        f"{text}\n--- Attached file {name} ends ({mark}) ---"
    )


def public_fields(kept: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The fields of attachments that transcripts and the API show."""
    return [{"path": one["path"], "bytes": one["bytes"]} for one in kept]


def _read_again(one: Mapping[str, Any], reader: Reader, total: int) -> bytes:
    path = str(one["path"])
    _decide_read(path, _absolute(path, reader), reader)
    opened = _open_as_account(path, reader) if settings.AGENTS.run_as else _open(path, reader)
    rule = _decide_read(path, opened.real, reader)
    content = _checked_content(path, opened, total)
    found = _entry(path, opened)
    if one["sha256"] and found["sha256"] != one["sha256"]:
        raise AttachmentRefused(f"{path} has changed since it was attached; send the message again.")
    if not permissions._rule_still_counts(rule):
        raise AttachmentRefused(f"{path}: {ASK_FOR_IT}.")
    if not one["sha256"]:
        reason = f"{json.dumps(path)} (sha256 {found['sha256']}) read for session {reader.session_id}"
        record_attempt(
            action="attached", by=reader.requester, via=DecisionSource.SYSTEM, address="", reason=reason, won=True
        )
    return content


def _open_and_decide(path: str, reader: Reader) -> OpenedFile | None:
    """Open the file and let the policy decide on it.

    The result is None if only the agent's own account can open it.
    """
    try:
        opened = _open(path, reader)
    except PermissionError:
        if settings.AGENTS.run_as:
            return None
        raise AttachmentRefused(f"{path} cannot be read.") from None
    _decide_read(path, opened.real, reader)
    return opened


def _decide_read(path: str, real: str, reader: Reader) -> Rule | None:
    """Let the policy decide on a Read of ``real``; return the rule that allowed it, if one did.

    Raises:
        AttachmentRefused: the policy denies it, or would request an approval.
    """
    directory = os.path.realpath(reader.directory)
    call = Call(tool_name="Read", tool_input=json.dumps({"file_path": real}), directory=directory)
    rules = rules_for(session_id=reader.session_id, directory=reader.directory, requester=reader.requester)
    answer = permissions._evaluate_policy(call, rules, permissions.surroundings())
    if answer.effect == ALLOW:
        return answer.rule
    raise AttachmentRefused(f"{path}: {answer.reason if answer.effect == DENY else ASK_FOR_IT}.")


def _absolute(path: str, reader: Reader) -> str:
    return os.path.join(os.path.realpath(reader.directory), path)


def _open(path: str, reader: Reader) -> OpenedFile:
    """Open the file first, then resolve its real path. Devices and pipes are refused without
    waiting for them.

    Raises:
        AttachmentRefused: the path leads to no regular file.
        PermissionError: this account may not read the file.
    """
    try:
        fd = os.open(_absolute(path, reader), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except PermissionError:
        raise
    except OSError as error:
        raise AttachmentRefused(f"{path} cannot be read: {error.strerror}.") from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise AttachmentRefused(f"{path} is not a file; only regular files are attached.")
        real = _real_path(path, reader, fd, found)
        with os.fdopen(fd, "rb", closefd=False) as file:
            return OpenedFile(real, file.read(LARGEST_FILE + 1))
    finally:
        os.close(fd)


def _real_path(path: str, reader: Reader, fd: int, found: os.stat_result) -> str:
    """The real path of an open file, after a check that the path still leads to the same file."""
    link = Path(f"/proc/self/fd/{fd}")
    try:
        real = os.path.realpath(_absolute(path, reader)) if not link.is_symlink() else str(link.readlink())
        same = os.path.samestat(os.lstat(real), found)
    except OSError:
        same = False
    if not same:
        raise AttachmentRefused(f"{path} was moved while it was read.")
    return real


def _open_as_account(path: str, reader: Reader) -> OpenedFile:
    """As ``_open``, with the rights of the agent's account (AGENT_RUN_AS)."""
    command = [*wrapper(), "sh", "-c", AS_ACCOUNT, "sh", _absolute(path, reader), str(LARGEST_FILE + 1)]
    env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    try:
        ran = subprocess.run(
            command, env=env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=READ_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        raise AttachmentRefused(f"{path} cannot be read by the agent's account.") from None
    real, _, content = ran.stdout.partition(b"\0")
    return OpenedFile(os.fsdecode(real), content)


def _checked_content(path: str, opened: OpenedFile, total: int) -> bytes:
    """
    Raises: AttachmentRefused: the file is too large by itself or with the ``total`` bytes before
        it, or is no text.
    """
    if len(opened.content) > LARGEST_FILE:
        raise AttachmentRefused(f"{path} has more than {LARGEST_FILE // 1024} KiB; let the agent read it in parts.")
    if len(opened.content) + total > LARGEST_TOTAL:
        raise AttachmentRefused(f"The attached files have more than {LARGEST_TOTAL // 1024} KiB together.")
    if b"\0" in opened.content:
        raise AttachmentRefused(f"{path} is not text; images and other binary files are not attached.")
    return opened.content


def _entry(path: str, opened: OpenedFile | None) -> dict[str, Any]:
    if opened is None:
        return {"path": path, "bytes": None, "sha256": ""}
    return {"path": path, "bytes": len(opened.content), "sha256": hashlib.sha256(opened.content).hexdigest()}
