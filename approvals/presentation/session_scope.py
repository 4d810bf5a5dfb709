"""What "for this session" means for one approval, in the words that every surface shows."""

from approvals.models import Approval
from approvals.policy import Call, session_label, session_pattern, session_scope


def call_of(approval: Approval) -> Call:
    """The call that was asked about."""
    return Call(tool_name=approval.tool_name, tool_input=approval.tool_input, directory=approval.working_directory)


def scope_sentence(approval: Approval) -> str:
    """What would pass without a question from then on, as one sentence."""
    return session_scope(call_of(approval))


def scope_label(approval: Approval) -> str:
    """What a button says that approves for the session."""
    return session_label(call_of(approval))


def scope_pattern(approval: Approval) -> str:
    """The pattern of the rule that would be saved."""
    return session_pattern(call_of(approval))
