"""Detects commands that read Orchestra's data folder because they recurse into a folder above it."""

from approvals.policy.globs import could_name_above
from approvals.policy.lookup import Lookup
from approvals.policy.readings import BRACES
from approvals.policy.scripts import scripts_of
from approvals.policy.shell import programs
from approvals.policy.surroundings import Surroundings, data_folder
from approvals.policy.tool_call import Call


def takes_in_our_data(call: Call, lookup: Lookup, around: Surroundings) -> bool:
    """Whether the call runs a recursive program on a folder that contains our data folder."""
    for script in scripts_of(call):
        current = lookup.top
        for found, _ in script:
            folder = programs.goes_to(found)
            if folder is not None:
                current = lookup.real(folder.text, current) or current
            elif _is_run_on_our_data(found, current, lookup, around):
                return True
    return False


def _is_run_on_our_data(found: programs.Invocation, current: str, lookup: Lookup, around: Surroundings) -> bool:
    goal = data_folder(around).split("/")
    depth = programs.depth_of_find(found) if found.program == "find" else None
    for place in programs.reads_below(found) or ():
        parts = lookup.real(BRACES.sub("*", place) or ".", current).split("/")
        if parts == ["", ""]:
            parts = [""]
        if could_name_above(goal, parts) and (depth is None or depth > len(goal) - len(parts)):
            return True
    return False
