"""*More minutes* are the same number on every surface that offers them."""

from datetime import timedelta

import pytest
from django.test import Client

from approvals.deadlines import EXTENSION_MINUTES
from tests.factories import make_approval, make_user

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("page", "post"),
    [
        ("/approvals/{}", "/approvals/{}/decide"),
        ("/approvals/{}", "/approvals/{}/answer"),
        ("/admin/approvals/approval/{}/change/", "/admin/approvals/approval/{}/decide/"),
    ],
)
def test_the_button_adds_what_it_says(page: str, post: str) -> None:
    approval = make_approval()
    before = approval.expires_at
    client = Client()
    client.force_login(make_user("ada", is_superuser=True, is_staff=True))
    assert f"{EXTENSION_MINUTES} more minutes" in client.get(page.format(approval.pk)).content.decode()
    client.post(post.format(approval.pk), {"decision": "extend"})
    approval.refresh_from_db()
    assert approval.expires_at - before == timedelta(minutes=EXTENSION_MINUTES)
