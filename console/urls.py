"""URLs of the web console."""

from django.urls import include, path

from console.account.views import account
from console.diagnostics.views import diagnostics_page, diagnostics_part
from console.shell import navigation
from console.statistics.views import statistics

urlpatterns = [
    path("", include("console.home.urls")),
    path("", include("console.sessions.urls")),
    path("", include("console.approvals.urls")),
    path("statistics", statistics, name="statistics"),
    path("diagnostics", diagnostics_page, name="diagnostics"),
    path("console/diagnostics", diagnostics_part, name="diagnostics-part"),
    path("account", account, name="account"),
    path("console/navigation", navigation, name="navigation"),
]
