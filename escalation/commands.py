"""Every write to the outbox and to what came in."""

import secrets
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models.functions import Now

from escalation.channels.telegram.cards import hashed
from escalation.models import Approver
from orchestra import sql

LINK_CODE_LASTS = timedelta(minutes=15)


def new_link_code(user: User) -> str:
    """A one-time code with which ``user`` proves their Telegram account: ``/link CODE``; an older one is void."""
    code = secrets.token_hex(6)
    Approver.objects.update_or_create(
        user=user, defaults={"code_sha256": hashed(code), "code_expires_at": Now() + LINK_CODE_LASTS}
    )
    return code


def link_approver(*, code: str, telegram_user: int, telegram_name: str) -> Approver | None:
    """Bind a Telegram user to the account whose code that is; None if the code is wrong, used or too old.

    The account's earlier Telegram user, and the Telegram user's earlier account, are let go.
    """
    with transaction.atomic():
        rows = Approver.objects.filter(code_sha256=hashed(code.strip().lower()), code_expires_at__gt=Now())
        approver = rows.select_related("user").first()
        if approver is None or not rows.filter(pk=approver.pk).update(code_sha256="", code_expires_at=None):
            return None
        Approver.objects.filter(telegram_user=telegram_user).update(telegram_user=None, linked_at=None)
        mine = Approver.objects.filter(pk=approver.pk)
        mine.update(telegram_user=telegram_user, telegram_name=telegram_name[:150], linked_at=Now())
    approver.refresh_from_db()
    return approver


def mute(approver: Approver, *, until: datetime | None) -> None:
    """No sound and no reminders for this person until then; None ends it."""
    Approver.objects.filter(pk=approver.pk).update(muted_until=until)


def record_update(update: dict[str, Any]) -> bool:
    """Mark an update as applied; False if it was before, by its exact id or that of its press.

    Call it in the transaction of its effect, so that both commit or neither.
    """
    update_id = int(update["update_id"])
    callback_id = str(update["callback_query"]["id"]) if "callback_query" in update else None
    if callback_id and sql.row(
        "SELECT 1 FROM telegram_updates WHERE callback_id = %s AND applied_at IS NOT NULL", callback_id
    ):
        return False
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO telegram_updates (update_id, callback_id, payload, received_at, applied_at, failures)"  # noqa: S608 - constants only
            f" VALUES (%s, %s, '', {sql.now()}, {sql.now()}, 0)"
            f" ON CONFLICT (update_id) DO UPDATE SET applied_at = {sql.now()}, payload = ''"
            " WHERE telegram_updates.applied_at IS NULL",
            [update_id, callback_id],
        )
        return bool(cursor.rowcount)
