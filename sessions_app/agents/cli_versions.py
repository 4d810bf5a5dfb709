"""Which releases of the CLI Orchestra takes, and which its suite of the gate was run on (``make gate``)."""

import re

OLDEST_FIT = (2, 1, 309)  # the first that expands no @path on request and tells what each result cost
NEWEST_TESTED = (2, 1, 332)  # the newest that the whole suite of the gate was run on (make gate)


def version_of(text: str) -> tuple[int, ...]:
    """A version as numbers to compare; empty, and so older than any, if it is none."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)\b", text)
    return tuple(int(part) for part in found.groups()) if found else ()


def is_tested(version: str) -> bool:
    """Whether Orchestra's whole suite was run on CLIs as new as this one."""
    return OLDEST_FIT <= version_of(version) <= NEWEST_TESTED


def untested_words(version: str) -> str:
    """What people should know about a CLI that is newer than any that was tested; empty for others."""
    if version_of(version) <= NEWEST_TESTED:
        return ""
    newest = ".".join(map(str, NEWEST_TESTED))
    return f"Version {version} is newer than any that Orchestra was tested with ({newest}); it must pass the self-test."
