"""What a restored database does not do a second time."""

import pytest

from approvals.after_restore import _stop_callbacks, reset_after_restore
from approvals.models import Callback, StopSwitch
from approvals.stop import commands as stops
from tests.factories import make_approval


@pytest.mark.django_db
def test_a_stop_that_was_in_force_in_the_backup_still_is() -> None:
    stop, _ = stops.stop_all(by="anna", via="api", reason="wait")
    make_approval()
    reset_after_restore(taken_at="2026-11-29", keep_rules=False)
    assert stops.current_stop() == stop
    assert StopSwitch.objects.get().stop == stop


@pytest.mark.django_db
def test_the_outcome_of_a_closed_ask_is_not_posted_again_and_an_open_one_still_will_be() -> None:
    asked = (("open", "pending", "waiting"), ("over", "approved", "waiting"), ("told", "approved", "delivered"))
    for title, status, callback in asked:
        approval = make_approval(title=title, status=status)
        Callback.objects.create(approval=approval, url="https://a.example", status=callback)
    _stop_callbacks("restored")
    assert dict(Callback.objects.values_list("approval__title", "status")) == {
        "open": "waiting", "over": "failed", "told": "delivered",
    }  # fmt: skip
    assert Callback.objects.get(status="failed").last_error == "restored"
