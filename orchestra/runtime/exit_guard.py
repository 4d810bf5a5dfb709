"""A worker that was told to stop ends, whatever its threads, its broker or its libraries think of it."""

import logging
import os
import threading
import time

logger = logging.getLogger(__name__)

GRACE_S = 15.0
EXIT_CODE = 75  # EX_TEMPFAIL


def limit_shutdown(**_signal: object) -> None:
    """Receiver of Celery's ``worker_shutting_down``: from now on there are `GRACE_S` seconds left.

    A worker that lost its broker would wait for it, and the threads pool waits for its tasks for ever.
    """
    threading.Thread(target=_end, name="exit guard", daemon=True).start()


def _end() -> None:
    time.sleep(GRACE_S)
    logger.warning("the worker did not stop within %g s of being told; ending it", GRACE_S)
    os._exit(EXIT_CODE)
