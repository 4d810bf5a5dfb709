"""Exactly one winner each, a thousand times on PostgreSQL; ``make chaos`` does as many on SQLite, which is slower."""

import json
import subprocess
import sys

import pytest

from tests.chaos.races import RACES, ROUNDS
from tests.stack import ROOT

ON_SQLITE = 300


@pytest.mark.parametrize("race", RACES)
@pytest.mark.django_db(transaction=True)
def test_on_postgresql_each_race_has_one_winner_and_a_loser_who_is_told_the_truth(race: str) -> None:
    won = RACES[race](ROUNDS)
    assert sum(won.values()) == ROUNDS
    assert len(won) == 2, f"the race was never close: {won}"


def test_on_sqlite_each_race_has_one_winner_and_a_loser_who_is_told_the_truth() -> None:
    command = [sys.executable, "-m", "tests.chaos.races", f"--rounds={ON_SQLITE}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for line in done.stdout.splitlines():
        result = json.loads(line)
        assert sum(result["won"].values()) == ON_SQLITE
        assert len(result["won"]) == 2, f"the race was never close: {result}"
