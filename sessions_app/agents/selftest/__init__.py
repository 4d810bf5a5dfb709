"""Self-test: can Orchestra supervise this CLI? It runs offline, against a scripted model that is
part of Orchestra.

Every guarantee of Orchestra depends on the result: a CLI that does not wait for a decision, does
not defer a call, repeats a deferred call without a request, or reads files by itself would run
calls that people reject. The test starts three short processes; see ``scenes``.
"""

from sessions_app.agents.selftest.scenes import Inconclusive, SelfTest

__all__ = ["Inconclusive", "run_selftest"]


def run_selftest() -> str:
    """Run all scenes; return why the configured CLI must not be used, in one sentence, or empty if
    it passed.

    Raises:
        Inconclusive: the CLI died, hung or was killed during the test, which proves nothing.
    """
    with SelfTest.prepared() as test:
        for scene in (test.holds_and_reports, test.defers, test.repeats_before_it_is_initialized):
            problem = scene()
            if problem:
                return problem
    return ""
