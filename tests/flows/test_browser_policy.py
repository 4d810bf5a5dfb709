"""The content security policy in a real browser: nothing of ours breaks it, and it stops what it must."""

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Browser

from tests.browser import context, quiet_page, running
from tests.factories import make_approval, make_session, make_turn, make_user, token_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running() as chromium:
        yield chromium


def cookie_of(user, url: str) -> dict[str, str]:
    """A signed-in browser's cookie."""
    client = Client()
    client.force_login(user)
    return {
        "name": settings.SESSION_COOKIE_NAME,
        "value": client.cookies[settings.SESSION_COOKIE_NAME].value,
        "url": url,
    }


def admin_pages() -> Iterator[str]:
    """The list, the add form and one row of everything in the admin."""
    yield reverse("admin:index")
    for model in admin.site._registry:
        stem = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{stem}_changelist")
        yield reverse(f"{stem}_add")
        row = model._default_manager.first()
        if row is not None:
            yield reverse(f"{stem}_change", args=[row.pk])


def test_no_page_of_the_admin_needs_anything_the_policy_forbids(browser, live_server):
    boss = make_user("boss", is_superuser=True, is_staff=True)
    token_for(boss)
    make_approval(session=make_turn(make_session()).session.pk)
    with context(browser, live_server.url) as (own, complaints):
        own.add_cookies([cookie_of(boss, live_server.url)])
        page = own.new_page()
        for address in admin_pages():
            answer = page.goto(address)
            assert answer is not None
            assert answer.status in (200, 403), address
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        refused = [said for said in complaints if "status of 403" not in said]  # add forms of what nobody adds
        assert refused == [], "\n".join(refused)


def test_swagger_draws_the_whole_api_under_the_policy(browser, live_server):
    with quiet_page(browser, live_server.url) as page:
        page.goto("/swagger/index.html")
        page.wait_for_selector(".opblock-summary")
        page.click(".opblock-summary >> nth=0")
        page.wait_for_selector(".opblock-body")


def test_a_script_that_got_into_a_page_does_not_run(browser, live_server):
    """As if our own quoting had failed: inline script and handler, foreign script, inline style, frame, object."""
    with context(browser, live_server.url) as (own, complaints):
        page = own.new_page()
        page.goto("/sign-in")
        page.evaluate(
            """() => {
                const range = document.createRange();
                document.body.append(range.createContextualFragment(`
                    <script>window.ran = 'inline'</` + `script>
                    <img src="x" onerror="window.ran = 'handler'">
                    <script src="https://elsewhere.invalid/x.js"></` + `script>
                    <style>body { display: none }</style>
                    <iframe src="/sign-in"></iframe>
                    <object data="/static/console/favicon.svg"></object>`));
            }"""
        )
        page.wait_for_timeout(200)
        assert page.evaluate("window.ran") is None
        assert page.evaluate("getComputedStyle(document.body).display") != "none"
        told = " ".join(complaints)
        for directive in ("script-src-elem", "script-src-attr", "style-src-elem", "frame-src", "object-src"):
            assert f"policy: {directive}" in told


@pytest.mark.parametrize("path", ["/sign-in/x", "/api/approvals", "/health", "/nothing", "/static/console/tokens.css"])
def test_every_answer_carries_the_headers(client, path):
    headers = client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
