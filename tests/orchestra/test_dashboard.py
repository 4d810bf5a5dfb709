"""The shell of the console: who gets in, and what stands in the navigation."""

import pytest
from django.conf import settings
from django.test import Client, RequestFactory
from django.views.defaults import server_error

from tests.factories import make_approval, make_user

pytestmark = pytest.mark.django_db


def signed_in(group: str) -> Client:
    client = Client()
    client.force_login(make_user(group=group))
    return client


def test_a_stranger_is_led_to_the_sign_in_and_back_to_the_place(client: Client) -> None:
    answer = client.get("/?tool=Bash")
    assert (answer.status_code, answer["Location"]) == (302, f"{settings.LOGIN_URL}?next=/%3Ftool%3DBash")


def test_a_part_of_a_page_sends_the_whole_page_to_the_sign_in(client: Client) -> None:
    answer = client.get("/console/navigation", headers={"HX-Request": "true"})
    assert (answer.status_code, answer["HX-Refresh"]) == (401, "true")


def test_somebody_without_the_right_is_told_which_one_is_missing() -> None:
    answer = signed_in("Asker").get("/")
    assert answer.status_code == 403
    assert "You need permission to see sessions, approvals and agents" in answer.content.decode()


@pytest.mark.parametrize("group", ["Viewer", "Operator", "Approver", "Administrator"])
def test_a_reader_sees_how_much_waits_and_what_they_are(group: str) -> None:
    make_approval()
    make_approval(status="rejected")
    page = signed_in(group).get("/").content.decode()
    assert "<title>(1) " in page
    assert 'aria-label="1 waiting"' in page
    assert f'<span class="faint">{group}</span>' in page
    assert ("<span>Admin</span>" in page) == (group == "Administrator")


def test_pages_are_not_kept_by_any_cache() -> None:
    assert "no-store" in signed_in("Viewer").get("/")["Cache-Control"]


def test_no_page_carries_script_or_style_of_its_own() -> None:
    page = signed_in("Viewer").get("/").content.decode()
    assert "<style" not in page
    assert " style=" not in page
    assert " onclick=" not in page
    assert all("src=" in tag for tag in page.split("<script")[1:])


def test_an_address_without_a_page_leads_on(client: Client) -> None:
    page = client.get("/nothing-here")
    assert page.status_code == 404
    assert "There is nothing here" in page.content.decode() and 'href="/sessions"' in page.content.decode()


def test_the_page_of_a_failure_needs_nothing() -> None:
    assert "look whether it was recorded" in server_error(RequestFactory().get("/")).content.decode()
