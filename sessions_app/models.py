"""Agent sessions, their turns, CLI processes, permission requests, transcripts, agents and
schedules.
"""

from uuid import UUID

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from approvals.models import Approval
from orchestra.db.transitions import Flow
from orchestra.models import Base


class AgentSession(Base):
    """A dialog with an agent. Its primary key is the CLI's ``--session-id`` until ``/clear`` starts
    a new conversation.

    ``fence`` is the fencing token: each run that takes the session increases it, and every write of
    a supervisor filters on its own token. ``last_seq`` is the number of the newest transcript
    event. ``cost_usd`` is in US dollars, as the CLI reports it.
    """

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        WAITING = "waiting"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled"

    title = models.CharField(max_length=200)
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    agent = models.CharField(max_length=50, default="claude")
    model = models.CharField(max_length=100, blank=True)
    working_directory = models.TextField()
    options = models.JSONField(default=dict, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    requested_by = models.CharField(max_length=150, blank=True)
    host = models.CharField(max_length=200, blank=True)
    fence = models.BigIntegerField(default=0)
    last_seq = models.BigIntegerField(default=0)
    transcript_bytes = models.BigIntegerField(default=0, help_text="What the events of this session take up.")
    resumable = models.BooleanField(default=False, help_text="The CLI has a conversation under this id.")
    conversation = models.UUIDField(
        null=True, blank=True, help_text="The CLI's id of the dialog since it was cleared; empty: the session's own."
    )
    deferred_tool_use_id = models.CharField(
        max_length=200, blank=True, help_text="The call the CLI will repeat first when this dialog is resumed."
    )
    cost_usd = models.FloatField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    failure_code = models.CharField(max_length=50, blank=True)
    failure_detail = models.TextField(blank=True)
    trace_parent = models.CharField(
        max_length=55, blank=True, db_default="", help_text="W3C trace context of the request that started it."
    )
    legal_hold = models.BooleanField(
        default=False, db_default=False, help_text="Kept, whatever its age, until the hold is released."
    )

    class Meta:
        db_table = "agent_sessions"
        ordering = ["-created_at"]
        permissions = [  # orchestra.auth.permissions
            ("operate_agentsession", "Can start sessions, send messages, cancel"),
        ]
        indexes = [
            models.Index(name="sessions_by_status", fields=["status"]),
            models.Index(name="sessions_queued", fields=["created_at"], condition=Q(status="queued")),
            models.Index(name="sessions_running", fields=["created_at"], condition=Q(status="running")),
            models.Index(name="sessions_waiting", fields=["created_at"], condition=Q(status="waiting")),
            models.Index(name="sessions_by_time", fields=["-created_at", "id"]),
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.status})"

    @property
    def conversation_id(self) -> UUID:
        """The id to give to the CLI as ``--session-id``."""
        return self.conversation or self.pk


OPEN_SESSION = (AgentSession.Status.QUEUED, AgentSession.Status.RUNNING, AgentSession.Status.WAITING)
IDLE_SESSION = (AgentSession.Status.COMPLETED, AgentSession.Status.FAILED)
"""The last turn has ended, and the next message starts another."""

SESSION_FLOW = Flow(
    {
        AgentSession.Status.QUEUED: frozenset(
            {AgentSession.Status.RUNNING, *IDLE_SESSION, AgentSession.Status.CANCELLED}
        ),
        # running -> running: the row already holds a decision, so that no request is made
        AgentSession.Status.RUNNING: frozenset({*OPEN_SESSION, *IDLE_SESSION, AgentSession.Status.CANCELLED}),
        # waiting -> waiting: a second call of the same message makes a request while the first
        # waits
        AgentSession.Status.WAITING: frozenset({*OPEN_SESSION, *IDLE_SESSION, AgentSession.Status.CANCELLED}),
        AgentSession.Status.COMPLETED: frozenset({AgentSession.Status.QUEUED, AgentSession.Status.CANCELLED}),
        AgentSession.Status.FAILED: frozenset({AgentSession.Status.QUEUED, AgentSession.Status.CANCELLED}),
    }
)


class Turn(Base):
    """One prompt and its result. ``dispatched_at`` is when ``run_turn`` was last sent for it."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        COMPLETED = "completed"
        FAILED = "failed"
        INTERRUPTED = "interrupted"
        CANCELLED = "cancelled"

    session = models.ForeignKey(AgentSession, on_delete=models.CASCADE, related_name="turns")
    number = models.PositiveIntegerField()
    prompt = models.TextField()
    requested_by = models.CharField(
        max_length=150, blank=True, db_default="", help_text="Who sent the prompt; empty: who started the session."
    )
    attachments = models.JSONField(
        default=list, blank=True, db_default=[], help_text="Files read for the prompt: path, bytes, sha256."
    )
    status = models.CharField(max_length=11, choices=Status, default=Status.QUEUED)
    result = models.TextField(blank=True)
    cost_usd = models.FloatField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reopened = models.UUIDField(
        null=True,
        blank=True,
        unique=True,
        help_text="The request that was asked again and approved, which started this turn.",
    )
    dispatched_at = models.DateTimeField(null=True, blank=True)
    interrupt_requested_at = models.DateTimeField(null=True, blank=True)
    lost_runs = models.PositiveSmallIntegerField(default=0)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    failure_code = models.CharField(max_length=50, blank=True)
    failure_detail = models.TextField(blank=True)

    class Meta:
        db_table = "turns"
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(name="one_turn_per_number", fields=["session", "number"]),
            models.UniqueConstraint(
                name="one_open_turn", fields=["session"], condition=Q(status__in=["queued", "running"])
            ),
        ]
        indexes = [
            models.Index(name="turns_queued", fields=["dispatched_at"], condition=Q(status="queued")),
            models.Index(
                name="turns_by_end", fields=["finished_at", "cost_usd"], condition=Q(finished_at__isnull=False)
            ),
            models.Index(name="turns_running", fields=["session"], condition=Q(status="running")),
        ]

    def __str__(self) -> str:
        return f"turn {self.number} ({self.status})"


TURN_FLOW = Flow(
    {
        Turn.Status.QUEUED: frozenset(
            {Turn.Status.RUNNING, Turn.Status.FAILED, Turn.Status.INTERRUPTED, Turn.Status.CANCELLED}
        ),
        Turn.Status.RUNNING: frozenset(set(Turn.Status) - {Turn.Status.RUNNING}),
    }
)
OPEN_TURN = (Turn.Status.QUEUED, Turn.Status.RUNNING)


class Run(Base):
    """One CLI process under one supervisor. It is live while ``ended_at`` is null and the heartbeat
    is fresh.

    ``pid`` with ``pid_started`` (seconds since the epoch) identifies the process on ``host`` even
    after the system reuses the pid; ``worker_pid`` with ``worker_started`` identifies its worker.
    """

    session = models.ForeignKey(AgentSession, on_delete=models.CASCADE, related_name="runs")
    turn = models.ForeignKey(Turn, on_delete=models.CASCADE, related_name="runs")
    fence = models.BigIntegerField()
    host = models.CharField(max_length=200)
    worker_pid = models.IntegerField()
    worker_started = models.FloatField()
    pid = models.IntegerField(null=True, blank=True)
    pid_started = models.FloatField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    exit_code = models.IntegerField(null=True, blank=True)
    ended_why = models.CharField(max_length=50, blank=True)
    stderr_tail = models.TextField(blank=True)
    cost_usd = models.FloatField(db_default=0)
    input_tokens = models.BigIntegerField(db_default=0)
    output_tokens = models.BigIntegerField(db_default=0)
    counted = models.BooleanField(db_default=False, help_text="The tallies hold it.")

    class Meta:
        db_table = "runs"
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(name="one_live_run", fields=["session"], condition=Q(ended_at__isnull=True)),
            models.UniqueConstraint(name="one_run_per_fence", fields=["session", "fence"]),
        ]
        indexes = [
            models.Index(name="runs_live", fields=["heartbeat_at"], condition=Q(ended_at__isnull=True)),
            models.Index(
                name="runs_uncounted", fields=["ended_at"], condition=Q(counted=False, ended_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"run {self.fence} on {self.host}"


class PermissionRequest(Base):
    """Links a tool call of a session to the approval that decides it.

    The CLI's ``request_id`` is valid in one process only; ``tool_use_id`` is valid in the whole
    conversation.
    """

    session = models.ForeignKey(AgentSession, on_delete=models.CASCADE, related_name="permission_requests")
    turn = models.ForeignKey(Turn, on_delete=models.CASCADE, related_name="permission_requests")
    approval = models.OneToOneField(Approval, on_delete=models.PROTECT, related_name="+")
    request_id = models.CharField(max_length=200)
    tool_use_id = models.CharField(max_length=200)
    agent_id = models.CharField(max_length=200, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    put_off = models.BooleanField(
        default=False, db_default=False,
        help_text="A call before it in the same message was parked; the agent makes this one again, under another id.",
    )  # fmt: skip

    class Meta:
        db_table = "permission_requests"
        indexes = [
            models.Index(name="requests_by_tool_use", fields=["session", "tool_use_id"]),
            models.Index(name="requests_unanswered", fields=["session"], condition=Q(answered_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.tool_use_id


class Event(models.Model):
    """One event of a transcript. ``payload`` is ASCII JSON text, kept as it was received."""

    class Kind(models.TextChoices):
        PROMPT = "prompt"
        TEXT = "text"
        THINKING = "thinking"
        TOOL_USE = "tool_use"
        TOOL_RESULT = "tool_result"
        APPROVAL = "approval"
        STATUS = "status"
        API_RETRY = "api_retry"
        SYSTEM = "system"
        RAW = "raw"
        RESULT = "result"

    id = models.BigAutoField(primary_key=True)
    session = models.ForeignKey(AgentSession, on_delete=models.CASCADE, related_name="events")
    seq = models.BigIntegerField()
    kind = models.CharField(max_length=11, choices=Kind)
    at = models.DateTimeField(db_default=Now())
    payload = models.TextField()

    class Meta:
        db_table = "events"
        ordering = ["seq"]
        constraints = [models.UniqueConstraint(name="one_event_per_seq", fields=["session", "seq"])]

    def __str__(self) -> str:
        return f"{self.seq} {self.kind}"


class Agent(Base):
    """A CLI that discovery found on a host."""

    class Status(models.TextChoices):
        READY = "ready"
        NOT_LOGGED_IN = "not_logged_in"
        MISSING = "missing"
        UNFIT = "unfit"

    name = models.CharField(max_length=50)
    host = models.CharField(max_length=200)
    path = models.TextField(blank=True)
    version = models.CharField(max_length=50, blank=True)
    status = models.CharField(max_length=13, choices=Status)
    logged_in = models.BooleanField(null=True, blank=True)
    detail = models.CharField(max_length=500, blank=True)
    tested = models.CharField(
        max_length=200, blank=True, help_text="The program that passed or failed the self-test last."
    )
    tested_problem = models.CharField(max_length=500, blank=True)
    last_seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "agents"
        ordering = ["host", "name"]
        constraints = [models.UniqueConstraint(name="one_agent_per_host", fields=["host", "name"])]

    def __str__(self) -> str:
        return f"{self.name} on {self.host}"


class Schedule(Base):
    """A session that is started repeatedly, with the rights that ``requested_by`` has at each
    start.

    ``session`` is the body of ``POST /api/sessions``. Either ``cron`` (five fields, in
    ``timezone``) or ``every_seconds`` is given. A conditional UPDATE moves ``next_due_at`` forward,
    so that of several concurrent processes exactly one starts the session.
    """

    class Overlap(models.TextChoices):
        SKIP = "skip", "skip: do not start while the last one is open"
        QUEUE = "queue", "queue: start when the last one has ended"
        ALLOW = "allow", "allow: start beside it"

    title = models.CharField(max_length=200)
    session = models.JSONField()
    cron = models.CharField(max_length=100, blank=True)
    every_seconds = models.PositiveIntegerField(null=True, blank=True)
    timezone = models.CharField(max_length=64, default="UTC")
    overlap = models.CharField(max_length=5, choices=Overlap, default=Overlap.SKIP)
    enabled = models.BooleanField(default=True)
    requested_by = models.CharField(max_length=150)
    next_due_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "schedules"
        ordering = ["title", "id"]
        constraints = [
            models.CheckConstraint(
                name="cron_or_interval",
                condition=Q(cron="", every_seconds__isnull=False) | (~Q(cron="") & Q(every_seconds__isnull=True)),
            )
        ]
        indexes = [models.Index(name="schedules_due", fields=["next_due_at"], condition=Q(enabled=True))]

    def __str__(self) -> str:
        return self.title


class ScheduledRun(Base):
    """The outcome of one time a schedule was due, or of ``number`` consecutive times that were
    missed.

    ``session`` is deliberately no foreign key: retention deletes sessions, and this row stays until
    its own retention is over.
    """

    class Status(models.TextChoices):
        STARTED = "started"
        QUEUED = "queued"
        SKIPPED = "skipped"
        REFUSED = "refused"
        MISSED = "missed"

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="runs")
    due_at = models.DateTimeField()
    status = models.CharField(max_length=7, choices=Status)
    number = models.PositiveIntegerField(default=1)
    session = models.UUIDField(null=True, blank=True)
    detail = models.CharField(max_length=500, blank=True)

    class Meta:
        db_table = "scheduled_runs"
        ordering = ["-due_at", "-created_at"]
        indexes = [
            models.Index(name="scheduled_runs_queued", fields=["schedule"], condition=Q(status="queued")),
            models.Index(name="scheduled_runs_by_time", fields=["schedule", "-due_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.status} {self.due_at}"


SCHEDULED_RUN_FLOW = Flow(
    {
        ScheduledRun.Status.QUEUED: frozenset(
            {ScheduledRun.Status.STARTED, ScheduledRun.Status.REFUSED, ScheduledRun.Status.SKIPPED}
        )
    }
)
