"""Django Channels as its documentation shows it: a consumer in a group, and
``async_to_sync(group_send)``.

Run by bench/hub.py: ``bench.floors.group_send:application`` under Daphne, and ``send``.
"""

import os
import sys
import time
from typing import Any

import django
from django.conf import settings

from bench.child import serve as answer_commands
from bench.pace import paced

GROUP = "bench"
PAD = "x" * 220

if not settings.configured:
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [os.environ["REDIS_URL"]]}}
    settings.configure(CHANNEL_LAYERS={"default": layer}, INSTALLED_APPS=["channels"], SECRET_KEY="bench")
    django.setup()

from asgiref.sync import async_to_sync  # noqa: E402 - Django first
from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter  # noqa: E402


class Page(AsyncWebsocketConsumer):
    """Forwards every message of the group to its socket."""

    groups = [GROUP]  # Channels joins them at the handshake and leaves them at the disconnect

    async def forward(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


application = ProtocolTypeRouter({"websocket": Page.as_asgi()})


def send() -> None:
    layer = get_channel_layer()

    def stream(count: int, rate: float) -> list[float]:
        """Send messages at a rate; return the seconds that each send took."""
        costs = []
        for number in paced(count, rate):
            before = time.monotonic()
            text = f'{{"type": "event", "id": {number}, "at": "ts={before:.6f}", "pad": "{PAD}"}}'
            async_to_sync(layer.group_send)(GROUP, {"type": "forward", "text": text})
            costs.append(time.monotonic() - before)
        return costs

    answer_commands(stream=stream)


if __name__ == "__main__":
    {"send": send}[sys.argv[1]]()
