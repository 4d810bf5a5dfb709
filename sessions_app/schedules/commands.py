"""Schedules: making and changing them, and starting what is due, once, however many clocks ring."""

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

R = ScheduledRun.Status
TASK = "sessions_app.start_scheduled_session"
EARLY = timedelta(seconds=2)  # beat's clock may be ahead of the database's
LATE_AFTER = timedelta(minutes=5)  # a run that nobody started by then is missed, and not made up for
SHORTEST_S, LONGEST_S = 60, 366 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a schedule is due, and what if the last session is still open."""

    cron: str = ""
    every_seconds: int | None = None
    timezone: str = "UTC"
    overlap: str = Schedule.Overlap.SKIP
    enabled: bool = True


def save_schedule(
    *, user: Any, title: str, session: Mapping[str, Any], timing: Timing, schedule_id: UUID | None = None
) -> Schedule:
    """Make a schedule, or change one; it runs in the name of whoever did that last.

    Otherwise an administrator's prompt would run with the rights, and for the answers, of somebody else.

    Raises:
        Invalid: ``fields`` names what is wrong, that of the session as ``session.<name>``.
        Forbidden: the schedule is somebody else's, or the session needs a right that ``user`` lacks.
        ScheduleNotFound: there is none to change.
    """
    wanted = {name: value for name, value in session.items() if value is not None}
    refuse_unfit(user, wanted, timing)
    now = datetime.now(UTC)
    with transaction.atomic():
        if schedule_id is not None:
            _own(schedule_id, user)
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
            _tell_beat(schedule)
    logger.info("schedule %s saved by %s", schedule.pk, schedule.requested_by)
    return find_schedule(schedule.pk)


def delete_schedule(*, schedule_id: UUID, user: Any) -> None:
    """Remove a schedule and what it remembers; sessions it started stay.

    Raises:
        ScheduleNotFound, Forbidden: as for changing.
    """
    with transaction.atomic():
        _own(schedule_id, user).delete()
        with recorded_elsewhere():
            PeriodicTask.objects.filter(name=_beat_name(schedule_id)).delete()


def find_schedule(schedule_id: UUID) -> Schedule:
    """
    Raises:
        ScheduleNotFound: there is none.
    """
    found = Schedule.objects.filter(pk=schedule_id).first()
    if found is None:
        raise ScheduleNotFound("Schedule not found")
    return found


def start_due(schedule_id: UUID) -> ScheduledRun | None:
    """Start a schedule's session if it is due; None if it is not, or another process did.

    Times that passed unseen for longer than five minutes are noted as missed, in one row, and not made up for. While
    all agents are stopped nothing is due: after the lift it is started once, or noted as missed, by the same rule.
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
    """The sweep behind the ticks: what is due, and what waited for its predecessor to end; return how many started."""
    ready = Schedule.objects.filter(~stop_in_force(), enabled=True, next_due_at__lte=Now())
    started = process_each(list(ready.order_by("next_due_at").values_list("pk", flat=True)), _starts)
    waiting = ScheduledRun.objects.filter(~stop_in_force(), status=R.QUEUED).order_by("due_at")
    return started + process_each(list(waiting.values_list("pk", flat=True)), _start_waiting)


def _starts(schedule_id: UUID) -> bool:
    run = start_due(schedule_id)
    return run is not None and run.status == R.STARTED


def start_now(*, schedule_id: UUID, user: Any) -> ScheduledRun:
    """Start a schedule's session once, out of turn, by its own rules.

    Raises:
        ScheduleNotFound, Forbidden: as for changing.
    """
    with transaction.atomic():
        schedule = _own(schedule_id, user)
        return _run(schedule, schedule.read_at)


def forget_old(age: timedelta) -> int:
    """Delete what became of times longer ago than that."""
    return ScheduledRun.objects.filter(created_at__lt=Now() - age).delete()[0]


def timing_of(schedule: Schedule) -> Timing:
    return Timing(**{name: getattr(schedule, name) for name in Timing.__dataclass_fields__})


def begin_anew(why: str) -> None:
    """After a restore: what was due since is not made up for, and what waited does not start."""
    SCHEDULED_RUN_FLOW.move(ScheduledRun.objects.all(), to=R.SKIPPED, detail=why)
    for schedule in Schedule.objects.all():
        following = _next_after(datetime.now(UTC), timing_of(schedule))
        Schedule.objects.filter(pk=schedule.pk).update(next_due_at=following)


def _run(schedule: Schedule, due_at: datetime) -> ScheduledRun:
    """Start it, or note why not; in the caller's transaction, so that the session and the note commit together."""
    status, session, detail = _try(schedule)
    return ScheduledRun.objects.create(
        schedule=schedule, due_at=due_at, status=status, session=session, detail=detail[:500]
    )


def _try(schedule: Schedule, *, waited: bool = False) -> tuple[str, UUID | None, str]:
    if schedule.overlap != Schedule.Overlap.ALLOW and _last_is_open(schedule):
        if schedule.overlap == Schedule.Overlap.SKIP:
            return R.SKIPPED, None, "The session before is still open."
        if schedule.runs.filter(status=R.QUEUED).exists() and not waited:
            return R.SKIPPED, None, "The session before is still open, and one waits already."
        return R.QUEUED, None, "Waits until the session before has ended."
    user = User.objects.filter(username=schedule.requested_by).first()
    if user is None or not may(user, Right.OPERATE):
        return R.REFUSED, None, f"{schedule.requested_by} may not start sessions (any more)."
    try:
        with transaction.atomic():
            session = starts.start(user, schedule.session | {"title": schedule.title})
    except OrchestraError as error:
        logger.warning("schedule %s refused: %s", schedule.pk, error.detail)
        return R.REFUSED, None, _sentence(error)
    logger.info("schedule %s started session %s", schedule.pk, session.pk)
    return R.STARTED, session.pk, ""


def _start_waiting(run_id: UUID) -> bool:
    with transaction.atomic():
        run = ScheduledRun.objects.select_for_update().select_related("schedule").filter(pk=run_id).first()
        if run is None or run.status != R.QUEUED or not run.schedule.enabled:
            return False
        status, session, detail = _try(run.schedule, waited=True)
        if status == R.QUEUED:
            return False
        own = ScheduledRun.objects.filter(pk=run_id)
        return bool(SCHEDULED_RUN_FLOW.move(own, to=status, session=session, detail=detail)) and status == R.STARTED


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
    ScheduledRun.objects.create(schedule=schedule, due_at=first, status=R.MISSED, number=number, detail=why)


def _read() -> QuerySet[Any]:
    """Schedules with ``read_at``, the database's time."""
    return Schedule.objects.annotate(read_at=Now())


def _own(schedule_id: UUID, user: Any) -> Any:
    find_schedule(schedule_id)
    schedule = _read().select_for_update().get(pk=schedule_id)
    if schedule.requested_by != user.get_username() and not may(user, Right.ADMINISTER):
        raise Forbidden("Only who made a schedule, or an administrator, may touch it.")
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


def _tell_beat(schedule: Schedule) -> None:
    """Have beat ring for it; whether it is due is judged by the row."""
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
