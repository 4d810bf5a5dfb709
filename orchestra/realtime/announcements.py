"""What changes who is in, told to every web process: apart from those who listen, since commands announce, too."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models.signals import m2m_changed, post_delete, post_save
from knox.models import AuthToken

from orchestra.db import notify
from orchestra.models import BrowserSession

TOPIC = "person"


def announce(**_signal: Any) -> None:
    """Have every web process look again at who is in, once this transaction commits."""
    notify.send(TOPIC, "")


def connect() -> None:
    """Called once when the app is ready."""
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
        signal.connect(announce, sender=sender, dispatch_uid=f"orchestra.attendance.{id(signal)}.{sender.__name__}")
