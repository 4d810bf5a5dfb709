"""URLs of sessions and agents."""

from django.urls import path

from console.sessions import detail_views, list_views

urlpatterns = [
    path("sessions", list_views.sessions, name="sessions"),
    path("console/sessions", list_views.sessions_part, name="sessions-part"),
    path("agents", list_views.agents, name="agents"),
    path("console/agents", list_views.agents_part, name="agents-part"),
    path("agents/look", list_views.look_for_agents, name="agents-look"),
    path("sessions/<uuid:session_id>", detail_views.session_page, name="session"),
    path("sessions/<uuid:session_id>/rows", detail_views.rows_part, name="session-rows"),
    path("sessions/<uuid:session_id>/head", detail_views.head_part, name="session-head"),
    path("sessions/<uuid:session_id>/side", detail_views.side_part, name="session-side"),
    path("sessions/<uuid:session_id>/foot", detail_views.foot_part, name="session-foot"),
    path("sessions/<uuid:session_id>/search", detail_views.search_part, name="session-search"),
    path("sessions/<uuid:session_id>/output/<str:tool>", detail_views.output_part, name="session-output"),
    path("sessions/<uuid:session_id>/act", detail_views.act, name="session-act"),
    path("sessions/<uuid:session_id>/rules/<uuid:rule_id>/revoke", detail_views.revoke, name="session-rule-revoke"),
]
