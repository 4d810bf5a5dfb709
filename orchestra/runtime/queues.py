from collections.abc import Iterable

import redis
from django.conf import settings

from orchestra.db.notify import redis_client

ALWAYS = ("default", "sessions")


def depths(names: Iterable[str]) -> dict[str, int] | None:
    """Return how many messages wait in each queue, or None if the broker does not answer.

    A queue is a Redis list with the queue's name after this installation's prefix (kombu, Redis
    transport). Messages that a worker has received are not in it.
    """
    wanted = sorted({*ALWAYS, *names})
    try:
        pipeline = redis_client().pipeline(transaction=False)
        for name in wanted:
            pipeline.llen(f"orchestra-{settings.ORCHESTRA.instance}:{name}")
        return dict(zip(wanted, pipeline.execute(), strict=True))
    except (redis.RedisError, OSError):
        return None
