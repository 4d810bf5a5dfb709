"""The outbox, the messages that stand in chats, their buttons, and the people who press them."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from approvals.models import Approval
from orchestra.db.transitions import Flow
from orchestra.models import Base


class Delivery(Base):
    """One approval that has to be told through one channel.

    ``next_try_at`` is when it is due: to be sent while ``waiting``, to be brought up to date while ``sent``. Whoever
    claims it pushes that ahead. ``failed``: Telegram refused it in every form; it is tried again slowly, until the
    approval closes. ``doubtful``: the answer to a send was lost, so there may be a copy nobody knows of.
    ``shown_deadline`` is the deadline that the messages tell, ``reminded_for`` the one that people were reminded of.
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
        Status.SENT: frozenset({Status.SETTLED, Status.FAILED, Status.WAITING}),  # back to waiting: "send again"
        Status.FAILED: frozenset({Status.WAITING, Status.SENT, Status.SETTLED}),
    }
)


class Message(Base):
    """One message in a chat that shows an approval; a list shows several and has a row for each.

    ``text`` is the HTML as it was sent, without the outcome. ``live``: it has to be edited when the approval closes.
    ``value`` is the door's own, such as the answers chosen so far.
    """

    class Kind(models.TextChoices):
        CARD = "card"
        LIST = "list"
        REST = "rest", "what a cut card left out, with the buttons"
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
    """What one press means: a random token, kept hashed, good once, for one approval, action, chat and message.

    ``message`` is null until Telegram has said which number the message got. ``approval`` is null for a test card.
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
    """A person's Telegram account, confirmed by a one-time code of which only the SHA-256 is kept.

    Says who somebody is, never what they may do: rights are the account's, judged at each press.
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
    """One update of Telegram's, by its exact id: ids may start anew at random after a quiet week.

    ``payload`` is the JSON of one that came by webhook and waits for the process that applies it.
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
