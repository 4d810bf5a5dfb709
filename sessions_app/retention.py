"""Which sessions may leave the database, what goes with them, and the legal hold that keeps them."""

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
from sessions_app.supervisor import conversation_files

logger = logging.getLogger(__name__)

SESSIONS_PER_TRANSACTION = 20  # a transcript may have thousands of events


def register() -> None:
    """Called once, when the apps are ready. Sessions come first: their approvals go with them."""
    archived_model = ArchivedModel(
        name="sessions",
        model=AgentSession,
        due_for_archive=due_for_archive,
        rows_per_transaction=SESSIONS_PER_TRANSACTION,
        related_rows=related_rows,
        prepare=prepare,
        before_delete=drop_conversations,
    )
    registry.archived_models = {"sessions": archived_model} | registry.archived_models
    approvals_retention.exclusions.append(spare)
    registry.pruners["outcomes of schedules"] = lambda: schedules.forget_old(settings.KEEPING.retention)


def due_for_archive(age: timedelta) -> QuerySet[AgentSession]:
    """Those that ended longer ago than that, with all that was asked in them, and that nobody keeps."""
    old = AgentSession.objects.filter(created_at__lt=Now() - age, finished_at__lt=Now() - age, legal_hold=False)
    busy = Run.objects.filter(Q(ended_at=None) | Q(counted=False), session=OuterRef("pk"))
    asked = Approval.objects.filter(session=OuterRef("pk"))
    kept = asked.exclude(pk__in=approvals_retention.closed_approvals(age).filter(session=OuterRef("session")))
    return old.exclude(status__in=OPEN_SESSION).filter(~Exists(busy), ~Exists(kept))


def related_rows(ids: Ids) -> Iterator[Rows]:
    """What belongs to sessions without a foreign key."""
    yield Approval.objects.filter(session__in=ids)
    names = [str(session_id) for session_id in ids]
    yield Rule.objects.filter(scope=Rule.ScopeKind.SESSION, scope_value__in=names)


def prepare() -> None:
    """What is archived is counted before."""
    approvals_retention.prepare()
    metrics.count_ended_runs()


def drop_conversations(archive: Archive, rows: Sequence[Rows]) -> None:
    """The seals of the audit stay; the copy of the CLI's conversation goes."""
    approvals_retention.leave_seals(archive, rows)
    for sessions in rows:
        if sessions.model is AgentSession:
            for ids in sessions.values_list("pk", "conversation"):
                for conversation in filter(None, ids):
                    transaction.on_commit(partial(conversation_files.forget, conversation), robust=True)


def spare(approvals: QuerySet[Approval]) -> QuerySet[Approval]:
    """Approvals of sessions that are still open, or under a hold, stay with them."""
    kept = AgentSession.objects.filter(Q(legal_hold=True) | Q(status__in=OPEN_SESSION), pk=OuterRef("session"))
    return approvals.filter(~Exists(kept))


def set_hold(ids: Collection[UUID], *, held: bool, by: str, via: str) -> int:
    """Keep sessions and their approvals whatever their age, or no longer; audited. Returns how many that changed."""
    with transaction.atomic():
        rows = AgentSession.objects.filter(pk__in=ids).exclude(legal_hold=held)
        changed = list(rows.select_for_update().values_list("pk", flat=True))
        AgentSession.objects.filter(pk__in=changed).update(legal_hold=held)
        for session_id in changed:
            approvals_retention.audit_hold(f"session {session_id}", held=held, by=by, via=via)
    for session_id in changed:
        logger.info("session %s: legal hold %s by %s", session_id, "set" if held else "released", by)
    return len(changed)
