"""The releases of the CLI that Orchestra accepts, and those that its conformance suite ran on
(``make gate``).
"""

import re

OLDEST_FIT = (2, 1, 309)  # the first that can leave @path unexpanded and reports the cost of each result
NEWEST_TESTED = (2, 1, 332)  # the newest that the whole conformance suite ran on (make gate)


def version_of(text: str) -> tuple[int, ...]:
    """The version as numbers to compare.

    The result is empty, and so older than any other, if ``text`` starts with none.
    """
    found = re.match(r"(\d+)\.(\d+)\.(\d+)\b", text)
    return tuple(int(part) for part in found.groups()) if found else ()


def is_tested(version: str) -> bool:
    """Whether the version lies in the range that the conformance suite ran on."""
    return OLDEST_FIT <= version_of(version) <= NEWEST_TESTED


def untested_notice(version: str) -> str:
    """A notice about a CLI that is newer than every tested one; empty for others."""
    if version_of(version) <= NEWEST_TESTED:
        return ""
    newest = ".".join(map(str, NEWEST_TESTED))
    return f"Version {version} is newer than any that Orchestra was tested with ({newest}); it must pass the self-test."
