"""Is this CLI fit to be governed? Tried offline, with a scripted model that the product brings.

Everything Orchestra promises rests on the answer: a CLI that does not wait, does not put a call off, repeats it unasked
or reads files by itself would run what people reject. Three short processes try it; see ``scenes``.
"""

from sessions_app.agents.selftest.scenes import Inconclusive, SelfTest

__all__ = ["Inconclusive", "reason_it_is_unfit"]


def reason_it_is_unfit() -> str:
    """Why the configured CLI must not be used, in one sentence; empty if it passed.

    Raises:
        Inconclusive: it died, hung, or was killed meanwhile; nothing is known about it.
    """
    with SelfTest.prepared() as test:
        for scene in (test.holds_and_reports, test.puts_off, test.repeats_before_it_is_initialized):
            problem = scene()
            if problem:
                return problem
    return ""
