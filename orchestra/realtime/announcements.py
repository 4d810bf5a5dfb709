"""Notifies every web process of changes of access. Apart from the sockets, since commands change access, too."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models.signals import m2m_changed, post_delete, post_save
from knox.models import AuthToken

from orchestra.db import notify
from orchestra.models import BrowserSession

TOPIC = "person"


def notify_access_changed(**_signal: Any) -> None:
    """Have every web process check its sockets once this transaction commits."""
    notify.send(TOPIC, "")


def connect() -> None:
    """Connect the signals. ``OrchestraConfig.ready`` calls this once."""
    user = get_user_model()
    senders: Iterable[tuple[Any, Any]] = (
        (post_delete, BrowserSession),
        (post_delete, AuthToken),
        (post_save, AuthToken),
        (post_save, user),
        (post_delete, user),
        (m2m_changed, user.groups.through),
        (m2m_changed, user.user_permissions.through),
        (m2m_changed, Group.permissions.through),
        (post_delete, Group),
    )
    for signal, sender in senders:
        uid = f"orchestra.access.{id(signal)}.{sender.__name__}"
        signal.connect(notify_access_changed, sender=sender, dispatch_uid=uid)
