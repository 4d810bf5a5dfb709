"""What every test may rely on."""

import socket
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.models.signals import post_migrate
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from orchestra.conf import OrchestraSettings
from orchestra.environment import Environment

# a busy machine is no defect of what is tested
hypothesis_settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("busy")

# Django's test client is synchronous and servestatic is not: each request would change to an event loop and back, and
# fail where a loop runs already, as under Playwright. Real web processes serve static files in test_api_live.py.
settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if not name.startswith("servestatic.")]

make_groups = import_module("orchestra.migrations.0002_groups").make_groups
fill_groups = import_module("orchestra.migrations.0006_permissions").fill_groups


def _groups_again(sender: Any, **_signal: Any) -> None:
    """Tests with real commits end by emptying all tables, the groups that a migration made included."""
    from approvals.audit.changes import recorded_elsewhere  # late: it needs the models

    if sender.name == "django.contrib.auth":
        make_groups(apps, None)
        with recorded_elsewhere():
            fill_groups(apps, None)


post_migrate.connect(_groups_again, weak=False)


@pytest.fixture(scope="session", autouse=True)
def _names_of_this_machine() -> Iterator[None]:
    """Names below ``.localhost`` lead to this machine, as they do in browsers; not every resolver knows them."""
    plain = socket.getaddrinfo

    def resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        ours = isinstance(host, str) and host.endswith(".localhost")
        return plain("127.0.0.1" if ours else host, *arguments, **options)

    socket.getaddrinfo = resolve
    yield
    socket.getaddrinfo = plain


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> None:
    """The test database has a name of its own, by which processes of one installation know each other's messages."""
    settings.ORCHESTRA = OrchestraSettings.from_env(
        Environment(),
        data_dir=settings.DATA_DIR,
        embedded=settings.EMBEDDED,
        redis_url=settings.REDIS_URL,
        secret_key=settings.SECRET_KEY,
        database=connection.settings_dict,
    )
