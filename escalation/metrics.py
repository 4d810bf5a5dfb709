"""Metrics about reaching people.

The process that makes a call counts it; the counts are kept as tallies.
"""

from collections import defaultdict
from collections.abc import Iterator

from django.conf import settings
from prometheus_client.core import GaugeMetricFamily, Metric

from escalation import queries
from escalation.telegram import status
from escalation.telegram.api import breaker
from escalation.telegram.api.counters import DURATION, FAILURES, REQUESTS, RETRIES
from orchestra.db.counters import Totals
from orchestra.metrics.exposition import counter
from orchestra.models import Tally

BREAKER_STATES = (breaker.CLOSED, breaker.HALF_OPEN, breaker.OPEN)


def families() -> Iterator[Metric]:
    """Yield every metric family.

    Every name is present from the first scrape, even without Telegram.
    """
    total: Totals = defaultdict(float)
    for row in Tally.objects.filter(name__startswith="telegram_api_"):
        total[row.name, row.labels] = row.value
    yield gauge("telegram_enabled", "1 if Telegram is set up.", int(settings.TELEGRAM.configured))
    yield gauge(
        "telegram_service_health",
        "1 if messages can be sent; 0 if not, or if Telegram is off.",
        int(status.is_healthy()),
    )
    yield counter(REQUESTS, "Calls to the Bot API.", total[REQUESTS, ""])
    yield counter(FAILURES, "Calls to the Bot API that failed.", total[FAILURES, ""])
    yield counter(RETRIES, "Repeated calls to the Bot API.", total[RETRIES, ""])
    yield DURATION.family(total)
    yield gauge(
        "escalation_outbox_depth", "Approval requests that no message has shown yet.", queries.count_undelivered()
    )
    yield gauge(
        "approval_cards_stale", "Messages of closed requests that still have buttons.", queries.count_stale_cards()
    )
    states = GaugeMetricFamily("telegram_circuit_breaker", "1 for the present state of the breaker.", labels=["state"])
    current = breaker.read_state(settings.TELEGRAM.breaker)["state"]
    for state in BREAKER_STATES:
        states.add_metric([state], int(state == current))
    yield states


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
