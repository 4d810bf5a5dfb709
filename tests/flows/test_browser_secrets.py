"""Hidden secrets in a real browser: revealed by a press, and edited only then; nothing here needs a script."""

import json
import os
from collections.abc import Iterator

import pytest
from django.test import Client
from playwright.sync_api import Browser, Page, expect

from approvals.models import Approval, AuditEntry
from tests.browser import quiet_page, running
from tests.factories import make_approval, make_session, make_user
from tests.redaction.made import Maker

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = Maker(23).make("anthropic")
COMMAND = f"curl -H 'Authorization: Bearer {TOKEN}' https://api.example.com/v1/models"
PICTURES = os.environ.get("PICTURES", "")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running() as chromium:
        yield chromium


@pytest.fixture
def page(browser, live_server) -> Iterator[Page]:
    """A phone without scripts, signed in as an approver."""
    phone = {"java_script_enabled": False, "viewport": {"width": 360, "height": 740}}
    with quiet_page(browser, live_server.url, **phone) as page:
        client = Client()
        client.force_login(make_user("anna", group="Approver", is_staff=True))
        page.context.add_cookies(
            [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]
        )
        yield page


@pytest.fixture
def approval(db) -> Approval:
    return make_approval(
        session=make_session().pk, title=f"Bash: {COMMAND}", tool_input=json.dumps({"command": COMMAND})
    )


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=f"{PICTURES}/{name}.png", full_page=True)


def test_a_press_reveals_on_the_page_of_the_request_and_then_it_can_be_edited(page, approval):
    page.goto(f"/approvals/{approval.pk}")
    expect(page.locator("body")).to_contain_text("1 secret hidden.")
    expect(page.locator("body")).to_contain_text("Authorization: Bearer [secret 1]' https://api.example.com")
    page.locator("summary:has-text('Edit and approve')").click()
    picture(page, "page-hidden")
    page.locator("button:has-text('Reveal, then edit')").click()
    expect(page.locator("body")).to_contain_text("1 secret shown in clear.")
    page.locator("summary:has-text('Edit and approve')").click()
    assert TOKEN in page.locator("[name=updated_input]").input_value()
    picture(page, "page-revealed")
    page.locator("[name=updated_input]").fill(json.dumps({"command": COMMAND + "?x=1"}))
    page.locator("button[value=edit]").click()
    expect(page.locator("#verdict, .verdict-ok").first).to_contain_text("Approved with edits")
    approval.refresh_from_db()
    assert json.loads(approval.updated_input) == {"command": COMMAND + "?x=1"}
    assert AuditEntry.objects.filter(action="secrets_revealed", by="anna").count() == 1


def test_a_press_reveals_on_a_card(page, approval):
    page.goto(f"/?open={approval.pk}")
    card = page.locator(f"#ask-{approval.pk}")
    expect(card).to_contain_text("1 secret hidden.")
    picture(page, "card-hidden")
    card.get_by_role("button", name="Reveal", exact=True).click()
    expect(page.locator("body")).to_contain_text(TOKEN)
    picture(page, "card-revealed")
    assert AuditEntry.objects.filter(action="secrets_revealed", by="anna", via="dashboard").count() == 1


def test_the_admin_reveals_by_a_form(page, approval):
    page.goto(f"/admin/approvals/approval/{approval.pk}/change/")
    expect(page.locator(".ink")).to_contain_text("[secret 1]")
    picture(page, "admin-hidden")
    page.get_by_role("button", name="Reveal", exact=True).click()
    expect(page.locator(".ink")).to_contain_text(TOKEN)
    assert AuditEntry.objects.get(action="secrets_revealed").via == "admin"
