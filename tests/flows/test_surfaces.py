"""Nothing that is asked is shown nowhere: every kind of request on every surface, and the table of docs/surfaces.md.

``SURFACES_WRITE=1`` in the environment of pytest writes the page anew.
"""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from rest_framework.test import APIClient

from approvals.consumers import ApprovalRows
from approvals.models import Approval
from tests.escalation.conftest import ANNA, api, chat, configured, telegram  # noqa: F401 - fixtures
from tests.factories import make_user, token_for
from tests.flows.surfaces import Kind, Shown, Surface, cell, kinds, table, text_of

pytestmark = pytest.mark.django_db

PAGE = Path(__file__).parents[2] / "docs" / "surfaces.md"
START, END = "<!-- generated: start -->\n", "<!-- generated: end -->\n"
KINDS = kinds()
NAMES = ["console", "admin", "terminal", "REST", "hub", "Telegram"]


@pytest.fixture
def surfaces(chat: Any, client: Client) -> dict[str, Surface]:  # noqa: F811 - the fixture
    """Each surface, as somebody who may decide there."""
    root = make_user("root", is_staff=True, is_superuser=True)
    browser = client
    browser.force_login(root)
    program = APIClient(headers={"Authorization": f"Token {token_for(root)}"})

    def page(address: str) -> str:
        return text_of(browser.get(address).content.decode())

    def console(approval: Approval) -> Shown:
        return Shown(first=page(f"/approvals/{approval.pk}"))

    def admin(approval: Approval) -> Shown:
        return Shown(first=page(f"/admin/approvals/approval/{approval.pk}/change/"))

    def terminal(approval: Approval) -> Shown:
        out = io.StringIO()
        call_command("approvals", "show", str(approval.pk), stdout=out)
        return Shown(first=text_of(out.getvalue().replace("<", "&lt;")))

    def rest(approval: Approval) -> Shown:
        return Shown(first=_flat(program.get(f"/api/approvals/{approval.pk}").json()))

    def hub(approval: Approval) -> Shown:
        [row] = ApprovalRows().rows([str(approval.pk)])
        return Shown(first=_flat(json.loads(row.text)))

    def in_telegram(approval: Approval) -> Shown:
        card = chat.card(approval)
        first = card["text"] + _buttons(card)
        if "Show all" not in _buttons(card):
            return Shown(first=first)
        known = len(chat.telegram.messages())
        chat.press(ANNA, card, "Show all")
        sent = chat.telegram.messages()[known:]
        opened = "\n".join(message["text"] + _buttons(message) + _file(chat, message) for message in sent)
        return Shown(first=first, opened=opened, how="*Show all*")

    made: dict[str, Callable[[Approval], Shown]] = {
        "console": console, "admin": admin, "terminal": terminal, "REST": rest, "hub": hub, "Telegram": in_telegram,
    }  # fmt: skip
    return made


def _flat(value: object) -> str:
    """Every string in a JSON value, and those in JSON text inside."""
    if isinstance(value, dict):
        return " ".join(map(_flat, value.values()))
    if isinstance(value, list):
        return " ".join(map(_flat, value))
    return str(value)


def _buttons(message: dict[str, Any]) -> str:
    return " ".join(button["text"] for row in message["buttons"] for button in row)


def _file(telegram_chat: Any, message: dict[str, Any]) -> str:
    """The content of the file that a message carries."""
    document = message["document"]
    return str(telegram_chat.telegram._files[document["file_id"]][1].decode()) if document else ""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", NAMES)
def test_everything_that_was_asked_is_shown(surfaces: dict[str, Surface], name: str, kind: Kind) -> None:
    assert "not shown" not in cell(kind, surfaces[name](kind.make()))


def test_the_page_of_the_docs_says_what_is_shown(surfaces: dict[str, Surface]) -> None:
    cells = {(kind.name, name): cell(kind, surfaces[name](kind.make())) for kind in KINDS for name in NAMES}
    shown = table(cells, NAMES, [kind.name for kind in KINDS])
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(START)
    there, tail = rest.split(END)
    if os.environ.get("SURFACES_WRITE"):
        PAGE.write_text(head + START + shown + END + tail, encoding="utf-8")
        return
    assert there == shown, "write docs/surfaces.md anew: SURFACES_WRITE=1 pytest tests/flows/test_surfaces.py"
