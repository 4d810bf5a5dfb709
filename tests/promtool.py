"""Prometheus' own tool as a judge; Debian's package ``prometheus`` brings it, and .ci/run installs that."""

import os
import re
import shutil
import subprocess

import pytest


def promtool(*arguments: str, text: str = "") -> str:
    """What it says; fails the test if it is not content. Skips where it is not installed, but never in CI."""
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI"):
            raise AssertionError("promtool is missing: apt-get install prometheus")
        pytest.skip("promtool is not installed")
    done = subprocess.run([program, *arguments], input=text, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def check_metrics(text: str) -> None:
    """Judge a scrape, but for two gauges of django-prometheus that are named like counters."""
    promtool("check", "metrics", text=re.sub(r"(?m)^(# \w+ )?django_migrations_.*\n", "", text))
