"""The OpenAPI schema is current and sound, and the routes keep what it says."""

import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
import yaml
from django.conf import settings
from django.core.management import call_command
from rest_framework.test import APIClient

from tests.factories import make_approval, make_session
from tests.web import running

COMMITTED = Path(settings.BASE_DIR) / "docs" / "openapi.yaml"
EXAMPLES = 20  # an operation
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")


def test_the_committed_schema_is_current_and_free_of_warnings() -> None:
    current = StringIO()
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=current)
    assert current.getvalue() == COMMITTED.read_text(), (
        "run: .venv/bin/python manage.py spectacular --file docs/openapi.yaml"
    )


def test_every_operation_says_what_it_does_how_it_fails_and_what_is_sent() -> None:
    schema = yaml.safe_load(COMMITTED.read_text())
    described = {tag["name"] for tag in schema["tags"]}
    bodies = schema["components"]["schemas"]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert set(operation["tags"]) <= described, where
            if "/schema" in path:
                continue
            assert {"token": []} in operation["security"], where
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert answer["content"]["application/json"]["examples"], where
                    assert answer["description"], where
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            name = body.get("schema", {}).get("$ref", "").rpartition("/")[2]
            assert not bodies.get(name, {}).get("properties") or body["examples"], where


@pytest.mark.django_db
def test_the_schema_is_open_to_everybody_and_a_wrong_token_does_no_harm() -> None:
    for path in ("/api/schema", "/api/schema/", "/api/schema?format=json"):
        answer = APIClient().get(path, headers={"Authorization": "Token wrong"})
        assert (answer.status_code, b"Orchestra API" in answer.content) == (200, True)


@pytest.mark.timeout(600)  # hundreds of requests; only to end a hang
@pytest.mark.django_db(transaction=True)
def test_no_request_made_up_from_the_schema_breaks_anything(tmp_path: Path) -> None:
    """The stream is left out: it would never end."""
    make_session()
    make_approval()
    # ids from answers would make it wait for people: GET /api/approvals/{id}?wait=60
    (tmp_path / "schemathesis.toml").write_text("[phases.fuzzing.extra-data-sources]\nresponses = false\n")
    with running(tmp_path) as web:
        run = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")), "run", f"http://127.0.0.1:{web.port}/api/schema",
                "--header", f"Authorization: Token {web.token}", "--exclude-path-regex", "/stream$",
                "--phases", "examples,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1", "--no-color",
                "--checks", ",".join(CHECKS),
                "--request-timeout", "20",
            ],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
