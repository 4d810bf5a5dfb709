"""How many messages wait in the broker's queues."""

from collections.abc import Iterable

import redis
from django.conf import settings

from orchestra.db.notify import redis_client

ALWAYS = ("default", "sessions")


def depths(names: Iterable[str]) -> dict[str, int] | None:
    """Messages per queue, none of which any worker has taken; None while the broker does not answer.

    A queue is a Redis list of its name (kombu, Redis transport), behind the prefix of this installation.
    """
    wanted = sorted({*ALWAYS, *names})
    try:
        pipeline = redis_client().pipeline(transaction=False)
        for name in wanted:
            pipeline.llen(f"orchestra-{settings.ORCHESTRA.instance}:{name}")
        return dict(zip(wanted, pipeline.execute(), strict=True))
    except (redis.RedisError, OSError):
        return None
