"""HTTP and WebSocket entry for Daphne."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import WebsocketDenier
from channels.sessions import CookieMiddleware
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

http = get_asgi_application()  # sets Django up: what follows imports models

from orchestra.realtime.consumers import HubConsumer  # noqa: E402
from orchestra.realtime.credentials import HubAuthMiddleware  # noqa: E402
from orchestra.realtime.origin import HubOriginValidator  # noqa: E402

hub = HubOriginValidator(CookieMiddleware(HubAuthMiddleware(HubConsumer.as_asgi())))
sockets = URLRouter([re_path(r"^ws/hub/?$", hub), re_path(r"", WebsocketDenier.as_asgi())])
application = ProtocolTypeRouter({"http": http, "websocket": sockets})
