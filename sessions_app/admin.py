"""Sessions in the admin: read them, start one, send the next message, stop one; every act is a command."""

from sessions_app.models import AgentSession
from django.contrib import admin
from orchestra.admin import Reading


@admin.register(AgentSession)
class AgentSessionAdmin(Reading):
    list_display = ("title", "status", "agent", "requested_by", "created_at")
