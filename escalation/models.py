"""The outbox, the messages in chats, their buttons, and the people who use them."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from approvals.models import Approval
from orchestra.db.transitions import Flow
from orchestra.models import Base


class Delivery(Base):
    """One approval request that one channel has to show.

    ``next_try_at`` is when the row is due: to be sent while ``waiting``, to be updated while
    ``sent``. A process that claims the row moves this time ahead. ``failed``: Telegram refused the
    message in every form; it is retried slowly until the approval closes. ``doubtful``: the
    response to a send was lost, so an unknown copy may exist in the chat. ``shown_deadline`` is the
    deadline that the messages show, ``reminded_for`` the deadline that people were last reminded
    of.
    """

    class Status(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        SETTLED = "settled"
        FAILED = "failed"

    approval = models.ForeignKey(Approval, on_delete=models.CASCADE, related_name="+")
    channel = models.CharField(max_length=20, default="telegram")
    status = models.CharField(max_length=10, choices=Status, default=Status.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(db_default=Now())
    last_error = models.CharField(max_length=300, blank=True)
    doubtful = models.BooleanField(default=False)
    shown_deadline = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    reminded_for = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "deliveries"
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["approval", "channel"], name="one_delivery_per_approval_and_channel")
        ]
        indexes = [
            models.Index(name="deliveries_due", fields=["next_try_at"], condition=Q(status="waiting")),
            models.Index(name="deliveries_refused", fields=["next_try_at"], condition=Q(status="failed")),
            models.Index(name="deliveries_standing", fields=["next_try_at"], condition=Q(status="sent")),
        ]

    def __str__(self) -> str:
        return f"{self.channel} for {self.approval_id} ({self.status})"


Status = Delivery.Status
DELIVERY_FLOW = Flow(
    {
        Status.WAITING: frozenset({Status.SENT, Status.SETTLED, Status.FAILED}),
        Status.SENT: frozenset({Status.SETTLED, Status.FAILED, Status.WAITING}),  # the admin action "send again"
        Status.FAILED: frozenset({Status.WAITING, Status.SENT, Status.SETTLED}),
    }
)


class Message(Base):
    """One message in a chat that shows an approval request.

    A list shows several and has one row for each.

    ``text`` is the HTML as it was sent, without the outcome. ``live``: the message must be edited
    when the approval closes. ``value`` holds data of the channel, such as the answers chosen so
    far.
    """

    class Kind(models.TextChoices):
        CARD = "card"
        LIST = "list"
        DECISION = "rest", "what a cut card left out, with the buttons"
        REMINDER = "reminder"
        PROMPT = "prompt", "asks for words: a reason or a typed answer"
        COPY = "copy", "sent twice because an answer was lost"

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="messages")
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.CARD)
    chat = models.BigIntegerField()
    message = models.BigIntegerField()
    text = models.TextField(blank=True)
    live = models.BooleanField(default=True)
    value = models.JSONField(default=dict, blank=True)

    class Meta:
        db_table = "delivery_messages"
        constraints = [
            models.UniqueConstraint(fields=["chat", "message", "delivery"], name="one_row_per_message_and_delivery")
        ]
        indexes = [models.Index(name="messages_live", fields=["delivery"], condition=Q(live=True))]

    def __str__(self) -> str:
        return f"{self.kind} {self.chat}/{self.message}"


class Button(Base):
    """The meaning of one inline button, valid once, in one chat and message.

    The random token is stored as a hash. ``message`` is null until Telegram returns the number of
    the message. ``approval`` is null for a test card.
    """

    class Action(models.TextChoices):
        APPROVE = "approve"
        APPROVE_SESSION = "approve_session"
        REJECT = "reject", "reject, once a reason was given or did not come"
        NOTE = "note", "approve, with a note that is asked for"
        REOPEN = "reopen", "ask a closed request again"
        REJECT_NOW = "reject_now", "reject without waiting for a reason"
        KEEP_OPEN = "keep_open", "take a rejection back before it counts"
        SHOW = "show", "post the card of one approval of a list"
        SHOW_ALL = "show_all", "post what a cut card left out"
        OPTION = "option", "choose an answer; value: {question, label}"
        ANSWER = "answer", "type an answer; value: {question}"
        SUBMIT = "submit", "send the chosen answers"
        TEST = "test", "the test card was tapped"
        LIFT = "lift", "let all agents go on; value: {stop}"

    token_sha256 = models.CharField(max_length=64, unique=True)
    approval = models.ForeignKey(Approval, on_delete=models.CASCADE, related_name="+", null=True)
    action = models.CharField(max_length=20, choices=Action)
    value = models.JSONField(default=dict, blank=True)
    chat = models.BigIntegerField()
    message = models.BigIntegerField(null=True)
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "delivery_buttons"

    def __str__(self) -> str:
        return f"{self.action} for {self.approval_id}"


class Approver(Base):
    """The Telegram account of a person, confirmed by a one-time code (stored as SHA-256).

    The row identifies the person and grants nothing: the rights of the account are checked at each
    callback query.
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    telegram_user = models.BigIntegerField(null=True, blank=True, unique=True)
    telegram_name = models.CharField(max_length=150, blank=True)
    linked_at = models.DateTimeField(null=True, blank=True)
    code_sha256 = models.CharField(max_length=64, blank=True)
    code_expires_at = models.DateTimeField(null=True, blank=True)
    muted_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "approvers"

    def __str__(self) -> str:
        return str(self.user)


class Update(models.Model):
    """One update from Telegram, keyed by its exact id.

    After a quiet week Telegram may restart ids at a random number. ``payload`` is the JSON of an
    update that arrived by webhook and has not been applied yet.
    """

    update_id = models.BigIntegerField(primary_key=True)
    callback_id = models.CharField(max_length=100, null=True, unique=True)
    payload = models.TextField(blank=True)
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    applied_at = models.DateTimeField(null=True)
    failures = models.PositiveSmallIntegerField(default=0)

    class Meta:
        db_table = "telegram_updates"
        indexes = [
            models.Index(name="updates_unapplied", fields=["received_at"], condition=Q(applied_at__isnull=True)),
            models.Index(name="updates_by_age", fields=["received_at"]),
        ]

    def __str__(self) -> str:
        return str(self.update_id)
