"""Sign-in links and API keys, from the shell to the browser."""

import re
from datetime import timedelta
from importlib import import_module
from threading import Barrier, Thread
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from knox.models import AuthToken

from orchestra.auth import sign_in_links
from orchestra.auth.permissions import BUILT_IN_GROUPS, Right, rights_of
from orchestra.models import SignInLink


@pytest.fixture
def anna(db: None) -> User:
    return User.objects.create_user("anna", password="a long enough one")


def path_of(link: str) -> str:
    return link.removeprefix(sign_in_links.base_url())


def signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_a_link_shows_a_button_and_the_button_signs_in_once(client: Client, anna: User) -> None:
    path = path_of(sign_in_links.make_link(anna))
    page = client.get(path)
    assert page.status_code == 200
    assert b"Sign in as <bdi>anna</bdi>" in page.content
    assert not signed_in(client)

    done = client.post(path)
    assert (done.status_code, done["Location"]) == (302, "/")
    assert client.session["_auth_user_id"] == str(anna.pk)

    stranger = Client()
    assert stranger.post(path).status_code == 410
    assert not signed_in(stranger)


def test_looking_at_a_link_as_a_preview_does_uses_nothing_up(client: Client, anna: User) -> None:
    path = path_of(sign_in_links.make_link(anna))
    for _ in range(3):
        assert client.get(path).status_code == 200
        assert client.head(path).status_code == 200
    assert client.post(path).status_code == 302


def test_used_expired_and_unknown_links_look_the_same(client: Client, anna: User) -> None:
    used = path_of(sign_in_links.make_link(anna))
    Client().post(used)
    expired = path_of(sign_in_links.make_link(anna))
    SignInLink.objects.filter(used_at=None).update(expires_at=Now() - timedelta(seconds=1))
    answers = [getattr(client, method)(path) for path in (used, expired, "/sign-in/x") for method in ("get", "post")]
    assert {(answer.status_code, answer.content) for answer in answers} == {(410, answers[0].content)}
    assert b"no longer valid" in answers[0].content
    assert not signed_in(client)


def test_a_link_of_an_account_that_was_switched_off_opens_nothing(client: Client, anna: User) -> None:
    path = path_of(sign_in_links.make_link(anna))
    User.objects.update(is_active=False)
    assert client.get(path).status_code == 410
    assert client.post(path).status_code == 410
    assert not signed_in(client)


def test_signing_in_needs_the_form_it_showed(anna: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    path = path_of(sign_in_links.make_link(anna))
    assert strict.post(path).status_code == 403
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', strict.get(path).content.decode())
    assert token
    assert strict.post(path, {"csrfmiddlewaretoken": token[1]}).status_code == 302


def test_the_page_is_neither_kept_nor_told_to_others(client: Client, anna: User) -> None:
    answer = client.get(path_of(sign_in_links.make_link(anna)))
    assert "no-store" in answer["Cache-Control"]
    assert answer["Referrer-Policy"] == "same-origin"


def test_the_table_keeps_no_token(anna: User) -> None:
    token = path_of(sign_in_links.make_link(anna)).rpartition("/")[2]
    link = SignInLink.objects.get()
    assert token not in str(SignInLink.objects.values().get())
    assert link.expires_at - link.created_at == sign_in_links.LIFETIME


@pytest.mark.django_db(transaction=True)
def test_of_ten_who_press_at_once_one_gets_in() -> None:
    path = path_of(sign_in_links.make_link(User.objects.create_user("anna")))
    together, codes = Barrier(10), []

    def press() -> None:
        browser = Client()
        together.wait()
        codes.append(browser.post(path).status_code)
        connection.close()

    threads = [Thread(target=press) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [302] + [410] * 9


@pytest.mark.django_db
def test_the_owner_is_made_once_and_cannot_sign_in_with_a_password() -> None:
    owner = sign_in_links.owner()
    assert (owner.username, owner.is_superuser, owner.has_usable_password()) == ("admin", True, False)
    assert sign_in_links.owner() == owner


@pytest.mark.django_db
def test_an_owner_who_renamed_the_account_keeps_it() -> None:
    User.objects.create_superuser("boss")
    assert sign_in_links.owner().username == "boss"
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:1"), ("0.0.0.0", "http://127.0.0.1:1"), ("::", "http://[::1]:1")],
)
def test_a_server_that_listens_everywhere_is_reached_here(host: str, url: str) -> None:
    assert sign_in_links.local_url(host, 1) == url


def last_line(out: str) -> str:
    return out.splitlines()[-1]


def test_the_command_prints_the_url_alone_as_its_last_line(client: Client, anna: User, capsys: Any) -> None:
    call_command("sign_in_link", "anna")
    url = last_line(capsys.readouterr().out)
    assert url.startswith(f"{sign_in_links.base_url()}/sign-in/")
    assert client.post(path_of(url)).status_code == 302


def test_the_command_prints_a_key_that_opens_the_api(client: Client, anna: User, capsys: Any) -> None:
    anna.groups.add(Group.objects.get(name="Viewer"))
    call_command("create_token", "anna", "--days", "7")
    key = last_line(capsys.readouterr().out)
    assert client.get("/api/approvals").status_code == 401
    assert client.get("/api/approvals", headers={"Authorization": f"Token {key}"}).status_code == 200
    token = AuthToken.objects.get()
    assert token.expiry is not None
    assert round((token.expiry - token.created) / timedelta(days=1)) == 7
    assert key not in str(AuthToken.objects.values().get())


def test_a_key_is_good_for_ninety_days_unless_said_otherwise(anna: User) -> None:
    call_command("create_token", "anna")
    token = AuthToken.objects.get()
    assert token.expiry is not None
    assert round((token.expiry - token.created) / timedelta(days=1)) == 90


def test_a_key_without_rights_is_made_with_a_warning(anna: User, capsys: Any) -> None:
    call_command("create_token", "anna")
    assert "may do nothing" in capsys.readouterr().err


@pytest.mark.django_db
def test_an_account_for_a_program_is_made_on_request(capsys: Any) -> None:
    call_command("create_token", "robot", "--create", "--group", "Asker")
    robot = User.objects.get(username="robot")
    assert rights_of(robot) == {Right.ASK}
    assert not robot.has_usable_password()
    assert capsys.readouterr().err == ""


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["create_token", "nobody"], "createsuperuser --username nobody"),
        (["sign_in_link", "nobody"], "There is no account 'nobody'"),
        (["create_token", "robot", "--create"], "--create needs --group"),
        (["create_token", "robot", "--create", "--group", "Boss"], "There is no group 'Boss'. There are: Viewer, "),
        (["create_token", "robot", "--create", "--group", "Asker", "--days", "0"], "--days is a number from 1"),
        (["create_token", "robot", "--create", "--group", "Asker", "--days", "x"], "invalid int value"),
    ],
)
def test_wrong_arguments_are_refused_with_a_sentence(arguments: list[str], why: str) -> None:
    with pytest.raises(CommandError, match=re.escape(why)):
        call_command(*arguments)
    assert not User.objects.exists()


def test_an_account_that_is_switched_off_gets_no_link(anna: User) -> None:
    User.objects.update(is_active=False)
    with pytest.raises(CommandError, match="switched off"):
        call_command("sign_in_link", "anna")


@pytest.mark.django_db
def test_the_migration_made_the_groups_whose_rights_are_known() -> None:
    assert set(Group.objects.values_list("name", flat=True)) == set(BUILT_IN_GROUPS)
    assert set(import_module("orchestra.migrations.0002_groups").GROUPS) == set(BUILT_IN_GROUPS)


@pytest.mark.django_db
def test_the_front_page_leads_to_the_sign_in_and_back(client: Client) -> None:
    leads_to = client.get("/")["Location"]
    assert leads_to == f"{settings.LOGIN_URL}?next=/"
    assert client.get(leads_to).status_code == 200
