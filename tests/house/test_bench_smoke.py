"""The bench runs, on the servers of the suite. Its figures are not judged: a loaded machine would fail for nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from bench.decision_latency import Goal

FIGURES = {"visible_p50_ms", "visible_p99_ms", "act_p50_ms", "act_p99_ms", "total_p50_ms", "approvals_s"}


def test_a_tiny_run_measures_both_sides_of_every_round(tmp_path: Path) -> None:
    written = tmp_path / "rounds.json"
    sizes = ["--rounds", "2", "--sessions", "1,2", "--asks", "3"]
    command = [sys.executable, "-m", "bench.decision_latency", *sizes, "--dsn", os.environ["DATABASE_URL"]]
    done = subprocess.run(
        [*command, "--json", str(written)], cwd=settings.BASE_DIR, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rounds = json.loads(written.read_text())["rounds"]
    assert [(row["round"], row["sessions"]) for row in rounds] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    for row in rounds:
        for side in ("floor", "orchestra"):
            assert row[side]["n"] == 3 * row["sessions"]
            assert all(row[side][name] > 0 for name in FIGURES)


def test_a_server_without_fsync_is_named_in_the_output(tmp_path: Path) -> None:
    written = tmp_path / "rounds.json"
    sizes = ["--rounds", "1", "--sessions", "1", "--asks", "3"]
    command = [sys.executable, "-m", "bench.decision_latency", *sizes, "--dsn", os.environ["DATABASE_URL"]]
    done = subprocess.run(
        [*command, "--json", str(written)], cwd=settings.BASE_DIR, capture_output=True, text=True, check=True
    )
    durable = json.loads(written.read_text())["durable"]
    assert ("do not apply to production" in done.stdout) == (not durable)


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.4, 1.5, 1.6], "aim met"),
        ([1.5, 2.0, 3.0], "met"),
        ([2.4, 2.6, 2.7], "not shown"),
        ([2.6, 2.7, 2.8], "MISSED"),
    ],
)
def test_a_miss_within_the_spread_is_not_shown_and_never_a_pass(ratios: list[float], verdict: str) -> None:
    assert Goal("act_p50_ms", must=2.5, aim=1.6).verdict(ratios) == verdict


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [([0.7, 0.6], "aim met"), ([0.4, 0.5], "met"), ([0.3, 0.3, 0.5], "not shown"), ([0.3], "MISSED")],
)
def test_a_rate_is_bounded_from_below(ratios: list[float], verdict: str) -> None:
    assert Goal("approvals_s", must=0.4, aim=0.6).verdict(ratios) == verdict


def test_a_tiny_run_of_the_hub_measures_all_sides_and_loses_nothing(tmp_path: Path) -> None:
    written = tmp_path / "hub.json"
    sizes = ["--rounds", "1", "--clients", "3", "--events", "5", "--burst", "20", "--viewers", "3", "--stuck", "1"]
    command = [sys.executable, "-m", "bench.hub", *sizes, "--seconds", "1", "--dsn", os.environ["DATABASE_URL"]]
    done = subprocess.run(
        [*command, "--json", str(written)], cwd=settings.BASE_DIR, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(written.read_text())
    for side in ("bridge", "group_send", "orchestra"):
        assert told["rounds"][0][side]["p50_ms"] > 0
    assert (told["rounds"][0]["orchestra"]["lost"], told["rounds"][0]["orchestra"]["burst_lost"]) == (0, 0)
    crowd = told["crowd"]
    assert (crowd["viewers"]["messages"], crowd["viewers"]["lost"], crowd["again"]["gaps"]) == (3 * 50, 0, 0)


def test_a_tiny_run_of_the_talker_measures_all_figures() -> None:
    sizes = ["--rounds", "1", "--lines", "500", "--events", "100"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.chatter", *sizes],
        cwd=settings.BASE_DIR, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["heard", "stored", "memory", "neighbour"]


def test_what_judging_costs_is_measured_beside_reading_the_same_input(tmp_path: Path) -> None:
    written = tmp_path / "cost.json"
    command = [sys.executable, "-m", "bench.policy_cost", "--rounds", "1", "--calls-only", "--save", str(written)]
    done = subprocess.run(command, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False)
    figures = json.loads(written.read_text()) if written.exists() else done.stderr[-2000:]
    assert figures["calls"] > 40
    assert all(figures[name] > 0 for name in ("p50_ms", "p99_ms", "ratio"))
