"""The floor of the hub: one Redis subscription per web process and a loop over its sockets.

It has no framework, no database and no authentication, and does not repeat lost messages.
bench/hub.py runs it, as ``serve`` and as ``send``.
"""

import asyncio
import contextlib
import os
import sys
import time
from typing import Any

import redis
import redis.asyncio

from bench.child import serve as answer_commands
from bench.pace import paced

CHANNEL = "bench-bridge"
PAD = "x" * 220  # frames of about 300 bytes


def serve() -> None:
    import uvicorn

    sockets: set[Any] = set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"].endswith("shutdown"):
                    return
        await receive()
        await send({"type": "websocket.accept"})
        sockets.add(send)
        try:
            while (await receive())["type"] != "websocket.disconnect":
                pass
        finally:
            sockets.discard(send)

    async def main() -> None:
        port = int(os.environ["BENCH_BRIDGE_PORT"])
        config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", ws_per_message_deflate=False)
        server = asyncio.create_task(uvicorn.Server(config).serve())
        subscription = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"]).pubsub(ignore_subscribe_messages=True)
        await subscription.subscribe(CHANNEL)
        async for message in subscription.listen():
            text = message["data"].decode()
            for send in list(sockets):
                with contextlib.suppress(Exception):
                    await send({"type": "websocket.send", "text": text})
        await server

    asyncio.run(main())


def send() -> None:
    client = redis.Redis.from_url(os.environ["REDIS_URL"])

    def stream(count: int, rate: float) -> list[float]:
        """Publish messages at a rate; return the seconds that each PUBLISH took."""
        costs = []
        for number in paced(count, rate):
            before = time.monotonic()
            client.publish(CHANNEL, f'{{"type": "event", "id": {number}, "at": "ts={before:.6f}", "pad": "{PAD}"}}')
            costs.append(time.monotonic() - before)
        return costs

    answer_commands(stream=stream)


if __name__ == "__main__":
    {"serve": serve, "send": send}[sys.argv[1]]()
