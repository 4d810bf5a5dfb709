"""The admin in a real browser: an approver signs in, reads, approves; hostile content stays text."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from approvals.models import Approval
from tests.browser import quiet_page, running
from tests.factories import make_approval, make_session, make_user

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "a long enough password"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running() as chromium:
        yield chromium


@pytest.fixture
def page(browser, live_server) -> Iterator[Page]:
    """A page of an approver who has signed in by the form; anything it complains about fails the test."""
    user = make_user("anna", group="Approver", is_staff=True)
    user.set_password(PASSWORD)
    user.save()
    with quiet_page(browser, live_server.url) as page:
        page.goto("/admin/")
        page.fill("#id_username", "anna")
        page.fill("#id_password", PASSWORD)
        page.click("[type=submit]")
        yield page


def test_an_approver_signs_in_opens_the_most_urgent_question_and_approves_it(page):
    approval = make_approval(session=make_session().pk)
    page.goto("/admin/")
    page.click("text=Bash: rm -r build")
    assert page.inner_text(".ink") == "$ rm -r build"
    page.click("button[value=approve]")
    page.wait_for_selector(".verdict-approved")
    approval.refresh_from_db()
    assert (approval.status, approval.decided_by, approval.decided_via) == ("approved", "anna", "admin")
    assert "by anna via admin" in page.inner_text(".verdict-approved")
    assert page.query_selector("button[value=approve]") is None


def test_the_input_is_edited_and_approved(page):
    approval = make_approval()
    page.goto(f"/admin/approvals/approval/{approval.pk}/change/")
    page.click("summary")
    page.fill("[name=updated_input]", '{\n  "command": "rm -r build/tmp"\n}')
    page.click("button[value=edit]")
    page.wait_for_selector(".verdict-approved")
    approval.refresh_from_db()
    assert json.loads(approval.updated_input) == {"command": "rm -r build/tmp"}
    assert "rm -r build/tmp" in page.inner_text(".ink >> nth=0")


def test_several_are_approved_from_the_list(page):
    approvals = [make_approval(title=f"Bash: make {n}") for n in range(3)]
    page.goto("/admin/approvals/approval/")
    page.check("#action-toggle")
    page.select_option("[name=action]", "approve_selected")
    page.click("button[name=index]")
    page.click("text=Approve 3 requests")
    page.wait_for_selector(".messagelist")
    assert Approval.objects.filter(pk__in=[a.pk for a in approvals], status="approved").count() == 3


def test_hostile_content_stays_text_everywhere(page):
    evil = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\u202e" + " " * 300 + "rm -rf /"
    approval = make_approval(
        title=evil[:200], tool_input=json.dumps({"command": evil, "description": evil, evil: evil}),
        requested_by=evil[:100], risk_reason=evil[:200], working_directory=evil,
        facts={"agent": evil, "warning": evil},
    )  # fmt: skip
    for address in ("/admin/", "/admin/approvals/approval/", f"/admin/approvals/approval/{approval.pk}/change/"):
        page.goto(address)
        assert page.evaluate("[...document.scripts].filter(s => !s.src).length") == 0
        assert page.evaluate("[...document.images].filter(i => i.getAttribute('src') === 'x').length") == 0
        assert "\u202e" not in page.content()
    assert "rm -rf /" in page.inner_text(".ink")
    assert "⟨300 spaces⟩" in page.inner_text(".ink")


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_hides_past_the_right_edge(page, width):
    approval = make_approval(tool_input=json.dumps({"command": "echo " + "x" * 3000}), title="Bash: " + "y" * 190)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"/admin/approvals/approval/{approval.pk}/change/")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate(
        "(() => { const b = document.querySelector('.ink'); return b.scrollWidth <= b.clientWidth; })()"
    )
