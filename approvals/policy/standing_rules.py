"""Which rules apply to which requester.

An allow rule of a session acts in the name of the person who wrote the prompt. Several people may
write into the same session, so each turn is judged by its own requester, and by the rights that
this requester has at that moment. Rules for a directory or for everywhere are an administrator's
policy and apply to every requester. Deny and ask rules always apply.
"""

from typing import Any
from uuid import UUID

from django.conf import settings

from approvals.models import Rule
from orchestra.auth.permissions import Right, holds, may
from orchestra.db import sql


def may_allow_ahead(user: Any) -> bool:
    """Whether ``user`` may make allow rules for their own requests: only if they may decide those
    requests.
    """
    return bool(settings.APPROVALS.self_approval) and may(user, Right.DECIDE)


def rules_for(*, session_id: UUID, directory: str, requester: str) -> list[Rule]:
    """Return the rules that apply to a turn of ``requester``, by the rights that this person has
    now.
    """
    alive = f"(ends_at IS NULL OR ends_at > {sql.now()}) AND (max_uses IS NULL OR uses < max_uses)"
    counts = serves(requester)
    where = (
        f"{alive} AND (scope = 'everywhere'"
        " OR scope = 'session' AND scope_value = %s OR scope = 'directory' AND scope_value = %s)"
        f" AND {counts.text} ORDER BY created_at"
    )
    return sql.select(Rule, where, str(session_id), directory, *counts.values)


def serves(requester: str) -> sql.Statement:
    """Return an SQL condition on ``rules`` for those that apply to a turn of ``requester``.

    An allow rule of a session applies if another person made it for the requester, who may still
    operate, or if the requester may make such a rule now. Rules that are older than the column
    ``made_for`` belong to their maker.
    """
    person = holds(requester, Right.OPERATE)
    given = "(made_for = %s AND made_for <> created_by AND " + person.text + ")"
    allowing = sql.Statement(given, (requester, *person.values))
    if settings.APPROVALS.self_approval:
        maker = holds(requester, Right.DECIDE)
        allowing = sql.Statement(f"({given} OR {maker.text})", (*allowing.values, *maker.values))
    return sql.Statement(f"(scope <> 'session' OR effect <> 'allow' OR {allowing.text})", allowing.values)


def served_by(rule: Rule) -> str:
    """Return in words to whom an allow rule of a session applies; empty for a rule that applies to
    everyone.
    """
    if rule.effect != Rule.Effect.ALLOW or rule.scope != Rule.ScopeKind.SESSION:
        return ""
    makers = "whoever may decide their own requests" if settings.APPROVALS.self_approval else ""
    given = rule.made_for if rule.made_for != rule.created_by else ""
    return " and ".join(filter(None, (given, makers))) or "nobody while self-approval is off"
