"""The statistics page."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from approvals.statistics import chapter as approvals
from console.shell import page, show
from orchestra.statistics import PERIODS, period_of
from sessions_app.statistics import chapter as sessions


@require_safe
@page()
def statistics(request: HttpRequest) -> HttpResponse:
    """Numbers of requests and their outcomes, decision times and cost in a period."""
    period = period_of(request.GET.get("period", ""))
    context = {
        "period": period,
        "periods": [(key, word) for key, (word, _, _) in PERIODS.items()],
        "chapters": [approvals(period), sessions(period)],
    }
    return show(request, "console/statistics.html", context, title="Statistics", section="statistics")
