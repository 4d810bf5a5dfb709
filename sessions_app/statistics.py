"""Statistics: the cost of the agents' work by the time each turn ended.

One index answers the query.
"""

from orchestra.statistics import Chapter, Figure, Period, Plot, Series, format_values, rows


def chapter(period: Period) -> Chapter:
    """The chapter about cost, in US dollars as the CLI reports it."""
    costs = cost(period)
    values: list[float | None] = list(costs)
    sentence = (
        f"{dollars(sum(costs))} in {period.word}; {'this hour' if period.hourly else 'today'} {dollars(costs[-1])}."
    )
    each = "Cost per hour" if period.hourly else "Cost per day"
    series = Series("cost", values, format_values(values, dollars))
    return Chapter(
        figures=[Figure("Cost", dollars(sum(costs)))],
        plots=[Plot("cost", each, sentence, "bars", "dollars", period.labels, [series])],
    )


def cost(period: Period) -> list[float]:
    """US dollars in each slot of the period."""
    found = [0.0] * period.count
    statement = (
        f"SELECT {period.bucket('finished_at')}, sum(cost_usd) FROM turns"  # noqa: S608 - our own words
        " WHERE finished_at >= %s GROUP BY 1"
    )
    for start, dollars_spent in rows(statement, period.start):
        if (slot := period.slot(start)) is not None:
            found[slot] += dollars_spent
    return found


def dollars(amount: float) -> str:

    return f"${amount:,.2f}"
