"""What every test may rely on."""

from importlib import import_module
from typing import Any

from django.apps import apps
from django.db.models.signals import post_migrate

make_groups = import_module("orchestra.migrations.0002_groups").make_groups


def _groups_again(sender: Any, **_signal: Any) -> None:
    """Tests with real commits end by emptying all tables, the groups that a migration made included."""
    if sender.name == "django.contrib.auth":
        make_groups(apps, None)


post_migrate.connect(_groups_again, weak=False)
