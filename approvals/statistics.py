"""How people answer, in figures: read-only, over a period, and bounded however many approvals there are.

Counts come from two indexes alone (``approvals_by_decision``, ``approvals_by_time``). Times and people come from the
newest ``MOST_ANSWERS`` answers of the period, which the page says if there were more.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from approvals.models import Approval, DecisionSource
from approvals.presentation.safe_text import visible
from approvals.queries import count_open
from orchestra.db.counters import seconds_between
from orchestra.statistics import Chapter, Figure, Period, Plot, Series, format_duration, format_values, rows

S = Approval.Status
MOST_ANSWERS = 5_000
HASTY_S = 2.0  # an answer quicker than that was hardly read
HASTY_SHARE = 0.2  # and so many of them deserve a word
BY_RULE = "by rule"
DOORS = {
    DecisionSource.TELEGRAM: "Telegram",
    DecisionSource.ADMIN: "admin",
    DecisionSource.API: "API",
    DecisionSource.DASHBOARD: "console",
    DecisionSource.WEBSOCKET: "console",
    DecisionSource.CLI: "terminal",
}
OUTCOMES = (S.APPROVED, S.REJECTED, S.EXPIRED, S.CANCELLED, BY_RULE)
PERCENTILES = ((50, "half"), (95, "95 of 100"), (99, "99 of 100"))


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer of a person: when, as a slot of the period, and after how many seconds."""

    slot: int
    seconds: float
    by: str
    via: str
    rejected: bool


@dataclass(frozen=True, slots=True)
class Person:
    """How one person answers; shares are between 0 and 1, times in seconds."""

    name: str
    answers: int
    rejected: float
    median: str
    hasty: float
    doors: str

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
    """Everything the page of statistics shows about questions."""
    closed = outcomes(period)
    answers = newest_answers(period)
    return Chapter(
        figures=_figures(period, closed, answers),
        plots=[_queue_plot(period, closed), _outcome_plot(period, closed), _time_plot(period, answers)],
        template="console/how_we_decide.html",
        context={"people": people(answers), "cut": len(answers) == MOST_ANSWERS, "most": MOST_ANSWERS},
    )


def outcomes(period: Period) -> dict[str, list[int]]:
    """How many questions closed in each slot, by outcome; what a rule answered by itself is apart."""
    found = {outcome: [0] * period.count for outcome in OUTCOMES}
    statement = (
        f"SELECT {period.bucket('decided_at')} AS slot, status, decided_via = %s, count(*)"  # noqa: S608 - our own words
        " FROM approvals WHERE decided_at >= %s GROUP BY 1, 2, 3"
    )
    for start, status, by_rule, number in rows(statement, DecisionSource.POLICY, period.start):
        if (slot := period.slot(start)) is not None:
            found[BY_RULE if by_rule else status][slot] += number
    return found


def asked(period: Period) -> list[int]:
    """How many questions were asked in each slot, those that a rule answered at once included."""
    found = [0] * period.count
    statement = (
        f"SELECT {period.bucket('created_at')} AS slot, count(*) FROM approvals WHERE created_at >= %s GROUP BY 1"  # noqa: S608
    )
    for start, number in rows(statement, period.start):
        if (slot := period.slot(start)) is not None:
            found[slot] += number
    return found


def waiting(period: Period, closed: dict[str, list[int]]) -> list[int]:
    """How many questions were open at the end of each slot: those open now, counted backwards.

    What a rule answers is opened and closed at the same instant, so it cancels out.
    """
    came, went = asked(period), [sum(numbers) for numbers in zip(*closed.values(), strict=True)]
    sizes, size = [], count_open()
    for slot in reversed(range(period.count)):
        sizes.append(max(0, size))
        size += went[slot] - came[slot]
    return sizes[::-1]


def newest_answers(period: Period) -> list[Answered]:
    """The newest answers that people gave in the period, at most ``MOST_ANSWERS``."""
    seconds = seconds_between("created_at", "decided_at")
    statement = (
        f"SELECT {period.bucket('decided_at')}, {seconds}, decided_by, decided_via, status"  # noqa: S608 - our own words
        " FROM approvals WHERE decided_at >= %s AND status IN (%s, %s) AND decided_via <> %s"
        " ORDER BY decided_at DESC LIMIT %s"
    )
    found = rows(statement, period.start, S.APPROVED, S.REJECTED, DecisionSource.POLICY, MOST_ANSWERS)
    return [
        Answered(slot, float(took), by, via, status == S.REJECTED)
        for start, took, by, via, status in found
        if (slot := period.slot(start)) is not None
    ]


def median_answer(period: Period) -> str:
    """Half of what people approved or rejected in the period was decided within this time, in words; empty if nothing.

    From the request to the decision. What a rule, the clock or a withdrawal ended is no answer. Every page that names
    a median takes it from here.
    """
    return _median(newest_answers(period))


def _median(answers: list[Answered]) -> str:
    middle = percentile(sorted(answer.seconds for answer in answers), 50)
    return "" if middle is None else format_duration(middle)


def people(answers: Iterable[Answered]) -> list[Person]:
    """Who answered, the busiest first."""
    of: dict[str, list[Answered]] = defaultdict(list)
    for answer in answers:
        of[answer.by].append(answer)
    return sorted((_person(name, own) for name, own in of.items()), key=lambda one: (-one.answers, one.name))


def percentile(seconds: list[float], share: int) -> float | None:
    """The nearest-rank percentile of ``seconds``, which are sorted; None of nothing."""
    return seconds[max(0, math.ceil(share / 100 * len(seconds)) - 1)] if seconds else None


def _person(name: str, own: list[Answered]) -> Person:
    seconds = sorted(answer.seconds for answer in own)
    doors = Counter(DOORS.get(DecisionSource(answer.via), answer.via) for answer in own)
    return Person(
        name=visible(name) or "nobody in particular",
        answers=len(own),
        rejected=sum(answer.rejected for answer in own) / len(own),
        median=format_duration(percentile(seconds, 50) or 0),
        hasty=sum(one < HASTY_S for one in seconds) / len(own),
        doors=", ".join(f"{door} {number}" for door, number in doors.most_common()),
    )


def _figures(period: Period, closed: dict[str, list[int]], answers: list[Answered]) -> list[Figure]:
    total = {outcome: sum(numbers) for outcome, numbers in closed.items()}
    by_people = sum(total.values()) - total[BY_RULE]
    return [
        Figure("Closed", f"{by_people:,}", f"+ {total[BY_RULE]:,} by rule" if total[BY_RULE] else ""),
        *(Figure(word.capitalize(), f"{total[word]:,}", _share(total[word], by_people)) for word in OUTCOMES[:3]),
        Figure("Median response time", _median(answers) or "none", f"approved or rejected, last {period.word}"),
    ]


def _share(part: int, all_of: int) -> str:
    return f"{round(100 * part / all_of)} %" if all_of and part else ""


def _queue_plot(period: Period, closed: dict[str, list[int]]) -> Plot:
    sizes = waiting(period, closed)
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


def _time_plot(period: Period, answers: list[Answered]) -> Plot:
    slots: list[list[float]] = [[] for _ in range(period.count)]
    for answer in answers:
        slots[answer.slot].append(answer.seconds)
    series = []
    for share, word in PERCENTILES:
        values = [percentile(sorted(seconds), share) for seconds in slots]
        series.append(Series(word, values, format_values(values, format_duration)))
    everything = sorted(answer.seconds for answer in answers)
    within = [f"{word} within {format_duration(percentile(everything, share) or 0)}" for share, word in PERCENTILES]
    sentence = f"{period.word.capitalize()}; {', '.join(within)}." if everything else "Nobody answered in this time."
    return Plot("times", "Time from request to decision", sentence, "lines", "seconds", period.labels, series)
