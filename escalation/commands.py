"""Write commands of linked accounts and of incoming updates; `outbox` has those of deliveries."""

import secrets
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now

from escalation.models import Approver, Update
from escalation.telegram.messages.cards import hash_token
from orchestra.db import notify, sql

LINK_CODE_LASTS = timedelta(minutes=15)
UPDATES_KEPT = timedelta(hours=48)


# --- linked accounts


def create_link_code(user: User) -> str:
    """Return a one-time code that links the Telegram account of ``user``: ``/link CODE``.

    An older code becomes invalid.
    """
    code = secrets.token_hex(6)
    Approver.objects.update_or_create(
        user=user, defaults={"code_sha256": hash_token(code), "code_expires_at": Now() + LINK_CODE_LASTS}
    )
    return code


def link_approver(*, code: str, telegram_user: int, telegram_name: str) -> Approver | None:
    """Link a Telegram user to the account that owns ``code``.

    Return None if the code is wrong, used or expired.

    An earlier Telegram user of the account, and an earlier account of the Telegram user, are
    unlinked.
    """
    with transaction.atomic():
        rows = Approver.objects.filter(code_sha256=hash_token(code.strip().lower()), code_expires_at__gt=Now())
        approver = rows.select_related("user").first()
        # a conditional UPDATE: of two concurrent uses of one code, one changes no row
        if approver is None or not rows.filter(pk=approver.pk).update(code_sha256="", code_expires_at=None):
            return None
        for earlier in Approver.objects.filter(telegram_user=telegram_user):
            _save_fields(earlier, telegram_user=None, linked_at=None)
        _save_fields(approver, telegram_user=telegram_user, telegram_name=telegram_name[:150], linked_at=Now())
    approver.refresh_from_db()
    return approver


def _save_fields(approver: Approver, **changes: Any) -> None:
    """Change fields through ``save``, so that the audit records the change."""
    for name, value in changes.items():
        setattr(approver, name, value)
    approver.save(update_fields=list(changes))


def mute_approver(approver: Approver, *, until: datetime | None) -> None:
    """Suppress sound and reminders for this person until ``until``; None ends the mute."""
    Approver.objects.filter(pk=approver.pk).update(muted_until=until)


# --- incoming updates


def record_update(update: dict[str, Any]) -> bool:
    """Mark an update as applied.

    Return False if its id, or the id of its callback query, was applied before.

    Call this in the transaction of the effect, so that both commit or neither does.
    """
    update_id = int(update["update_id"])
    callback_id = str(update["callback_query"]["id"]) if "callback_query" in update else None
    waiting = "UPDATE telegram_updates SET applied_at = {now}, payload = '' WHERE update_id = %s AND applied_at IS NULL"
    new = (
        "INSERT INTO telegram_updates (update_id, callback_id, payload, received_at, applied_at, failures)"
        " VALUES (%s, %s, '', {now}, {now}, 0) ON CONFLICT DO NOTHING"  # either of its two ids may exist
    )
    now = sql.now()
    return bool(sql.run(waiting.format(now=now), update_id) or sql.run(new.format(now=now), update_id, callback_id))


def store_webhook_update(update: dict[str, Any], payload: str) -> bool:
    """Store an update that arrived by webhook, until the telegram process applies it.

    Return False if it is known.
    """
    callback_id = str(update["callback_query"]["id"]) if "callback_query" in update else None
    with transaction.atomic():
        taken = sql.run(
            "INSERT INTO telegram_updates (update_id, callback_id, payload, received_at, failures)"  # noqa: S608 - constants only
            f" VALUES (%s, %s, %s, {sql.now()}, 0) ON CONFLICT DO NOTHING",
            int(update["update_id"]), callback_id, payload,
        )  # fmt: skip
        if taken:
            notify.send("telegram", "update")
    return bool(taken)


def delete_old_updates() -> int:
    """Delete applied updates; return how many.

    They are kept while Telegram may send them again (up to 24 hours).
    """
    return Update.objects.filter(applied_at__isnull=False, received_at__lt=Now() - UPDATES_KEPT).delete()[0]
