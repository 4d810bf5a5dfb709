"""The tables of the shared kernel, and the abstract base of all models."""

import uuid

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.db.models.functions import Now


class Base(models.Model):
    """A UUID key, and the time of creation by the database's clock."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True


class Lease(models.Model):
    """A name that one process may own at a time, or the time and state of periodic work.

    Examples are the Telegram process, the archiver, beat's last run and the processes' heartbeats.
    ``fence`` is the fencing token: it grows with each new owner, so that writes of a previous owner
    can be refused.
    """

    name = models.CharField(max_length=100, primary_key=True)
    owner = models.CharField(max_length=200, blank=True)
    fence = models.BigIntegerField(default=0)
    expires_at = models.DateTimeField(null=True)
    state = models.JSONField(default=dict, blank=True)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "leases"

    def __str__(self) -> str:
        return self.name


class Tally(models.Model):
    """A counter, histogram bucket or sum, which must not decrease when retention deletes rows.

    ``labels`` is a sorted, comma-separated list of ``key=value``; with ``name`` it is unique.
    """

    name = models.CharField(max_length=100)
    labels = models.CharField(max_length=200, blank=True)
    value = models.FloatField(default=0)

    class Meta:
        db_table = "tallies"
        constraints = [models.UniqueConstraint(fields=["name", "labels"], name="one_tally_per_series")]

    def __str__(self) -> str:
        return f"{self.name}{{{self.labels}}}"


class Installation(models.Model):
    """No table: the installation as a whole, for permissions that belong to no row (``orchestra.auth.permissions``)."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = [("administer_installation", "Can do everything, and use the admin site")]

    def __str__(self) -> str:
        return "Orchestra"


class IdempotentRequest(Base):
    """The response to the first POST with an ``Idempotency-Key``, kept for 24 hours.

    ``status_code`` is null while that request is being processed.
    """

    username = models.CharField(max_length=150)
    path = models.CharField(max_length=300)
    key = models.CharField(max_length=200)
    body_sha256 = models.CharField(max_length=64)
    status_code = models.PositiveSmallIntegerField(null=True)
    answer = models.TextField(blank=True)

    class Meta:
        db_table = "idempotent_requests"
        constraints = [models.UniqueConstraint(fields=["username", "path", "key"], name="one_answer_per_key")]
        indexes = [models.Index(fields=["created_at"], name="idempotent_by_age")]

    def __str__(self) -> str:
        return f"{self.path} {self.key}"


class SignInLink(Base):
    """A one-time link that signs a person in; only the SHA-256 of its token is stored."""

    token_sha256 = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "sign_in_links"

    def __str__(self) -> str:
        return f"link for {self.user}"


class BrowserSession(AbstractBaseSession):
    """A browser session. The account is a column, so that all sessions of a person can be ended.

    The session key is stored as a hash (``orchestra.auth.session_store``).
    """

    session_key = models.CharField(max_length=64, primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", null=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "browser_sessions"

    def __str__(self) -> str:
        return f"browser of {self.user_id or 'nobody yet'}"

    @classmethod
    def get_session_store_class(cls) -> type[SessionBase]:
        from orchestra.auth.session_store import SessionStore

        return SessionStore


class SignInAttempt(models.Model):
    """An attempt to sign in with a password: counted to throttle guessing, and shown in the admin."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_default=Now(), editable=False)
    username = models.CharField(max_length=150)
    address = models.CharField(max_length=100, blank=True)
    succeeded = models.BooleanField(default=False)

    class Meta:
        db_table = "sign_in_attempts"
        indexes = [
            models.Index(name="failed_by_name", fields=["username", "at"], condition=models.Q(succeeded=False)),
            models.Index(name="failed_by_address", fields=["address", "at"], condition=models.Q(succeeded=False)),
            models.Index(name="attempts_by_age", fields=["at"]),
        ]

    def __str__(self) -> str:
        return f"{self.username} from {self.address}: {'let in' if self.succeeded else 'refused'}"


class Archive(Base):
    """An archive file of rows that retention deletes from the database; see ``orchestra.archive``.

    The file is written before any of its rows is deleted. ``shelf`` is the name of the archived
    model, ``roots`` the number of its rows in the file, and ``deleted`` how many of them were
    deleted. The others had changed since, or the process was killed; they stay in the database.
    """

    shelf = models.CharField(max_length=50)
    name = models.CharField(max_length=200, unique=True, help_text="The file, below the archive folder.")
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    counts = models.JSONField()
    roots = models.PositiveIntegerField()
    deleted = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "archives"
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name
