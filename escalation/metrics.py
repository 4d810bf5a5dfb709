"""Figures about reaching people. Calls are counted by the process that makes them and kept as tallies."""

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
    """Every name is there from the first scrape, whether or not Telegram is set up."""
    total: Totals = defaultdict(float)
    for row in Tally.objects.filter(name__startswith="telegram_api_"):
        total[row.name, row.labels] = row.value
    yield gauge("telegram_enabled", "1 if Telegram is set up.", int(settings.TELEGRAM.configured))
    yield gauge("telegram_service_health", "1 if people can be told; 0 when not, or off.", int(status.is_healthy()))
    yield counter(REQUESTS, "Calls to the Bot API.", total[REQUESTS, ""])
    yield counter(FAILURES, "Calls to the Bot API that failed.", total[FAILURES, ""])
    yield counter(RETRIES, "Repeated calls to the Bot API.", total[RETRIES, ""])
    yield DURATION.family(total)
    yield gauge("escalation_outbox_depth", "Approval requests nobody was told of yet.", queries.count_undelivered())
    yield gauge("approval_cards_stale", "Messages whose buttons outlive their request.", queries.count_stale_cards())
    states = GaugeMetricFamily("telegram_circuit_breaker", "1 for the breaker's present state.", labels=["state"])
    current = breaker.read_state(settings.TELEGRAM.breaker)["state"]
    for state in BREAKER_STATES:
        states.add_metric([state], int(state == current))
    yield states


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """A gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)
