"""Whoever has to sign in first arrives where they were going, by every way in, and never on another site."""

from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from orchestra.auth import next_page, sign_in_links
from tests.factories import make_approval, make_user

PASSWORD = "correct horse battery"
HOSTILE = [
    "https://evil.example/", "//evil.example/", "///evil.example", "/\\evil.example", "\\\\evil.example",
    "javascript:alert(1)", "http:///evil.example", "\t//evil.example", " //evil.example", "/\t/evil.example",
    "/\n/evil.example", "evil.example", "data:text/html,x", "/" + "x" * 2000, "https://testserver/", "/sign-in?next=/x",
    "/sign-out", "/x\r\nSet-Cookie: a=b", "//testserver@evil.example",
]  # fmt: skip
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def anna() -> User:
    user = make_user("anna", group="Approver")
    user.set_password(PASSWORD)
    user.save()
    return user


@pytest.fixture
def page() -> str:
    return f"/approvals/{make_approval().pk}"


def path_of(link: str) -> str:
    return link.removeprefix(sign_in_links.base_url())


def asked_to_sign_in(client: Client, page: str) -> str:
    answer = client.get(page)
    assert answer.status_code == 302
    return str(answer["Location"])


def test_a_password_leads_to_the_request_that_details_named(client: Client, anna: User, page: str) -> None:
    form = client.get(asked_to_sign_in(client, page))
    fields = {"username": "anna", "password": "wrong", "next": form.context["next"]}
    again = client.post("/sign-in", fields)  # a wrong password loses nothing
    done = client.post("/sign-in", fields | {"password": PASSWORD, "next": again.context["next"]})
    assert done["Location"] == page
    assert client.get(page).status_code == 200


def test_a_one_time_link_opened_in_the_same_browser_leads_there_too(client: Client, anna: User, page: str) -> None:
    client.get(asked_to_sign_in(client, page))
    link = path_of(sign_in_links.make_link(anna))
    assert "You'll continue where you left off" in client.get(link).content.decode()
    assert client.post(link)["Location"] == page
    assert client.post(path_of(sign_in_links.make_link(anna)))["Location"] == "/"  # once


def test_a_one_time_link_names_the_page_itself_for_another_browser(anna: User, page: str, capsys: Any) -> None:
    call_command("sign_in_link", "anna", next=page)
    link = path_of(capsys.readouterr().out.strip().splitlines()[-1])
    browser = Client()
    assert browser.get(link).status_code == 200
    assert browser.post(link)["Location"] == page
    with pytest.raises(CommandError, match="--next takes the path of a page"):
        call_command("sign_in_link", "anna", next="https://evil.example/")


def test_the_sign_in_page_names_the_command_with_the_page(client: Client, anna: User, page: str) -> None:
    assert f"sign_in_link YOUR_NAME --next {page}<" in client.get(asked_to_sign_in(client, page)).content.decode()
    for dangerous in ("/x;reboot", "/x$(reboot)", "/x`reboot`", "/x&reboot"):
        assert "--next" not in client.get("/sign-in", {"next": dangerous}).content.decode()


def test_a_link_that_is_used_up_leads_to_the_password_page_and_on(client: Client, anna: User, page: str) -> None:
    link = path_of(sign_in_links.make_link(anna, wanted=page))
    Client().post(link)
    assert f'href="/sign-in?next={page}"' in client.get(link).content.decode()


def test_a_session_that_ended_while_a_form_was_open_leads_back_to_its_page(client: Client, page: str) -> None:
    gone = client.post(f"{page}/answer", {}, headers={"Referer": f"http://testserver{page}?whole=1"})
    assert gone["Location"] == f"/sign-in?next={page}%3Fwhole%3D1"
    for foreign in ("https://evil.example/x", "http://testserver:9/x", "http://testserver//evil.example", "nonsense"):
        assert client.post(f"{page}/answer", {}, headers={"Referer": foreign})["Location"] == "/sign-in?next=/"


def test_a_part_of_a_page_reloads_the_page(client: Client, page: str) -> None:
    gone = client.get(f"{page}/decision", headers={"HX-Request": "true"})
    assert (gone.status_code, gone["HX-Refresh"]) == (401, "true")


def test_signing_out_keeps_the_page_for_whoever_signs_in_next(client: Client, anna: User, page: str) -> None:
    client.force_login(anna)
    assert client.post("/sign-out", headers={"Referer": f"http://testserver{page}"})["Location"].endswith(page)
    assert client.post("/sign-out", headers={"Referer": "http://testserver/account"})["Location"] == "/sign-in"
    assert client.post("/sign-out", headers={"Referer": "https://evil.example/"})["Location"] == "/sign-in"


def test_who_may_not_see_a_request_is_told_what_is_missing_and_can_come_as_somebody_else(
    client: Client, anna: User, page: str
) -> None:
    client.force_login(make_user("olaf", group="Asker"))
    told = client.get(page)
    text = told.content.decode()
    assert told.status_code == 403
    assert "see sessions, approvals and agents" in text and "olaf" in text and "Viewer, Operator, Approver" in text
    assert f'href="/sign-in?next={page}"' in text
    done = client.post("/sign-in", {"username": "anna", "password": PASSWORD, "next": page})
    assert done["Location"] == page


def test_who_is_signed_in_already_goes_on_to_the_page(client: Client, anna: User, page: str) -> None:
    client.force_login(anna)
    text = client.get("/sign-in", {"next": page}).content.decode()
    assert f'<a href="{page}">Go on</a>' in text and "may not open" not in text


@pytest.mark.parametrize("elsewhere", HOSTILE)
def test_no_way_in_leads_to_another_site(client: Client, anna: User, elsewhere: str) -> None:
    link = path_of(sign_in_links.make_link(anna))
    assert Client().post("/sign-in", {"username": "anna", "password": PASSWORD, "next": elsewhere})["Location"] == "/"
    assert elsewhere not in client.get("/sign-in", {"next": elsewhere}).content.decode()
    by_cookie = Client()
    by_cookie.cookies[next_page.COOKIE] = elsewhere.strip()
    assert by_cookie.post(link)["Location"] == "/"
    by_link = Client()
    assert by_link.post(f"{path_of(sign_in_links.make_link(anna))}?{_query(elsewhere)}")["Location"] == "/"
    client.force_login(anna)
    left = client.post("/sign-out", {"next": elsewhere})["Location"]
    assert left == "/sign-in"


def test_the_cookie_is_sent_to_the_sign_in_alone_and_set_where_sessions_live(client: Client, settings: Any) -> None:
    client.get("/sign-in", {"next": "/approvals"})
    cookie = client.cookies[next_page.COOKIE]
    assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/sign-in", True, "Lax")
    hosts = {"console_host": "orchestra-x.localhost", "front_host": "orchestra.localhost"}
    settings.ORCHESTRA = replace(settings.ORCHESTRA, **hosts)
    front = Client()
    front.get("/sign-in", {"next": "/approvals"}, headers={"host": "orchestra.localhost"})
    assert next_page.COOKIE not in front.cookies
    stray = front.post("/sign-in?next=/approvals", {}, headers={"host": "127.0.0.1"})
    assert stray["Location"].endswith("/sign-in?next=/approvals")


def _query(wanted: str) -> str:
    from urllib.parse import urlencode

    return urlencode({"next": wanted})
