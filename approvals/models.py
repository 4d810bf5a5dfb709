"""Approval requests with their decisions, and the audit, rules, callbacks, violations and stops
around them.
"""

from urllib.parse import urlsplit

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.db.models.lookups import IsNull

from approvals.deadlines import NEVER
from orchestra.db.transitions import Flow
from orchestra.models import Archive, Base


class DecisionSource(models.TextChoices):
    """The surface through which a decision, or another change, came in."""

    TELEGRAM = "telegram"
    ADMIN = "admin"
    API = "api"
    DASHBOARD = "dashboard"
    WEBSOCKET = "websocket"
    CLI = "cli"
    POLICY = "policy"
    SYSTEM = "system"


class Approval(Base):
    """One approval request, its one decision, and its deadline.

    ``tool_input``, ``updated_input``, ``options`` and ``answers`` hold exact JSON text (ASCII,
    escapes kept): a JSON column would reorder, round or refuse some of what an agent may send.
    ``subject`` identifies what the request is about; it is opaque to this app
    (``session:<uuid>:<tool use id>``). ``reopened_from`` and ``reopened_as`` are not foreign keys,
    because retention removes the older request first.
    """

    class Kind(models.TextChoices):
        TOOL = "tool"
        QUESTION = "question"
        PLAN = "plan"
        EXTERNAL = "external"

    class Status(models.TextChoices):
        PENDING = "pending"
        APPROVED = "approved"
        REJECTED = "rejected"
        EXPIRED = "expired"
        CANCELLED = "cancelled"

    class Risk(models.TextChoices):
        LOW = "low"
        MEDIUM = "medium"
        HIGH = "high"

    class Scope(models.TextChoices):
        ONCE = "once"
        SESSION = "session"

    kind = models.CharField(max_length=10, choices=Kind, default=Kind.TOOL)
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    title = models.CharField(max_length=300)
    summary = models.CharField(max_length=500, blank=True)
    body = models.TextField(blank=True)
    facts = models.JSONField(default=dict, blank=True)
    options = models.TextField(blank=True)
    tool_name = models.CharField(max_length=200, blank=True)
    tool_input = models.TextField(blank=True)
    input_digest = models.CharField(max_length=64, blank=True)
    risk = models.CharField(max_length=6, choices=Risk, default=Risk.MEDIUM)
    risk_reason = models.CharField(max_length=300, blank=True)
    working_directory = models.TextField(blank=True)
    subject = models.CharField(max_length=300, blank=True)
    session = models.UUIDField(null=True, blank=True, db_index=True)
    requested_by = models.CharField(max_length=150, blank=True)
    expires_at = models.DateTimeField()
    reminded_for = models.DateTimeField(null=True, blank=True, help_text="The deadline that people were reminded of.")

    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)
    decided_via = models.CharField(max_length=10, choices=DecisionSource, blank=True)
    reason = models.TextField(blank=True)
    note = models.TextField(
        blank=True, db_default="", help_text="Guidance given with an approval; the agent reads it with the result."
    )
    note_delivered_at = models.DateTimeField(null=True, blank=True)
    updated_input = models.TextField(blank=True)
    run_digest = models.CharField(max_length=64, blank=True)
    answers = models.TextField(blank=True)
    scope = models.CharField(max_length=7, choices=Scope, default=Scope.ONCE)
    consumed_at = models.DateTimeField(null=True, blank=True)
    counted = models.BooleanField(default=False)
    reopened_from = models.UUIDField(
        null=True, blank=True, unique=True, help_text="The closed request that was asked again with this one."
    )
    reopened_as = models.UUIDField(null=True, blank=True, help_text="The request that asks this one again.")
    legal_hold = models.BooleanField(
        default=False, db_default=False, help_text="Kept, whatever its age, until the hold is released."
    )

    class Meta:
        db_table = "approvals"
        ordering = ["-created_at"]
        permissions = [  # orchestra.auth.permissions
            ("decide_approval", "Can answer approvals"),
            ("request_approval", "Can send requests from programs and read its own"),
        ]
        constraints = [
            models.CheckConstraint(
                name="pending_exactly_while_undecided",
                condition=Q(status="pending", decided_at__isnull=True)
                | (~Q(status="pending") & Q(decided_at__isnull=False)),
            ),
            models.CheckConstraint(
                name="only_approved_is_consumed", condition=Q(consumed_at__isnull=True) | Q(status="approved")
            ),
            models.UniqueConstraint(
                name="one_pending_per_subject", fields=["subject"], condition=Q(status="pending") & ~Q(subject="")
            ),
        ]
        indexes = [
            models.Index(name="approvals_due", fields=["expires_at"], condition=Q(status="pending")),
            models.Index(name="approvals_open_by_session", fields=["session"], condition=Q(status="pending")),
            models.Index(
                name="approvals_uncounted", fields=["decided_at"], condition=Q(counted=False) & ~Q(status="pending")
            ),
            models.Index(
                name="approvals_by_decision",
                fields=["decided_at", "status", "decided_via"],
                condition=Q(decided_at__isnull=False),
            ),
            models.Index(name="approvals_by_time", fields=["-created_at", "id"]),
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.status})"

    @property
    def is_open(self) -> bool:
        return self.status == self.Status.PENDING

    @property
    def never_expires(self) -> bool:
        return self.expires_at == NEVER

    @property
    def is_demo(self) -> bool:
        """Whether the scripted demo agent made the request."""
        return bool(self.facts.get("agent") == "demo")


APPROVAL_FLOW = Flow(
    {
        Approval.Status.PENDING: frozenset(
            {Approval.Status.APPROVED, Approval.Status.REJECTED, Approval.Status.EXPIRED, Approval.Status.CANCELLED}
        )
    }
)


class Callback(Base):
    """An outbox row: the outcome to post to the program that made the request.

    The row waits until the receiver accepts the post or the last attempt has failed.
    """

    class Status(models.TextChoices):
        WAITING = "waiting"
        DELIVERED = "delivered"
        FAILED = "failed"

    approval = models.OneToOneField(Approval, on_delete=models.CASCADE, related_name="callback")
    url = models.TextField()
    status = models.CharField(max_length=9, choices=Status, default=Status.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(db_default=Now())
    last_error = models.CharField(max_length=200, blank=True)

    class Meta:
        db_table = "callbacks"
        indexes = [models.Index(name="callbacks_due", fields=["next_try_at"], condition=Q(status="waiting"))]

    def __str__(self) -> str:
        return f"{self.host} ({self.status})"

    @property
    def host(self) -> str:
        """Host and port alone: the rest of the address may contain a secret of the receiver."""
        return urlsplit(self.url).netloc


CALLBACK_FLOW = Flow({Callback.Status.WAITING: frozenset({Callback.Status.DELIVERED, Callback.Status.FAILED})})


class AuditEntry(models.Model):
    """One attempt to change an approval, whether it had an effect (``won``) or not.

    The entry is written in the transaction of the change and never edited. ``digest`` is that of
    the input that would have run. ``address`` is the network address of the person, or the Telegram
    user, chat and update.
    """

    id = models.BigAutoField(primary_key=True)
    approval = models.ForeignKey(
        Approval, on_delete=models.PROTECT, related_name="audit", null=True, db_constraint=True
    )
    at = models.DateTimeField(db_default=Now(), editable=False)
    action = models.CharField(max_length=20)
    won = models.BooleanField()
    by = models.CharField(max_length=150, blank=True)
    via = models.CharField(max_length=10, choices=DecisionSource)
    address = models.CharField(max_length=200, blank=True)
    reason = models.TextField(blank=True)
    digest = models.CharField(max_length=64, blank=True)

    class Meta:
        db_table = "audit_entries"
        ordering = ["id"]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.action} by {self.by or 'nobody'} via {self.via} ({'won' if self.won else 'lost'})"


class Violation(Base):
    """A tool that ran although no decision of its run allowed it. Every page shows it until it is
    acknowledged.

    ``session`` and ``run`` are not foreign keys, because the record is kept longer than both.
    """

    session = models.UUIDField()
    run = models.UUIDField()
    requested_by = models.CharField(max_length=150, blank=True)
    tool_name = models.CharField(max_length=200)
    tool_use_id = models.CharField(max_length=200)
    tool_input = models.TextField(blank=True, help_text="JSON text of the input that ran, perhaps cut.")
    reason = models.CharField(max_length=200)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=150, blank=True)

    class Meta:
        db_table = "violations"
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(name="one_violation_per_call", fields=["run", "tool_use_id"])]
        indexes = [
            models.Index(name="violations_open", fields=["created_at"], condition=Q(acknowledged_at__isnull=True))
        ]

    def __str__(self) -> str:
        return f"{self.tool_name} ran unapproved"


class AuditSeal(models.Model):
    """One link of the hash chain over the audit, in the order of sealing; see
    ``approvals.audit.chain``.

    ``entry`` is the id of an audit entry and not a foreign key: the seal stays when the entry is
    gone, and shows that it is missing.
    """

    number = models.BigIntegerField(primary_key=True)
    entry = models.BigIntegerField(unique=True)
    content_sha256 = models.CharField(max_length=64)
    chain_sha256 = models.CharField(max_length=64)
    sealed_at = models.DateTimeField(db_default=Now(), editable=False)
    archive = models.ForeignKey(
        Archive, on_delete=models.PROTECT, related_name="+", null=True, help_text="Where the entry went."
    )

    class Meta:
        db_table = "audit_seals"
        ordering = ["number"]

    def __str__(self) -> str:
        return f"seal {self.number} of entry {self.entry}"


class Rule(Base):
    """A policy rule: allow, deny or ask for calls of a tool that match a pattern, within a scope.

    ``scope_value`` is the session's UUID or the directory's real path, and empty for the scope
    everywhere. ``pattern`` is a glob over the tool's telling argument (command, path or URL); an
    empty one matches every call. A pattern for commands may end in ``:*``, which matches whole
    words. A pattern that is a JSON object without wildcards is compared with the whole input.
    """

    class Effect(models.TextChoices):
        ALLOW = "allow"
        DENY = "deny"
        ASK = "ask"

    class ScopeKind(models.TextChoices):
        SESSION = "session"
        DIRECTORY = "directory"
        EVERYWHERE = "everywhere"

    effect = models.CharField(max_length=5, choices=Effect)
    tool = models.CharField(max_length=200, help_text="A tool's name, or a glob such as mcp__github__*.")
    pattern = models.TextField(blank=True)
    scope = models.CharField(max_length=10, choices=ScopeKind, default=ScopeKind.SESSION)
    scope_value = models.CharField(max_length=500, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    uses = models.PositiveIntegerField(default=0)
    max_uses = models.PositiveIntegerField(null=True, blank=True)
    note = models.CharField(max_length=300, blank=True)
    created_by = models.CharField(max_length=150, blank=True)
    made_for = models.CharField(
        max_length=150,
        blank=True,
        db_default="",
        help_text="Whose requests a rule of a session lets pass; empty: those of who made it.",
    )

    class Meta:
        db_table = "rules"
        indexes = [models.Index(name="rules_by_scope", fields=["scope", "scope_value"])]

    def __str__(self) -> str:
        return f"{self.effect} {self.tool}({self.pattern or '*'})"


class Stop(Base):
    """One period in which all agents are stopped; in force while ``lifted_at`` is null. See
    ``approvals.stop.commands``.

    The deadlines of open requests stand still from ``started_at`` on; lifting the stop adds the
    lost time to them.
    """

    class Mode(models.TextChoices):
        HOLD = "hold", "running turns wait at their next tool call"
        INTERRUPT = "interrupt", "running turns are interrupted"

    started_at = models.DateTimeField(db_default=Now(), editable=False)
    started_by = models.CharField(max_length=150)
    started_via = models.CharField(max_length=10, choices=DecisionSource)
    reason = models.TextField(blank=True)
    mode = models.CharField(max_length=9, choices=Mode, default=Mode.HOLD)
    lifted_at = models.DateTimeField(null=True, blank=True)
    lifted_by = models.CharField(max_length=150, blank=True)
    lifted_via = models.CharField(max_length=10, choices=DecisionSource, blank=True)

    class Meta:
        db_table = "stops"
        ordering = ["-started_at"]
        constraints = [
            models.UniqueConstraint(
                IsNull(F("lifted_at"), True), name="one_stop_in_force", condition=Q(lifted_at__isnull=True)
            )
        ]

    def __str__(self) -> str:
        return f"stopped by {self.started_by} at {self.started_at:%Y-%m-%d %H:%M} UTC"

    @property
    def is_in_force(self) -> bool:
        return self.lifted_at is None


class StopSwitch(models.Model):
    """The single row that each statement which allows a tool call reads and locks: the stop in
    force, or null.

    A condition on the table ``stops`` is not enough on PostgreSQL: a statement that started before
    the stop committed could still allow a call afterwards. See ``stop.commands.not_stopped``.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    stop = models.OneToOneField(Stop, on_delete=models.PROTECT, related_name="+", null=True)

    class Meta:
        db_table = "stop_switch"
        constraints = [models.CheckConstraint(name="one_stop_switch", condition=Q(id=1))]

    def __str__(self) -> str:
        return "stopped" if self.stop_id else "not stopped"
