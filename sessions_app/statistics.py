"""What the agents' work cost, by the end of each turn: read-only, from one index."""

from orchestra.statistics import Chapter, Figure, Period, Plot, Series, format_values, rows


def chapter(period: Period) -> Chapter:
    """Cost, as the CLI reports it in US dollars."""
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
    """Dollars in each slot."""
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
    """Money as people read it."""
    return f"${amount:,.2f}"
