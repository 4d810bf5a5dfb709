"""HTTP and WebSocket entry for Daphne."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

http = get_asgi_application()  # sets Django up: what follows imports models

from orchestra.realtime.consumers import hub, nowhere  # noqa: E402

# Django's stubs know of HTTP views only
sockets = URLRouter([re_path(r"^ws/hub/?$", hub), re_path(r"", nowhere)])  # type: ignore[arg-type]
application = ProtocolTypeRouter({"http": http, "websocket": sockets})
