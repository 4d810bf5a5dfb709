"""Commands on schedules: save and delete them, and start each due session exactly once."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from approvals.audit.changes import recorded_elsewhere
from approvals.stop.commands import frozen_since, stop_in_force
from orchestra.auth.permissions import Right, may
from orchestra.db.sweeps import process_each
from orchestra.errors import Forbidden, Invalid, OrchestraError
from sessions_app.errors import ScheduleNotFound
from sessions_app.models import OPEN_SESSION, SCHEDULED_RUN_FLOW, AgentSession, Schedule, ScheduledRun
from sessions_app.rest import starts
from sessions_app.schedules import due

logger = logging.getLogger(__name__)

TASK = "sessions_app.start_scheduled_session"
EARLY = timedelta(seconds=2)  # beat's clock may be ahead of the database's
LATE_AFTER = timedelta(minutes=5)  # a run that has not started by then is missed, and is not started later
SHORTEST_S, LONGEST_S = 60, 366 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a schedule is due, and what happens if its last session is still open."""

    cron: str = ""
    every_seconds: int | None = None
    timezone: str = "UTC"
    overlap: str = Schedule.Overlap.SKIP
    enabled: bool = True


def save_schedule(
    *, user: Any, title: str, session: Mapping[str, Any], timing: Timing, schedule_id: UUID | None = None
) -> Schedule:
    """Create a schedule, or change one; from then on it runs with the rights of ``user``.

    If it kept its old requester, an administrator's prompt would run with another person's rights,
    and that person could decide its requests.

    Raises: Invalid: ``fields`` maps invalid fields to their problems; fields of the session are
        ``session.<name>``. Forbidden: the schedule belongs to another person, or the session needs
        a right that ``user`` lacks. ScheduleNotFound: no schedule has this id.
    """
    wanted = {name: value for name, value in session.items() if value is not None}
    refuse_unfit(user, wanted, timing)
    now = datetime.now(UTC)
    with transaction.atomic():
        if schedule_id is not None:
            _locked_own_schedule(schedule_id, user)
        schedule = Schedule(
            id=schedule_id or uuid4(),
            title=title.strip() or str(wanted["prompt"]).strip().splitlines()[0][:80],
            session=wanted,
            requested_by=user.get_username(),
            next_due_at=_next_after(now, timing),
            **asdict(timing),
        )
        if schedule_id is None:
            schedule.save(force_insert=True)
        else:
            schedule.save(
                force_update=True, update_fields=[*asdict(timing), "title", "session", "requested_by", "next_due_at"]
            )
        with recorded_elsewhere():
            _sync_beat_entry(schedule)
    logger.info("schedule %s saved by %s", schedule.pk, schedule.requested_by)
    return find_schedule(schedule.pk)


def delete_schedule(*, schedule_id: UUID, user: Any) -> None:
    """Delete a schedule and its outcomes; the sessions that it started stay.

    Raises:
        ScheduleNotFound, Forbidden: as ``save_schedule``.
    """
    with transaction.atomic():
        _locked_own_schedule(schedule_id, user).delete()
        with recorded_elsewhere():
            PeriodicTask.objects.filter(name=_beat_name(schedule_id)).delete()


def find_schedule(schedule_id: UUID) -> Schedule:
    """
    Raises:
        ScheduleNotFound: no schedule has this id.
    """
    found = Schedule.objects.filter(pk=schedule_id).first()
    if found is None:
        raise ScheduleNotFound("Schedule not found")
    return found


def start_due(schedule_id: UUID) -> ScheduledRun | None:
    """Start a schedule's session if it is due; None if it is not due, or another process started
    it.

    Due times that passed more than five minutes ago are recorded as missed, in one row, and are not
    started later. While all agents are stopped nothing is started; after the lift the same rule
    applies.
    """
    with transaction.atomic():
        rows = _read().select_for_update().filter(pk=schedule_id, enabled=True)
        schedule = rows.filter(~stop_in_force(), next_due_at__lte=Now() + EARLY).first()
        if schedule is None or schedule.next_due_at is None:
            return None
        first, now = schedule.next_due_at, max(schedule.read_at, schedule.next_due_at)
        timing = timing_of(schedule)
        following = _next_after(now, timing, last=first)
        if not Schedule.objects.filter(pk=schedule_id, next_due_at=first).update(next_due_at=following):
            return None
        number, latest = due.passed(first, now, _when(timing))
        late = now - latest > LATE_AFTER
        missed = number if late else number - 1
        if missed:
            _note_missed(schedule, first, missed)
        return None if late else _run(schedule, latest)


def start_all_due() -> int:
    """Sweep: start due schedules, and runs that waited for the session before them.

    Return how many started.
    """
    ready = Schedule.objects.filter(~stop_in_force(), enabled=True, next_due_at__lte=Now())
    started = process_each(list(ready.order_by("next_due_at").values_list("pk", flat=True)), _has_started)
    waiting = ScheduledRun.objects.filter(~stop_in_force(), status=ScheduledRun.Status.QUEUED).order_by("due_at")
    return started + process_each(list(waiting.values_list("pk", flat=True)), _start_waiting)


def _has_started(schedule_id: UUID) -> bool:
    run = start_due(schedule_id)
    return run is not None and run.status == ScheduledRun.Status.STARTED


def start_now(*, schedule_id: UUID, user: Any) -> ScheduledRun:
    """Start a schedule's session once, at a time of its own; the rule for overlaps applies.

    Raises:
        ScheduleNotFound, Forbidden: as ``save_schedule``.
    """
    with transaction.atomic():
        schedule = _locked_own_schedule(schedule_id, user)
        return _run(schedule, schedule.read_at)


def delete_old_runs(age: timedelta) -> int:
    """Delete the outcomes that were recorded longer than ``age`` ago; return how many."""
    return ScheduledRun.objects.filter(created_at__lt=Now() - age).delete()[0]


def timing_of(schedule: Schedule) -> Timing:
    return Timing(**{name: getattr(schedule, name) for name in Timing.__dataclass_fields__})


def reset_due_times(why: str) -> None:
    """After a restore: skip runs that wait, and compute each next due time from now on."""
    SCHEDULED_RUN_FLOW.move(ScheduledRun.objects.all(), to=ScheduledRun.Status.SKIPPED, detail=why)
    for schedule in Schedule.objects.all():
        following = _next_after(datetime.now(UTC), timing_of(schedule))
        Schedule.objects.filter(pk=schedule.pk).update(next_due_at=following)


def _run(schedule: Schedule, due_at: datetime) -> ScheduledRun:
    """Start the session, or record why not, in the caller's transaction; both rows commit together."""
    status, session, detail = _try(schedule)
    return ScheduledRun.objects.create(
        schedule=schedule, due_at=due_at, status=status, session=session, detail=detail[:500]
    )


def _try(schedule: Schedule, *, waited: bool = False) -> tuple[str, UUID | None, str]:
    if schedule.overlap != Schedule.Overlap.ALLOW and _last_is_open(schedule):
        if schedule.overlap == Schedule.Overlap.SKIP:
            return ScheduledRun.Status.SKIPPED, None, "The session before is still open."
        if schedule.runs.filter(status=ScheduledRun.Status.QUEUED).exists() and not waited:
            return ScheduledRun.Status.SKIPPED, None, "The session before is still open, and one waits already."
        return ScheduledRun.Status.QUEUED, None, "Waits until the session before has ended."
    user = User.objects.filter(username=schedule.requested_by).first()
    if user is None or not may(user, Right.OPERATE):
        return ScheduledRun.Status.REFUSED, None, f"{schedule.requested_by} may not start sessions (any more)."
    try:
        with transaction.atomic():
            session = starts.start(user, schedule.session | {"title": schedule.title})
    except OrchestraError as error:
        logger.warning("schedule %s refused: %s", schedule.pk, error.detail)
        return ScheduledRun.Status.REFUSED, None, _sentence(error)
    logger.info("schedule %s started session %s", schedule.pk, session.pk)
    return ScheduledRun.Status.STARTED, session.pk, ""


def _start_waiting(run_id: UUID) -> bool:
    with transaction.atomic():
        run = ScheduledRun.objects.select_for_update().select_related("schedule").filter(pk=run_id).first()
        if run is None or run.status != ScheduledRun.Status.QUEUED or not run.schedule.enabled:
            return False
        status, session, detail = _try(run.schedule, waited=True)
        if status == ScheduledRun.Status.QUEUED:
            return False
        rows = ScheduledRun.objects.filter(pk=run_id)
        return (
            bool(SCHEDULED_RUN_FLOW.move(rows, to=status, session=session, detail=detail))
            and status == ScheduledRun.Status.STARTED
        )


def _last_is_open(schedule: Schedule) -> bool:
    mine = schedule.runs.filter(session__isnull=False).values("session")
    return AgentSession.objects.filter(pk__in=mine, status__in=OPEN_SESSION).exists()


def _note_missed(schedule: Schedule, first: datetime, number: int) -> None:
    times = "once" if number == 1 else f"{number} times"
    logger.warning("schedule %s was missed %s since %s", schedule.pk, times, first.isoformat())
    stopped = frozen_since(first) > timedelta()
    why = (
        f"All agents were stopped, so it was not started {times}."
        if stopped
        else (f"Nobody was there to start it {times}.")
    )
    ScheduledRun.objects.create(
        schedule=schedule, due_at=first, status=ScheduledRun.Status.MISSED, number=number, detail=why
    )


def _read() -> QuerySet[Any]:
    """Schedules annotated with ``read_at``, the database's current time."""
    return Schedule.objects.annotate(read_at=Now())


def _locked_own_schedule(schedule_id: UUID, user: Any) -> Any:
    find_schedule(schedule_id)
    schedule = _read().select_for_update().get(pk=schedule_id)
    if schedule.requested_by != user.get_username() and not may(user, Right.ADMINISTER):
        raise Forbidden("Only the person who made a schedule, or an administrator, may change it.")
    return schedule


def refuse_unfit(user: Any, session: Mapping[str, Any], timing: Timing) -> None:
    """
    Raises:
        Invalid, Forbidden: as ``save_schedule``.
    """
    fields: dict[str, list[str]] = {}
    try:
        starts.refuse_unfit(user, session)
    except Invalid as error:
        given = error.facts.get("fields")
        fields = {f"session.{name}": texts for name, texts in given.items()} if isinstance(given, dict) else {}
    for name, check in (("cron", lambda: timing.cron and due.cron_line(timing.cron)),
                        ("timezone", lambda: due.zone(timing.timezone))):  # fmt: skip
        try:
            check()
        except ValueError as error:
            fields[name] = [str(error)]
    if (timing.cron == "") == (timing.every_seconds is None):
        fields.setdefault("cron", ["Give either cron or every_seconds."])
    if timing.every_seconds is not None and not SHORTEST_S <= timing.every_seconds <= LONGEST_S:
        fields["every_seconds"] = [f"A number of seconds from {SHORTEST_S} to {LONGEST_S}."]
    if not fields and timing.cron and _next_after(datetime.now(UTC), timing) is None:
        fields["cron"] = ["This day never comes."]
    if fields:
        raise Invalid("The schedule cannot be kept like this.", fields)


def _when(timing: Timing) -> due.When:
    return due.When(cron=timing.cron, every_s=timing.every_seconds, timezone=timing.timezone)


def _next_after(moment: datetime, timing: Timing, *, last: datetime | None = None) -> datetime | None:
    return due.after(moment, _when(timing), last=last)


def _sync_beat_entry(schedule: Schedule) -> None:
    """Write the entry of celery beat for the schedule.

    Beat only triggers a check; the row says whether it is due.
    """
    at: dict[str, Any] = {"crontab": None, "interval": None}
    if schedule.every_seconds is not None:
        every = {"every": schedule.every_seconds, "period": IntervalSchedule.SECONDS}
        at["interval"] = IntervalSchedule.objects.get_or_create(**every)[0]
    else:
        minute, hour, day_of_month, month_of_year, day_of_week = schedule.cron.split()
        at["crontab"] = CrontabSchedule.objects.filter(
            minute=minute, hour=hour, day_of_month=day_of_month, month_of_year=month_of_year, day_of_week=day_of_week,
            timezone=schedule.timezone,
        ).first() or CrontabSchedule.objects.create(
            minute=minute, hour=hour, day_of_month=day_of_month, month_of_year=month_of_year, day_of_week=day_of_week,
            timezone=schedule.timezone,
        )  # fmt: skip
    PeriodicTask.objects.update_or_create(
        name=_beat_name(schedule.pk),
        defaults={
            "task": TASK, "kwargs": json.dumps({"schedule_id": str(schedule.pk)}), "enabled": schedule.enabled,
            "description": f"Starts “{schedule.title}”; change it under Schedules.",
            "expire_seconds": int(LATE_AFTER.total_seconds()), **at,
        },
    )  # fmt: skip


def _beat_name(schedule_id: UUID) -> str:
    return f"schedule {schedule_id}"


def _sentence(error: OrchestraError) -> str:
    fields = error.facts.get("fields")
    more = "; ".join(f"{name}: {' '.join(texts)}" for name, texts in fields.items()) if isinstance(fields, dict) else ""
    return f"{error.detail} {more}".strip()
