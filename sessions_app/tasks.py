"""Celery tasks: thin shells around commands.

A message is a hint; the rows say what is to be done.
"""

from functools import partial
from uuid import UUID

from celery import shared_task

from orchestra.db.sweeps import process_each
from sessions_app import dispatch, metrics, reopened
from sessions_app.agents import discovery
from sessions_app.schedules import commands as schedules
from sessions_app.supervisor import leases, worker


@shared_task(name="sessions_app.run_turn", ignore_result=True)
def run_turn(turn_id: str) -> str:
    """Supervise one turn to its end, on this thread; a duplicate or late message does nothing.

    The message is acknowledged early: the run's heartbeat, not the broker, shows whether the
    process is alive.
    """
    return worker.take_turn(UUID(turn_id))


@shared_task(name="sessions_app.dispatch_queued_turns", ignore_result=True)
def dispatch_queued_turns() -> int:
    """Send ``run_turn`` again for turns that no worker has taken."""
    return dispatch.dispatch_queued_turns()


@shared_task(name="sessions_app.resume_answered", ignore_result=True)
def resume_answered() -> int:
    """Sweep: continue parked sessions and reopened requests whose decision's notification was lost."""
    resumed = process_each(leases.answered_parked_sessions(), leases.resume_answered)
    return resumed + process_each(reopened.grants_awaiting_turn(), reopened.start_turn_for_grant)


@shared_task(name="sessions_app.reclaim_lost_runs", ignore_result=True)
def reclaim_lost_runs() -> int:
    """End the runs whose worker is gone, and queue or end their turns."""
    return process_each(leases.lost_runs(), partial(leases.reclaim, why="The worker that ran the agent was lost."))


@shared_task(name="sessions_app.ask_for_discovery", ignore_result=True)
def ask_for_discovery() -> None:
    """Send ``discover_agents`` to every host with agents: only the host itself sees its programs."""
    dispatch.dispatch_discovery()


@shared_task(name="sessions_app.discover_agents", ignore_result=True)
def discover_agents() -> None:
    """Look for agents on this host, and run the self-test of those that are new."""
    discovery.check_agents(discovery.discover_agents())


@shared_task(name="sessions_app.count_ended_runs", ignore_result=True)
def count_ended_runs() -> int:
    """Move ended runs into the counters that outlive them."""
    return metrics.count_ended_runs()


@shared_task(name="sessions_app.count_sessions", ignore_result=True)
def count_sessions() -> dict[str, int]:
    """Count the ended sessions, so that a metrics scrape need not."""
    return metrics.count_sessions()


@shared_task(name="sessions_app.start_scheduled_session", ignore_result=True)
def start_scheduled_session(schedule_id: str) -> None:
    """Beat sends this when a schedule is due; a duplicate, late or needless message does no harm."""
    schedules.start_due(UUID(schedule_id))


@shared_task(name="sessions_app.start_due_schedules", ignore_result=True)
def start_due_schedules() -> int:
    """Sweep: start due schedules that beat missed, and runs that waited for their predecessor."""
    return schedules.start_all_due()
