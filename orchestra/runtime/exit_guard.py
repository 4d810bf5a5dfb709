"""A time limit on the shutdown of a worker, which its threads or a lost broker could otherwise
delay for ever.
"""

import logging
import os
import threading
import time

logger = logging.getLogger(__name__)

GRACE_S = 15.0
EXIT_CODE = 75  # EX_TEMPFAIL


def limit_shutdown(**_signal: object) -> None:
    """Receiver of Celery's ``worker_shutting_down``: end the process after `GRACE_S` seconds.

    A worker that lost its broker waits for it, and the threads pool waits for its tasks without
    limit.
    """
    threading.Thread(target=_end, name="exit guard", daemon=True).start()


def _end() -> None:
    time.sleep(GRACE_S)
    logger.warning("the worker did not stop within %g s of the request; ending it", GRACE_S)
    os._exit(EXIT_CODE)
