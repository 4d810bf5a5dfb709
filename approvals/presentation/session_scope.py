"""What "approve for session" means for one approval, in the words that every surface shows."""

from approvals.models import Approval
from approvals.policy import Call, session_label, session_pattern, session_scope


def call_of(approval: Approval) -> Call:
    """Return the tool call that the approval is about."""
    return Call(tool_name=approval.tool_name, tool_input=approval.tool_input, directory=approval.working_directory)


def scope_sentence(approval: Approval) -> str:
    """Return one sentence about the calls that would pass from then on."""
    return session_scope(call_of(approval))


def scope_label(approval: Approval) -> str:
    """Return the label of the button that approves for the session."""
    return session_label(call_of(approval))


def scope_pattern(approval: Approval) -> str:
    """Return the pattern of the rule that would be made."""
    return session_pattern(call_of(approval))
