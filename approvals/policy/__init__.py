"""The policy: guardrails, rules and defaults decide a tool call before a person does."""

from approvals.policy.engine import ALLOW, ASK, DENY, PolicyDecision, decide
from approvals.policy.guardrails import FORBIDDEN_TOOLS
from approvals.policy.protected import is_protected, is_secret
from approvals.policy.rules import matches, rule_from_request
from approvals.policy.session_rules import session_label, session_pattern, session_scope
from approvals.policy.surroundings import Surroundings, holds_ours
from approvals.policy.tool_call import (
    EDITING_TOOLS,
    Call,
    fnmatch_escape,
    inside,
    parsed_arguments,
    resolve,
    telling_argument,
)

__all__ = [
    "ALLOW",
    "ASK",
    "DENY",
    "EDITING_TOOLS",
    "FORBIDDEN_TOOLS",
    "Call",
    "PolicyDecision",
    "Surroundings",
    "decide",
    "fnmatch_escape",
    "holds_ours",
    "inside",
    "is_protected",
    "is_secret",
    "matches",
    "parsed_arguments",
    "resolve",
    "rule_from_request",
    "session_label",
    "session_pattern",
    "session_scope",
    "telling_argument",
]
