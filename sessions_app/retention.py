"""Retention of sessions: which rows are archived and deleted together, and the legal hold that
keeps them.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from approvals import retention as approvals_retention
from approvals.models import Approval, Rule
from orchestra.archive.registry import ArchivedModel, Ids, Rows, registry
from orchestra.models import Archive
from sessions_app import metrics
from sessions_app.models import OPEN_SESSION, AgentSession, Run
from sessions_app.schedules import commands as schedules
from sessions_app.supervisor.cli import conversation_files

logger = logging.getLogger(__name__)

SESSIONS_PER_TRANSACTION = 20  # few, because a transcript may have thousands of events


def register() -> None:
    """Register with the archive; the app's ``ready`` calls this once.

    Sessions come before approvals, because the approvals of a session are archived with it.
    """
    sessions = ArchivedModel(
        name="sessions",
        model=AgentSession,
        due_for_archive=expired_sessions,
        rows_per_transaction=SESSIONS_PER_TRANSACTION,
        related_rows=related_rows,
        prepare=count_rows,
        before_delete=keep_seals,
    )
    registry.archived_models = {"sessions": sessions} | registry.archived_models
    approvals_retention.exclusions.append(exclude_kept_sessions)
    registry.pruners["outcomes of schedules"] = lambda: schedules.delete_old_runs(settings.KEEPING.retention)


def expired_sessions(age: timedelta) -> QuerySet[AgentSession]:
    """Sessions without a legal hold that ended longer than ``age`` ago, as all of their approvals
    did.
    """
    old = AgentSession.objects.filter(created_at__lt=Now() - age, finished_at__lt=Now() - age, legal_hold=False)
    busy = Run.objects.filter(Q(ended_at=None) | Q(counted=False), session=OuterRef("pk"))
    approvals = Approval.objects.filter(session=OuterRef("pk"))
    kept = approvals.exclude(pk__in=approvals_retention.closed_approvals(age).filter(session=OuterRef("session")))
    return old.exclude(status__in=OPEN_SESSION).filter(~Exists(busy), ~Exists(kept))


def related_rows(ids: Ids) -> Iterator[Rows]:
    """Rows that belong to the sessions but have no foreign key to them."""
    yield Approval.objects.filter(session__in=ids)
    names = [str(session_id) for session_id in ids]
    yield Rule.objects.filter(scope=Rule.ScopeKind.SESSION, scope_value__in=names)


def count_rows() -> None:
    """Add all ended rows to the counters before they are archived."""
    approvals_retention.prepare()
    metrics.count_ended_runs()


def keep_seals(archive: Archive, rows: Sequence[Rows]) -> None:
    """Keep the seals of the audit chain, and delete the stored copies of the CLI's conversations
    after the commit.
    """
    approvals_retention.leave_seals(archive, rows)
    for sessions in rows:
        if sessions.model is AgentSession:
            for ids in sessions.values_list("pk", "conversation"):
                for conversation in filter(None, ids):
                    transaction.on_commit(partial(conversation_files.forget, conversation), robust=True)


def exclude_kept_sessions(approvals: QuerySet[Approval]) -> QuerySet[Approval]:
    """Leave out the approvals of sessions that are open or under a legal hold."""
    kept = AgentSession.objects.filter(Q(legal_hold=True) | Q(status__in=OPEN_SESSION), pk=OuterRef("session"))
    return approvals.filter(~Exists(kept))


def set_hold(ids: Collection[UUID], *, held: bool, by: str, via: str) -> int:
    """Set or release the legal hold of sessions and record it in the audit.

    Return how many changed.
    """
    with transaction.atomic():
        rows = AgentSession.objects.filter(pk__in=ids).exclude(legal_hold=held)
        changed = list(rows.select_for_update().values_list("pk", flat=True))
        AgentSession.objects.filter(pk__in=changed).update(legal_hold=held)
        for session_id in changed:
            approvals_retention.audit_hold(f"session {session_id}", held=held, by=by, via=via)
    for session_id in changed:
        logger.info("session %s: legal hold %s by %s", session_id, "set" if held else "released", by)
    return len(changed)
