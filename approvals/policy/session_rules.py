"""What "approve for this session" lets pass: exactly this input, but for what the words below say may change."""

from approvals.policy.globs import escape
from approvals.policy.rules import matches
from approvals.policy.tool_call import EDITING_TOOLS, MAY_CHANGE, PATH_ARGUMENTS, Call


def session_pattern(call: Call) -> str:
    """The pattern that covers this call: its telling argument if all else may change, or its whole input."""
    return escape(call.comparable if _tells_all(call) else call.whole)


def session_scope(call: Call) -> str:
    """What would pass without a question, in one sentence for the person who decides; every surface says this."""
    if not _tells_all(call):
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
    """The same for a button."""
    if _tells_all(call) and call.tool_name in EDITING_TOOLS:
        return "Approve any edit of this file for session"
    return "Approve for session"


def _tells_all(call: Call) -> bool:
    """Whether the telling argument is all that a rule for the session has to fix."""
    if call.tool_name not in MAY_CHANGE or not call.has_only_the_usual:
        return False
    if call.tool_name == "Bash":
        return bool(call.telling) and not call.telling.startswith("{") and _is_text(call.telling)
    known = {*MAY_CHANGE[call.tool_name], *PATH_ARGUMENTS}
    return call.tells_a_path and len(call.paths) == 1 and call.arguments.keys() <= known and _would_cover(call)


def _is_text(command: str) -> bool:
    return "\0" not in command and not any("\ud800" <= letter <= "\udfff" for letter in command)


def _would_cover(call: Call) -> bool:
    """Whether the path alone is enough; that of a protected file is not."""
    from approvals.models import Rule

    return matches(Rule(effect=Rule.Effect.ALLOW, tool=call.tool_name, pattern=escape(call.comparable)), call)
