"""HTTP routes, app by app."""

import re

from csp.decorators import csp_update
from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from approvals.api import ApprovalDoor
from approvals.stop_api import StopDoor
from escalation.api import EscalationDoor, webhook
from orchestra import diagnostics, headers, metrics
from orchestra.api import Routes
from orchestra.diagnostics_api import DiagnosticsDoor
from orchestra.sign_in import sign_in
from sessions_app.api import AgentDoor, SessionDoor
from sessions_app.schedule_api import ScheduleDoor

swagger = csp_update(headers.SWAGGER)(SpectacularSwaggerSplitView.as_view(url_name="schema"))
api = Routes()
api.register("sessions", SessionDoor, basename="session")
api.register("approvals", ApprovalDoor, basename="approval")
api.register("schedules", ScheduleDoor, basename="schedule")
api.register("agents", AgentDoor, basename="agent")
api.register("diagnostics", EscalationDoor, basename="escalation-diagnostics")
api.register("diagnostics", DiagnosticsDoor, basename="diagnostics")

urlpatterns = [
    path("", include("orchestra.dashboard")),
    path("", include("orchestra.gate")),
    path("", include("approvals.desk")),
    path("", include("approvals.question_page")),
    path("", include("approvals.question_list")),
    path("", include("approvals.violation_pages")),
    path("", include("approvals.stop_pages")),
    path("", include("orchestra.statistics")),
    path("", include("sessions_app.pages")),
    path("", include("sessions_app.lists")),
    path("", include("orchestra.diagnostics_page")),
    path("", include("sessions_app.session_pages")),
    path("", include("sessions_app.refusals")),
    path("sign-in/<str:token>", sign_in, name="sign-in"),
    path("admin/", admin.site.urls),
    re_path(r"^api/telegram/webhook/?$", webhook, name="telegram-webhook"),
    re_path(r"^api/stop/?$", StopDoor.as_view(StopDoor.methods), name="api-stop"),
    path("api/", include(api.urls)),
    re_path(r"^api/schema/?$", SpectacularAPIView.as_view(), name="schema"),
    re_path(r"^swagger/index\.html/?$", swagger, name="swagger"),
    re_path(r"^swagger/?$", RedirectView.as_view(pattern_name="swagger")),
    # for pages without a head of ours
    path("favicon.ico", RedirectView.as_view(url=f"{settings.STATIC_URL}orchestra/favicon.svg")),
    re_path(r"^health/?$", diagnostics.health),
    re_path(r"^health/live/?$", diagnostics.live),
    re_path(r"^health/ready/?$", diagnostics.ready),
    *(
        [re_path(rf"^{re.escape(settings.METRICS.path.strip('/'))}/?$", metrics.page)]
        if settings.METRICS.enabled
        else []
    ),
]

handler404 = "orchestra.api.not_found"
handler500 = "orchestra.api.failed"
