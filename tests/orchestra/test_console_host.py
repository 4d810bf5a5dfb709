"""The console's cookies live on one host; see ``tests/flows/test_browser_ports.py`` for what browsers do with that."""

from dataclasses import replace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from orchestra.auth.sign_in_links import base_url, make_link
from orchestra.checks import check_console_host
from orchestra.conf import OrchestraSettings
from orchestra.environment import Environment
from orchestra.middleware.console_host import facts
from tests.factories import make_user, token_for

CONSOLE, FRONT = "orchestra-0123456789abcdef.localhost", "orchestra.localhost"
PASSWORD = "correct horse battery"


@pytest.fixture
def hosts(settings: Any) -> None:
    settings.ORCHESTRA = replace(settings.ORCHESTRA, console_host=CONSOLE, front_host=FRONT)
    settings.ALLOWED_HOSTS = [CONSOLE, FRONT, "127.0.0.1", "localhost", "[::1]"]
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORCHESTRA_ALLOWED_HOSTS", raising=False)


def read(tmp_path: Any, **options: Any) -> OrchestraSettings:
    fixed = {"embedded": True, "redis_url": "", "secret_key": "k" * 50, "database": {"NAME": "x"}}
    return OrchestraSettings.from_env(Environment(), data_dir=tmp_path, **(fixed | options))


def test_on_one_persons_machine_the_name_is_private_and_stays_the_same(tmp_path: Any) -> None:
    one, again, other = read(tmp_path), read(tmp_path), read(tmp_path, secret_key="o" * 50)
    assert one.front_host == FRONT
    assert one.console_host == again.console_host != other.console_host
    assert one.console_host not in repr(one)
    assert read(tmp_path, embedded=False).console_host == ""


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ORCHESTRA_PUBLIC_URL", "https://orchestra.example.com"),
        ("ORCHESTRA_HOST", "0.0.0.0"),
        ("ORCHESTRA_ALLOWED_HOSTS", "127.0.0.1,mybox.lan"),
        ("ORCHESTRA_CONSOLE_HOST", ""),
        ("ORCHESTRA_CONSOLE_HOST", "off"),
    ],
)
def test_elsewhere_there_is_none(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, settings: Any, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    settings.ORCHESTRA = read(tmp_path)
    assert (settings.ORCHESTRA.console_host, settings.ORCHESTRA.front_host) == ("", "")
    off = variable in ("ORCHESTRA_CONSOLE_HOST", "ORCHESTRA_ALLOWED_HOSTS")
    assert [found.id for found in check_console_host()] == ["orchestra.W004"] * off
    assert facts()[0].fine is not off


def test_a_name_of_ones_own(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRA_CONSOLE_HOST", "Desk.localhost")
    found = read(tmp_path, embedded=False)
    assert (found.console_host, found.front_host) == ("desk.localhost", "desk.localhost")
    monkeypatch.setenv("ORCHESTRA_CONSOLE_HOST", "http://desk.localhost:80/")
    with pytest.raises(ImproperlyConfigured, match="ORCHESTRA_CONSOLE_HOST takes a host name"):
        read(tmp_path)


@pytest.mark.django_db
@pytest.mark.parametrize("host", ["127.0.0.1:5284", "localhost:5284", "[::1]:5284"])
def test_people_are_sent_on_with_their_path_and_port(client: Client, hosts: None, host: str) -> None:
    answer = client.get("/approvals?status=pending", headers={"host": host})
    assert (answer.status_code, answer["Location"]) == (302, f"http://{FRONT}:5284/approvals?status=pending")
    for path in ("/sign-in", "/admin/login/", "/approvals/x/decide"):
        answer = client.post(path, {"username": "anna"}, headers={"host": host})
        assert (answer.status_code, answer["Location"]) == (303, f"http://{FRONT}:5284/sign-in")
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.django_db
def test_a_session_counts_on_the_consoles_host_alone(hosts: None) -> None:
    anna = make_user("anna", group="Viewer")
    client = Client()
    client.force_login(anna)
    assert client.get("/api/approvals", headers={"host": CONSOLE}).status_code == 200
    for host in ("127.0.0.1", "localhost", "[::1]", FRONT):
        assert client.get("/api/approvals", headers={"host": host}).status_code == 401
        header = {"host": host, "Authorization": f"Token {token_for(anna)}"}
        assert Client().get("/api/approvals", headers=header).status_code == 200
    assert client.get("/account", headers={"host": FRONT}).status_code == 302


@pytest.mark.django_db
def test_the_password_leads_to_the_console_and_sets_no_session_before(hosts: None) -> None:
    anna = make_user("anna", group="Viewer")
    anna.set_password(PASSWORD)
    anna.save()
    client = Client()
    form = {"username": "anna", "password": PASSWORD, "next": "/approvals"}
    answer = client.post("/sign-in", form, headers={"host": f"{FRONT}:99"})
    assert "sessionid" not in client.cookies
    link = answer.context["link"]
    assert link.startswith(f"http://{CONSOLE}:99/sign-in/") and link.endswith("?next=%2Fapprovals")
    done = client.post(link.removeprefix(f"http://{CONSOLE}:99"), headers={"host": CONSOLE})
    assert (done.status_code, done["Location"]) == (302, "/approvals")
    assert "domain" not in str(client.cookies["sessionid"]).lower()
    wrong = client.post("/sign-in", form | {"password": "x"}, headers={"host": FRONT})
    assert CONSOLE not in wrong.content.decode()


@pytest.mark.django_db
def test_a_link_that_works_finds_its_host_and_one_that_does_not_tells_nothing(hosts: None) -> None:
    path = make_link(make_user("anna")).removeprefix(base_url())
    assert base_url().startswith(f"http://{CONSOLE}:")
    answer = Client().get(path, headers={"host": FRONT})
    assert (answer.status_code, answer["Location"]) == (302, f"http://{CONSOLE}{path}")
    for method in ("get", "post"):
        answer = getattr(Client(), method)("/sign-in/unknown", headers={"host": FRONT})
        assert answer.status_code == 410
        assert CONSOLE not in f"{answer.headers} {answer.content.decode()}"
