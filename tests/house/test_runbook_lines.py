"""The lines that the runbook tells people to look for are written, word for word and with their level."""

import logging
import re
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from approvals import tasks
from approvals.commands import cancel_approval
from escalation.telegram.api.breaker import Breaker
from sessions_app.agents import discovery
from tests.factories import make_approval

LINES = [
    ("ApprovalTimeoutService started", "INFO"),
    ("Agent discovery started", "INFO"),
    ("Health check service started", "INFO"),
    (r"approval.*timeout", "WARNING"),
    (r"approval cancelled: \S+ expired", "INFO"),
    (r"approval cancelled: \S+$", "INFO"),
]


@pytest.fixture
def lines(db: None, caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: object) -> list[str]:
    """What the background services write when something happens to them."""
    tasks._log_start.cache_clear()
    make_approval(expires_at=timezone.now() - timedelta(minutes=1))
    withdrawn = make_approval()
    with caplog.at_level(logging.INFO), django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        tasks.expire_due()
        cancel_approval(approval_id=withdrawn.pk, by="olga", via="api")
        discovery.check_agents(discovery.discover_agents())
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


def test_every_line_of_the_runbook_is_written_with_its_level(lines: list[str]) -> None:
    for pattern, level in LINES:
        assert [line for line in lines if re.search(rf"^{level} .*{pattern}", line)], pattern


def test_an_open_breaker_is_critical(db: None, caplog: pytest.LogCaptureFixture) -> None:
    limits = settings.TELEGRAM.breaker
    breaker = Breaker(limits, owner="test")
    for _ in range(limits.consecutive_failures):
        breaker.record(failed=True, probe=False)
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, text in told if re.search("circuit breaker open", text)] == ["CRITICAL"]
