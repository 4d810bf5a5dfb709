"""The rule that "approve for session" makes: the same input passes, apart from what
``session_scope`` says.
"""

from approvals.policy.globs import escape
from approvals.policy.rules import matches
from approvals.policy.tool_call import EDITING_TOOLS, MAY_CHANGE, PATH_ARGUMENTS, Call


def session_pattern(call: Call) -> str:
    """Return the pattern for this call: its telling argument if all else may change, or else its
    whole input.
    """
    return escape(call.comparable if _is_defined_by_telling_argument(call) else call.whole)


def session_scope(call: Call) -> str:
    """Return one sentence about the calls that would pass; every surface shows it to the person who
    decides.
    """
    if not _is_defined_by_telling_argument(call):
        return "This very call, with exactly this input, passes without asking in this session from now on."
    if call.tool_name in EDITING_TOOLS:
        return (
            f"Any edit of this file by {call.tool_name}, whatever it changes, passes without asking in this"
            " session from now on."
        )
    if call.tool_name == "Read":
        return "Reading any part of this file passes without asking in this session from now on."
    return (
        "This very command passes without asking in this session from now on; only its description and its time"
        " limit may differ."
    )


def session_label(call: Call) -> str:
    """Return the label of the button."""
    if _is_defined_by_telling_argument(call) and call.tool_name in EDITING_TOOLS:
        return "Approve any edit of this file for session"
    return "Approve for session"


def _is_defined_by_telling_argument(call: Call) -> bool:
    """Whether a rule for the session needs to fix nothing but the telling argument."""
    if call.tool_name not in MAY_CHANGE or not call.has_only_the_usual:
        return False
    if call.tool_name == "Bash":
        return bool(call.telling) and not call.telling.startswith("{") and _is_text(call.telling)
    known = {*MAY_CHANGE[call.tool_name], *PATH_ARGUMENTS}
    return call.tells_a_path and len(call.paths) == 1 and call.arguments.keys() <= known and _would_cover(call)


def _is_text(command: str) -> bool:
    return "\0" not in command and not any("\ud800" <= letter <= "\udfff" for letter in command)


def _would_cover(call: Call) -> bool:
    """Whether a rule with the path alone matches; it does not for a protected file."""
    from approvals.models import Rule

    return matches(Rule(effect=Rule.Effect.ALLOW, tool=call.tool_name, pattern=escape(call.comparable)), call)
