"""Many at once, on real threads and connections: one winner, whichever door and however often a press arrives."""

import os
import threading
import time
from datetime import timedelta
from functools import partial

import pytest
from django.db import connections
from django.utils import timezone

from approvals.commands import decide_approval, expire_approval
from approvals.models import Approval, AuditEntry
from escalation.models import Delivery, Update
from escalation.outbox import open_delivery, send_deliveries
from escalation.telegram.inbound import updates
from escalation.telegram.messages.channel import Telegram
from tests.escalation.conftest import ANNA, BORIS
from tests.factories import make_approval, make_user
from tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = int(os.environ.get("PRESS_RACES", "12"))  # 1,000 by hand
silent = partial(updates.handle, run_later=lambda task, api: None)


@pytest.fixture
def game(chat):
    """A new card each round, and presses on it as Telegram would hand them in."""
    chat.telegram.set_flood(False)

    def card(**overrides):
        approval = make_approval(**overrides)
        open_delivery(approval.pk)
        (delivery,) = Delivery.objects.filter(approval=approval)
        assert send_deliveries(Telegram(chat.api), [delivery], silent=False)
        return approval, chat.telegram.last_message()

    def press(user, message, label):
        token = next(b["callback_data"] for row in message["buttons"] for b in row if b["text"] == label)
        return chat.forge(user, message, token)

    chat.new, chat.handed = card, press
    yield chat
    connections.close_all()


def winners(approval):
    return list(AuditEntry.objects.filter(approval=approval, won=True).exclude(action="requested"))


def one_winner(approval):
    approval.refresh_from_db()
    (winner,) = winners(approval)
    assert (winner.action, winner.by) == (approval.status, approval.decided_by)
    return winner


def test_two_people_press_the_same_button(game):
    seen = set()
    for _ in range(ROUNDS):
        approval, card = game.new()
        presses = [game.handed(user, card, "Approve") for user in (ANNA, BORIS, ANNA, BORIS)]
        results = at_once([partial(silent, update, game.api) for update in presses])
        assert results == [None] * 4
        seen.add(one_winner(approval).by)
    assert seen <= {"anna", "boris"}


def test_approve_in_telegram_against_reject_at_another_door(game):
    make_user("carla", group="Approver")
    seen = set()
    for place in range(ROUNDS):
        approval, card = game.new()
        update = game.handed(ANNA, card, "Approve")

        def reject(approval=approval, place=place):
            time.sleep(place % 20 / 1000)  # a press has more to look up
            return decide_approval(approval_id=approval.pk, decision="rejected", by="carla", via="admin")

        at_once([partial(silent, update, game.api), reject])
        seen.add(one_winner(approval).via)
    assert seen <= {"telegram", "admin"}


def test_approve_against_expiry_at_the_deadline(game):
    for place in range(ROUNDS):
        deadline = timezone.now() + timedelta(milliseconds=120 + place % 100)
        approval, card = game.new(expires_at=timezone.now() + timedelta(hours=1))
        Approval.objects.filter(pk=approval.pk).update(expires_at=deadline)
        update = game.handed(ANNA, card, "Approve")

        def wait(then, deadline=deadline, place=place):
            def act():
                early = (deadline - timezone.now()).total_seconds() - 0.05 + (place % 11) * 0.01
                threading.Event().wait(max(0.0, early))
                return then()

            return act

        at_once([wait(partial(silent, update, game.api)), wait(partial(expire_approval, approval.pk))])
        threading.Event().wait(0.1)
        expire_approval(approval.pk)
        assert one_winner(approval).action in ("approved", "expired")


def test_the_same_update_handed_in_by_several_processes_at_once(game):
    for _ in range(ROUNDS):
        approval, card = game.new()
        update = game.handed(ANNA, card, "Approve")
        results = at_once([partial(silent, update, game.api)] * 4)
        assert results == [None] * 4
        one_winner(approval)
        assert AuditEntry.objects.filter(approval=approval).exclude(action="requested").count() == 1
    assert Update.objects.count() == ROUNDS


def test_one_tap_that_arrives_as_several_presses_at_once(game):
    for _ in range(ROUNDS):
        approval, card = game.new()
        presses = [game.handed(ANNA, card, "Approve") for _ in range(4)]
        assert at_once([partial(silent, update, game.api) for update in presses]) == [None] * 4
        one_winner(approval)
