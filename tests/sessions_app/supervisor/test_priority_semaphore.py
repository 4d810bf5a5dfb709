"""Who goes to the database next."""

import threading
import time

import pytest

from sessions_app.supervisor.database_access import ORDINARY, URGENT, PrioritySemaphore

PATIENCE_S = 30


def arrive(semaphore: PrioritySemaphore, priority: int, name: str, order: list[str]) -> threading.Thread:
    """A thread that is in the queue when this returns."""
    before = len(semaphore._queue)

    def go() -> None:
        with semaphore.hold(priority):
            order.append(name)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    while len(semaphore._queue) == before:
        pass
    return thread


def test_answers_go_first_and_the_others_in_the_order_of_their_arrival() -> None:
    semaphore, order = PrioritySemaphore(1), []
    with semaphore.hold():
        queue = [("a", ORDINARY), ("b", ORDINARY), ("c", URGENT), ("d", ORDINARY), ("e", URGENT)]
        threads = [arrive(semaphore, priority, name, order) for name, priority in queue]
        assert order == []
    for thread in threads:
        thread.join(PATIENCE_S)
    assert order == ["c", "e", "a", "b", "d"]


def test_no_more_go_at_once_than_there_are_places_and_every_place_comes_back() -> None:
    semaphore, guard = PrioritySemaphore(3), threading.Lock()
    inside = most = 0

    def go() -> None:
        nonlocal inside, most
        for _ in range(50):
            with semaphore.hold():
                with guard:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.0005)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=go) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert (inside, most, semaphore._free, semaphore._queue) == (0, 3, 3, [])


def test_work_that_fails_gives_its_place_back() -> None:
    semaphore = PrioritySemaphore(1)
    with pytest.raises(ZeroDivisionError), semaphore.hold():
        _ = 1 / 0
    with semaphore.hold():
        pass
