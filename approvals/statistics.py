"""Statistics of people's decisions over a period. Read-only; the cost is bounded, however large the
table is.

Counts come from two indexes alone (``approvals_by_decision``, ``approvals_by_time``). Times and
people come from the newest ``MOST_DECISIONS`` decisions of the period; the page says so if there
were more.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from approvals.models import Approval, DecisionSource
from approvals.presentation.safe_text import visible
from approvals.presentation.surfaces import names_of
from approvals.queries import count_open
from orchestra.db.counters import seconds_between
from orchestra.statistics import Chapter, Figure, Period, Plot, Series, format_duration, format_values, rows

MOST_DECISIONS = 5_000
HASTY_S = 2.0  # a request that is decided more quickly was hardly read
HASTY_SHARE = 0.2  # of a person's decisions; from this share on the page marks it
BY_RULE = "by rule"
OUTCOMES = (
    Approval.Status.APPROVED,
    Approval.Status.REJECTED,
    Approval.Status.EXPIRED,
    Approval.Status.CANCELLED,
    BY_RULE,
)
PERCENTILES = ((50, "half"), (95, "95 of 100"), (99, "99 of 100"))


@dataclass(frozen=True, slots=True)
class PersonDecision:
    """One decision of a person: its slot of the period, and the seconds since the request."""

    slot: int
    seconds: float
    by: str
    via: str
    rejected: bool


@dataclass(frozen=True, slots=True)
class Person:
    """The decisions of one person; shares are between 0 and 1, ``median`` is in words."""

    name: str
    answers: int
    rejected: float
    median: str
    hasty: float
    surfaces: str

    @property
    def too_hasty(self) -> bool:
        return self.hasty >= HASTY_SHARE

    @property
    def percent_rejected(self) -> int:
        return round(100 * self.rejected)

    @property
    def percent_hasty(self) -> int:
        return round(100 * self.hasty)


def chapter(period: Period) -> Chapter:
    """Everything that the statistics page shows about approvals."""
    closed = outcomes_per_slot(period)
    decisions = newest_decisions(period)
    return Chapter(
        figures=_figures(period, closed, decisions),
        plots=[_queue_plot(period, closed), _outcome_plot(period, closed), _time_plot(period, decisions)],
        template="console/how_we_decide.html",
        context={
            "people": decisions_by_person(decisions),
            "cut": len(decisions) == MOST_DECISIONS,
            "most": MOST_DECISIONS,
        },
    )


def outcomes_per_slot(period: Period) -> dict[str, list[int]]:
    """Count the approvals closed in each slot, by outcome; decisions of the policy are an outcome
    of their own.
    """
    found = {outcome: [0] * period.count for outcome in OUTCOMES}
    statement = (
        f"SELECT {period.bucket('decided_at')} AS slot, status, decided_via = %s, count(*)"  # noqa: S608 - our own words
        " FROM approvals WHERE decided_at >= %s GROUP BY 1, 2, 3"
    )
    for start, status, by_rule, number in rows(statement, DecisionSource.POLICY, period.start):
        if (slot := period.slot(start)) is not None:
            found[BY_RULE if by_rule else status][slot] += number
    return found


def requests_per_slot(period: Period) -> list[int]:
    """Count the requests made in each slot, including those that a rule decided at once."""
    found = [0] * period.count
    statement = (
        f"SELECT {period.bucket('created_at')} AS slot, count(*) FROM approvals WHERE created_at >= %s GROUP BY 1"  # noqa: S608
    )
    for start, number in rows(statement, period.start):
        if (slot := period.slot(start)) is not None:
            found[slot] += number
    return found


def queue_sizes(period: Period, closed: dict[str, list[int]]) -> list[int]:
    """Count the open requests at the end of each slot, backwards from those that are open now.

    A request that a rule decides is opened and closed at the same instant, so it cancels out.
    """
    requested, decided = requests_per_slot(period), [sum(numbers) for numbers in zip(*closed.values(), strict=True)]
    sizes, size = [], count_open()
    for slot in reversed(range(period.count)):
        sizes.append(max(0, size))
        size += decided[slot] - requested[slot]
    return sizes[::-1]


def newest_decisions(period: Period) -> list[PersonDecision]:
    """Return the newest decisions of people in the period, at most ``MOST_DECISIONS``."""
    seconds = seconds_between("created_at", "decided_at")
    statement = (
        f"SELECT {period.bucket('decided_at')}, {seconds}, decided_by, decided_via, status"  # noqa: S608 - our own words
        " FROM approvals WHERE decided_at >= %s AND status IN (%s, %s) AND decided_via <> %s"
        " ORDER BY decided_at DESC LIMIT %s"
    )
    found = rows(
        statement,
        period.start,
        Approval.Status.APPROVED,
        Approval.Status.REJECTED,
        DecisionSource.POLICY,
        MOST_DECISIONS,
    )
    return [
        PersonDecision(slot, float(took), by, via, status == Approval.Status.REJECTED)
        for start, took, by, via, status in found
        if (slot := period.slot(start)) is not None
    ]


def median_response_time(period: Period) -> str:
    """Return the median time from request to decision in words, or an empty text if nothing was
    decided.

    Only approvals and rejections by people count: no rules, expiries or withdrawals. Every page
    that shows a median response time uses this function.
    """
    return _median(newest_decisions(period))


def _median(decisions: list[PersonDecision]) -> str:
    middle = percentile(sorted(decision.seconds for decision in decisions), 50)
    return "" if middle is None else format_duration(middle)


def decisions_by_person(decisions: Iterable[PersonDecision]) -> list[Person]:
    """Group decisions by person, the person with the most decisions first."""
    by_name: dict[str, list[PersonDecision]] = defaultdict(list)
    for decision in decisions:
        by_name[decision.by].append(decision)
    return sorted((_person(name, own) for name, own in by_name.items()), key=lambda one: (-one.answers, one.name))


def percentile(seconds: list[float], share: int) -> float | None:
    """Return the nearest-rank percentile of ``seconds``, a sorted list; None for an empty one."""
    return seconds[max(0, math.ceil(share / 100 * len(seconds)) - 1)] if seconds else None


def _person(name: str, own: list[PersonDecision]) -> Person:
    seconds = sorted(decision.seconds for decision in own)
    surfaces = Counter(names_of(decision.via).label for decision in own)
    return Person(
        name=visible(name) or "nobody in particular",
        answers=len(own),
        rejected=sum(decision.rejected for decision in own) / len(own),
        median=format_duration(percentile(seconds, 50) or 0),
        hasty=sum(one < HASTY_S for one in seconds) / len(own),
        surfaces=", ".join(f"{surface} {number}" for surface, number in surfaces.most_common()),
    )


def _figures(period: Period, closed: dict[str, list[int]], decisions: list[PersonDecision]) -> list[Figure]:
    total = {outcome: sum(numbers) for outcome, numbers in closed.items()}
    by_people = sum(total.values()) - total[BY_RULE]
    return [
        Figure("Closed", f"{by_people:,}", f"+ {total[BY_RULE]:,} by rule" if total[BY_RULE] else ""),
        *(Figure(word.capitalize(), f"{total[word]:,}", _share(total[word], by_people)) for word in OUTCOMES[:3]),
        Figure("Median response time", _median(decisions) or "none", f"approved or rejected, last {period.word}"),
    ]


def _share(part: int, all_of: int) -> str:
    return f"{round(100 * part / all_of)} %" if all_of and part else ""


def _queue_plot(period: Period, closed: dict[str, list[int]]) -> Plot:
    sizes = queue_sizes(period, closed)
    each = "hour" if period.hourly else "day"
    sentence = (
        f"At the end of each {each}: between {min(sizes)} and {max(sizes)} in the last {period.word}; now {sizes[-1]}."
    )
    values: list[float | None] = list(sizes)
    series = Series("waiting", values, format_values(values, lambda size: f"{size:.0f}"))
    return Plot("queue", "Requests waiting", sentence, "steps", "count", period.labels, [series])


def _outcome_plot(period: Period, closed: dict[str, list[int]]) -> Plot:
    last = ", ".join(f"{closed[word][-1]} {word}" for word in OUTCOMES if closed[word][-1]) or "nothing yet"
    sentence = f"{period.word.capitalize()}; {'this hour' if period.hourly else 'today'} {last}."
    series = []
    for word in OUTCOMES:
        values: list[float | None] = list(closed[word])
        series.append(Series(word, values, format_values(values, lambda number: f"{number:,.0f}")))
    return Plot("outcomes", "Decisions by outcome", sentence, "bars", "count", period.labels, series)


def _time_plot(period: Period, decisions: list[PersonDecision]) -> Plot:
    slots: list[list[float]] = [[] for _ in range(period.count)]
    for decision in decisions:
        slots[decision.slot].append(decision.seconds)
    series = []
    for share, word in PERCENTILES:
        values = [percentile(sorted(seconds), share) for seconds in slots]
        series.append(Series(word, values, format_values(values, format_duration)))
    everything = sorted(decision.seconds for decision in decisions)
    within = [f"{word} within {format_duration(percentile(everything, share) or 0)}" for share, word in PERCENTILES]
    sentence = f"{period.word.capitalize()}; {', '.join(within)}." if everything else "Nobody answered in this time."
    return Plot("times", "Time from request to decision", sentence, "lines", "seconds", period.labels, series)
