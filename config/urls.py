import re

from csp.decorators import csp_update
from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from approvals.rest.views import ApprovalViewSet
from approvals.stop.api import StopViewSet
from escalation.rest import EscalationViewSet, webhook
from orchestra.auth.sign_in_links import sign_in
from orchestra.diagnostics import probes
from orchestra.diagnostics.api import DiagnosticsViewSet
from orchestra.metrics import exposition
from orchestra.middleware import security_headers
from orchestra.rest.viewsets import Routes
from sessions_app.rest.views import AgentViewSet, SessionViewSet
from sessions_app.schedules.api import ScheduleViewSet

swagger = csp_update(security_headers.SWAGGER)(SpectacularSwaggerSplitView.as_view(url_name="schema"))
api = Routes()
api.register("sessions", SessionViewSet, basename="session")
api.register("approvals", ApprovalViewSet, basename="approval")
api.register("schedules", ScheduleViewSet, basename="schedule")
api.register("agents", AgentViewSet, basename="agent")
api.register("diagnostics", EscalationViewSet, basename="escalation-diagnostics")
api.register("diagnostics", DiagnosticsViewSet, basename="diagnostics")

urlpatterns = [
    path("", include("console.urls")),
    path("", include("orchestra.auth.views")),
    path("sign-in/<str:token>", sign_in, name="sign-in"),
    path("admin/", admin.site.urls),
    re_path(r"^api/telegram/webhook/?$", webhook, name="telegram-webhook"),
    re_path(r"^api/stop/?$", StopViewSet.as_view(StopViewSet.methods), name="api-stop"),
    path("api/", include(api.urls)),
    re_path(r"^api/schema/?$", SpectacularAPIView.as_view(), name="schema"),
    re_path(r"^swagger/index\.html/?$", swagger, name="swagger"),
    re_path(r"^swagger/?$", RedirectView.as_view(pattern_name="swagger")),
    # Browsers request this for pages without Orchestra's own <head>, such as Swagger's.
    path("favicon.ico", RedirectView.as_view(url=f"{settings.STATIC_URL}console/favicon.svg")),
    re_path(r"^health/?$", probes.health),
    re_path(r"^health/live/?$", probes.live),
    re_path(r"^health/ready/?$", probes.ready),
    *(
        [re_path(rf"^{re.escape(settings.METRICS.path.strip('/'))}/?$", exposition.page)]
        if settings.METRICS.enabled
        else []
    ),
]

handler404 = "orchestra.rest.viewsets.not_found"
handler500 = "orchestra.rest.viewsets.failed"
