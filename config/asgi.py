"""The ASGI application that Daphne serves: HTTP and WebSocket."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

http = get_asgi_application()  # sets up Django, which the following imports of models need

from orchestra.realtime.consumers import hub, nowhere  # noqa: E402

# Django's type stubs accept only HTTP views.
sockets = URLRouter([re_path(r"^ws/hub/?$", hub), re_path(r"", nowhere)])  # type: ignore[arg-type]
application = ProtocolTypeRouter({"http": http, "websocket": sockets})
