"""The pages that name a median mean the same one, on both engines."""

import html
import re
from datetime import timedelta
from pathlib import Path

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from approvals.models import Approval
from tests.factories import make_approval, make_user


def decided(status: str, after_s: float, *, by: str = "anna", via: str = "dashboard", ago: timedelta) -> None:
    at = timezone.now() - ago
    approval = make_approval(status=status, decided_at=at, decided_by=by, decided_via=via)
    Approval.objects.filter(pk=approval.pk).update(created_at=at - timedelta(seconds=after_s))


def words(client: Client, path: str, pattern: str) -> str:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.unescape(client.get(path).content.decode())))
    found = re.search(pattern, text)
    assert found, text
    return found[1]


def test_the_front_page_and_statistics_name_the_same_median(house: Path) -> None:
    hour = timedelta(hours=1)
    for after_s in (0.8, 1.2, 30):
        decided("approved", after_s, ago=hour)
    decided("rejected", 40, ago=hour, via="telegram")
    for _ in range(3):  # none of these is an answer of a person
        decided("cancelled", 5000, ago=hour)
        decided("expired", 1800, ago=hour, by="", via="")
        decided("approved", 0, ago=hour, by="", via="policy")
    decided("approved", 7000, ago=timedelta(days=2))
    client = Client()
    client.force_login(make_user("ada", is_superuser=True, is_staff=True))
    shown = words(client, reverse("home-part", args=["head"]), r"Median response time in the last 24 hours: (.+? s)\.")
    assert shown == "1.2 s"
    figure = r"Median response time (.+?) approved or rejected, last "
    assert words(client, "/statistics?period=24h", figure + "24 hours") == shown
    assert words(client, "/statistics?period=7d", figure + "7 days") == "30 s"


def test_without_an_answer_there_is_no_median(house: Path) -> None:
    decided("approved", 5, ago=timedelta(days=2))
    client = Client()
    client.force_login(make_user("ada", is_superuser=True, is_staff=True))
    assert "Median response time" not in client.get(reverse("home-part", args=["head"])).content.decode()
    assert words(client, "/statistics?period=24h", r"Median response time (\S+)") == "none"
