"""What is delivered for containers, systemd and nginx names processes, settings and files that exist."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from config.processes import programs
from orchestra.checks import check_production
from orchestra.metrics.exposition import check_token
from sessions_app.agents.discovery import INSTALL
from sessions_app.checks import check_agent_account

ROOT = Path(settings.BASE_DIR)
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SETTINGS = set(re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))
# What the images of others, or the image itself, understand.
FOREIGN = ("POSTGRES_", "GF_", "PYTHON", "PATH", "PIP_", "ORCHESTRA_DASHBOARDS", "PROMETHEUS_URL")
KEY = "k" + "aBcDeFgHiJ0123456789" * 3
GOOD = {
    "ORCHESTRA_ENVIRONMENT": "production",
    "ORCHESTRA_SECRET_KEY": KEY,
    "ORCHESTRA_ALLOWED_HOSTS": "orchestra.example.com",
    "ORCHESTRA_PUBLIC_URL": "https://orchestra.example.com",
    "DATABASE_URL": "postgres://orchestra:hush-hush-hush@localhost/orchestra",
    "REDIS_URL": "redis://localhost:6379/0",
    "METRICS_TOKEN": "figures-for-few",
    "AGENT_RUN_AS": "agent",
}


def known_processes() -> set[str]:
    return {program.name for program in programs()} - {"valkey"} | {"telegram"}


def is_setting(name: str) -> bool:
    return name.removesuffix("_FILE") in SETTINGS or name.startswith(FOREIGN)


def test_compose_runs_every_process_of_the_table_and_no_other():
    commands = {
        name: service["command"] for name, service in SERVICES.items() if "manage.py" in service.get("command", ())
    }
    run = {command[3] for command in commands.values() if command[2] == "run"}
    assert run == known_processes()
    assert commands["migrate"][2] == "migrate"


def test_compose_sets_only_settings_that_there_are():
    for name, service in SERVICES.items():
        unknown = [key for key in service.get("environment", {}) if not is_setting(key)]
        assert not unknown, f"{name}: {unknown}"
    wanted = re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text())
    assert wanted and all(map(is_setting, wanted))


def test_every_secret_of_compose_is_a_file_that_is_made_once(tmp_path):
    copy = tmp_path / "tools" / "make_secrets.py"
    copy.parent.mkdir()
    shutil.copy(ROOT / "tools" / "make_secrets.py", copy)
    runs = []
    for _ in range(2):
        subprocess.run([sys.executable, str(copy)], check=True, stdout=subprocess.DEVNULL)
        runs.append({path.name: path.read_text() for path in (tmp_path / "deploy" / "secrets").iterdir()})
    made, again = runs
    assert made == again, "a second run changes nothing"
    assert {f"deploy/secrets/{name}" for name in made} == {entry["file"] for entry in COMPOSE["secrets"].values()}
    assert made["postgres_password"] in made["database_url"]
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == COMPOSE["secrets"].keys()
    assert all(not value.endswith("\n") for value in made.values())


def test_images_are_pinned_and_limited():
    for name, service in SERVICES.items():
        image = service["image"]
        assert image.startswith("orchestra") or re.search(r":v?\d", image), f"{name}: {image} may change under us"
        assert service["deploy"]["resources"]["limits"]["memory"], name


def test_the_image_for_agents_brings_the_cli_that_was_tried():
    version = re.search(r"ARG CLI_VERSION=(\S+)", (ROOT / "Dockerfile").read_text())
    assert version and INSTALL.endswith(f"@{version[1]}")


def test_the_image_installs_from_hashed_lock_files_and_runs_as_nobody_special():
    text = (ROOT / "Dockerfile").read_text()
    copied = re.search(r"^COPY (requirements.*) \./$", text, re.M)
    assert copied
    assert all("--hash=sha256:" in (ROOT / name).read_text() for name in copied[1].split())
    assert re.findall(r"^USER (\S+)", text, re.M)[-1] == "orchestra"
    assert text.count("--require-hashes") == text.count("pip install")


def test_systemd_units_start_processes_that_there_are():
    web = (DEPLOY / "systemd" / "orchestra-api.service").read_text()
    others = (DEPLOY / "systemd" / "orchestra@.service").read_text()
    assert "manage.py run web" in web and "manage.py run %i" in others
    assert set(re.findall(r"orchestra@(\w+)", others)) | {"web"} == known_processes()
    names = re.findall(r"\b(ORCHESTRA_\w+)=", web + others)
    assert names and all(map(is_setting, names))


def profiles() -> list[dict[str, str]]:
    texts = [path.read_text() for path in sorted((DEPLOY / "profiles").glob("*.env"))]
    return [dict(line.split("=", 1) for line in text.splitlines() if line and line[0] != "#") for text in texts]


def test_profiles_set_settings_that_there_are():
    assert len(profiles()) == 4
    assert all(is_setting(name) for profile in profiles() for name in profile)


def check(env: dict[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    """What ``manage.py check --deploy`` says with these settings and no others."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "ORCHESTRA_DATA_DIR", "ORCHESTRA_ENV_FILE")}
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", *more], cwd=ROOT, env=inherited | env,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_safe_production_start_has_nothing_to_say():
    tuned = {name: value for profile in profiles() for name, value in profile.items()}
    done = check(GOOD | tuned, "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout + done.stderr


def test_an_unsafe_production_start_is_refused_and_told_why():
    refused = check(GOOD | {"ORCHESTRA_SECRET_KEY": "", "ORCHESTRA_ALLOWED_HOSTS": ""})
    assert refused.returncode != 0
    assert all(word in refused.stderr for word in ("orchestra.E001", "orchestra.E003", "HINT"))


@pytest.fixture
def production(settings):
    """The settings of a good production start, as far as the checks look at them."""
    settings.SECRET_KEY, settings.ALLOWED_HOSTS = KEY, ["orchestra.example.com"]
    public = {"environment": "production", "public_url": "https://orchestra.example.com"}
    settings.ORCHESTRA = dataclasses.replace(settings.ORCHESTRA, **public)
    settings.AGENTS = dataclasses.replace(settings.AGENTS, run_as="agent")
    settings.METRICS = dataclasses.replace(settings.METRICS, token="figures-for-few")
    return settings


def said() -> list[str]:
    return [str(message.id) for message in [*check_production(), *check_agent_account(), *check_token()]]


def test_a_good_start_is_let_through(production):
    assert said() == ["orchestra.W003"] * (connection.vendor == "sqlite")


@pytest.mark.parametrize("key", ["", "short", "change-me-" * 8, "a" * 60])
def test_a_weak_key_is_refused(production, key):
    production.SECRET_KEY = key
    assert "orchestra.E001" in said()


@pytest.mark.parametrize("hosts", [[], ["*"], ["*.example.com", "localhost"]])
def test_wildcard_hosts_are_refused(production, hosts):
    production.ALLOWED_HOSTS = hosts
    assert "orchestra.E003" in said()


def test_debug_is_refused(production):
    production.DEBUG = True
    assert "orchestra.E002" in said()


def test_what_is_allowed_but_unwise_is_warned_of(production):
    production.ORCHESTRA = dataclasses.replace(production.ORCHESTRA, public_url="http://orchestra.example.com")
    production.AGENTS = dataclasses.replace(production.AGENTS, run_as="")
    production.METRICS = dataclasses.replace(production.METRICS, token="")
    assert {"orchestra.W001", "orchestra.W002", "sessions_app.W001"} <= set(said())


def test_development_is_left_in_peace(production):
    production.ORCHESTRA = dataclasses.replace(production.ORCHESTRA, environment="development")
    production.SECRET_KEY, production.ALLOWED_HOSTS = "short", ["*"]
    assert said() == []


def test_secrets_may_come_from_files(tmp_path):
    for name, value in (("key", KEY), ("url", GOOD["DATABASE_URL"]), ("token", GOOD["METRICS_TOKEN"])):
        (tmp_path / name).write_text(value)
    files = {
        "ORCHESTRA_SECRET_KEY_FILE": str(tmp_path / "key"),
        "DATABASE_URL_FILE": str(tmp_path / "url"),
        "METRICS_TOKEN_FILE": str(tmp_path / "token"),
    }
    plain = {name: value for name, value in GOOD.items() if f"{name}_FILE" not in files}
    done = check(plain | files, "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr


def test_a_process_that_is_not_in_the_table_is_named_as_such():
    with pytest.raises(CommandError, match=r"no process 'nonsense'.*web"):
        call_command("run", "nonsense")
