"""A house for the policy: what is Orchestra's own, a working directory, and links between them. All paths are real."""

import json
import os
from pathlib import Path

import pytest

from approvals.models import Rule
from approvals.policy import Call, Surroundings

ALLOW_ALL = Rule(effect="allow", tool="*")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A code folder with a data folder, a working root inside that, and a working directory elsewhere."""
    top = Path(os.path.realpath(tmp_path_factory.mktemp("house")))
    for folder in ("code/var/run", "code/var/workspaces/mine", "work/src", "work/.ssh", "outside"):
        (top / folder).mkdir(parents=True)
    for file in (
        "code/manage.py",
        "code/var/orchestra.db",
        "code/var/secret_key",
        "work/a.txt",
        "work/.env",
        "outside/x",
    ):
        (top / file).write_text("x")
    (top / "work/link-out").symlink_to(top / "outside")
    (top / "work/link-data").symlink_to(top / "code/var")
    (top / "work/innocent.txt").symlink_to(top / "code/var/secret_key")
    (top / "work/link-in").symlink_to(top / "work/src")
    return top


@pytest.fixture(scope="module")
def around(house):
    return Surroundings(
        data_dir=str(house / "code/var"),
        code_dir=str(house / "code"),
        working_roots=(str(house / "code/var/workspaces"), str(house / "work")),
        port=5284,
        private_paths=(str(house / "outside/valkey.sock"),),
    )


def call(house, tool, directory="work", **arguments):
    return Call(tool_name=tool, tool_input=json.dumps(arguments), directory=str(house / directory))


def in_house(text, house):
    return (
        text.replace("{code}", str(house / "code"))
        .replace("{var}", str(house / "code/var"))
        .replace("{top}", str(house))
    )


def rule(effect, tool, pattern=""):
    return Rule(effect=effect, tool=tool, pattern=pattern, note=f"{effect} {tool} {pattern}")
