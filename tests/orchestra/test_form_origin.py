"""A refused form says why, and what helps, wherever it was sent from."""

import html
import shlex
from typing import Any

import pytest
from django.test import Client

from orchestra.auth.csrf import HEADER
from tests.factories import make_approval, make_user

pytestmark = pytest.mark.django_db
PUBLIC = "https://orchestra.example.com:8443"
CURE = f"ORCHESTRA_TRUSTED_ORIGINS={PUBLIC}"


@pytest.fixture
def browser() -> Client:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("ada", is_superuser=True, is_staff=True))
    return client


def forms() -> dict[str, dict[str, Any]]:
    """One form of every surface that has any, with what a browser would send."""
    approval = make_approval()
    return {
        "/sign-in": {},
        f"/approvals/{approval.pk}/decide": {},
        f"/admin/approvals/approval/{approval.pk}/decide/": {},
        f"/api/approvals/{approval.pk}/approve": {"content_type": "application/json"},
    }


def reasons(browser: Client, **headers: str) -> set[str]:
    """What a person or a program reads, per form."""
    said = set()
    for path, how in forms().items():
        answer = browser.post(path, headers=headers, **how)
        assert answer.status_code == 403
        if path.startswith("/api/"):
            said.add(answer.json()["detail"])
        else:
            assert answer.headers[HEADER] in html.unescape(answer.content.decode())
            said.add(answer.headers[HEADER])
    return said


def test_a_browser_without_cookies_is_told_so_and_not_that_a_right_is_missing(browser: Client) -> None:
    (why,) = reasons(browser)
    assert "no CSRF cookie" in why and "Allow cookies for http://testserver" in why
    assert "right" not in why


def test_an_old_form_is_called_old(browser: Client) -> None:
    browser.cookies["csrftoken"] = "a" * 32
    (why,) = reasons(browser)
    assert why.startswith("The form was too old")


def test_behind_a_proxy_that_hides_its_address_the_cure_is_named(browser: Client) -> None:
    browser.cookies["csrftoken"] = "a" * 32
    (why,) = reasons(browser, origin=PUBLIC)
    assert f"set {CURE} and start" in why and "http://testserver" in why and "X-Forwarded-Proto" in why


def test_the_cure_keeps_what_is_trusted_already(browser: Client, settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://a.example"]
    (why,) = reasons(browser, origin=PUBLIC)
    assert f"set ORCHESTRA_TRUSTED_ORIGINS=https://a.example,{PUBLIC} and" in why


def test_the_cure_cures(browser: Client, settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = [CURE.partition("=")[2]]
    browser.cookies["csrftoken"] = "a" * 32
    answer = browser.post("/sign-in", {"csrfmiddlewaretoken": "a" * 32}, headers={"origin": PUBLIC})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "origin", ["null", "https://x';rm -rf $HOME;'", "https://<script>alert(1)</script>", "file://", "https://é.example"]
)
def test_what_is_no_address_is_not_repeated(browser: Client, origin: str) -> None:
    (why,) = reasons(browser, origin=origin)
    assert "TRUSTED_ORIGINS" not in why and "rm -rf" not in why and "<script>" not in why
    assert why.isascii()


def test_the_cure_is_one_word_to_a_shell(browser: Client) -> None:
    (why,) = reasons(browser, origin="https://[2001:db8::1]:8443")
    value = why.partition("ORCHESTRA_TRUSTED_ORIGINS=")[2].split()[0]
    assert shlex.split(value) == ["https://[2001:db8::1]:8443"]


def test_a_cookie_for_tls_only_that_was_left_out_is_explained(browser: Client, settings: Any) -> None:
    settings.CSRF_COOKIE_SECURE = True
    (why,) = reasons(browser)
    assert "X-Forwarded-Proto: https" in why and "ORCHESTRA_PUBLIC_URL" in why


def test_a_referer_that_does_not_fit_is_named_as_an_origin_is(browser: Client, settings: Any) -> None:
    browser.cookies["csrftoken"] = "a" * 32
    answer = browser.post("/sign-in", secure=True, headers={"referer": f"{PUBLIC}/sign-in"})
    assert CURE in answer.headers[HEADER]
