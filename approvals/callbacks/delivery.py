"""Delivery of callbacks: an outbox whose rows are posted until the receiver accepts them."""

import json
import logging
import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F
from django.db.models.functions import Now

from approvals.callbacks.addresses import address_problem
from approvals.callbacks.signature import secret_key
from approvals.commands import ApprovalRequest, request_approval
from approvals.errors import CallbackNotAccepted
from approvals.models import CALLBACK_FLOW, Approval, Callback
from approvals.presentation.redacted import shown_of
from approvals.queries import readable_approvals
from approvals.rest.serializers import ApprovalSerializer
from orchestra.rest.exact_json import ExactJSONRenderer

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)  # after it, the rows of a sender that died are due again
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5, 3600
MOST_ATTEMPTS = 20  # after 5, 15, 45 s … 1 h: about 14 hours in total
BATCH = 20
_one_sender = threading.Lock()


def request_with_callback(question: ApprovalRequest, *, timeout: timedelta | None, via: str, url: str) -> UUID:
    """``request_approval`` with a callback to ``url``, in one transaction.

    The caller has checked the address.
    """
    with transaction.atomic():
        approval_id = request_approval(question, timeout=timeout, via=via)
        Callback.objects.create(approval_id=approval_id, url=url)
    return approval_id


def post_due_callbacks() -> int:
    """Post the outcome of every closed request with a due callback; return how many were accepted.

    Delivery is at least once: a post whose response is lost is repeated with the same
    ``webhook-id``. Only one thread of a process posts at a time, and several processes claim
    different rows. After a failure, a host gets no further post in this round, so that it does not
    delay the others.
    """
    if not _one_sender.acquire(blocking=False):
        return 0  # the thread that is posting will find the row
    try:
        down: set[str] = set()
        accepted = 0
        while claimed := _claim():
            accepted += sum(_deliver(callback, down) for callback in claimed)
        return accepted
    finally:
        _one_sender.release()


def _claim() -> list[Callback]:
    """Claim due rows; other senders do not see them until their lease ends."""
    due = Callback.objects.filter(status=Callback.Status.WAITING, next_try_at__lte=Now()).exclude(
        approval__status=Approval.Status.PENDING
    )
    with transaction.atomic():
        rows = list(due.select_for_update(skip_locked=True, of=("self",)).order_by("next_try_at")[:BATCH])
        Callback.objects.filter(pk__in=[row.pk for row in rows]).update(next_try_at=Now() + LEASE)
    return rows


def _deliver(callback: Callback, down: set[str]) -> bool:
    if callback.host in down:
        _postpone(callback)
        return False
    try:
        _post(callback)
    except CallbackNotAccepted as error:
        down.add(callback.host)
        _record_failure(callback, error)
        return False
    except (OperationalError, InterfaceError):
        raise
    except Exception as bug:  # an error in one callback must not block the others
        logger.exception("approval %s: the callback failed", callback.approval_id)
        _record_failure(callback, CallbackNotAccepted(type(bug).__name__))
        return False
    CALLBACK_FLOW.move(
        Callback.objects.filter(pk=callback.pk), to=Callback.Status.DELIVERED, attempts=F("attempts") + 1, last_error=""
    )
    logger.info("approval %s: the callback was delivered", callback.approval_id)
    return True


def _post(callback: Callback) -> None:
    from approvals.callbacks import webhook

    approvals = settings.APPROVALS
    problem = address_problem(callback.url, approvals.callback_places)
    if problem:  # the operator has removed the host since the request was made
        raise CallbackNotAccepted(problem, gone=True)
    approval = readable_approvals().get(pk=callback.approval_id)
    body = {"type": "approval.closed", "timestamp": approval.decided_at, "data": _callback_data(approval)}
    webhook.post(
        callback.url,
        ExactJSONRenderer().render(body),
        message_id=str(callback.approval_id),
        key=secret_key(approvals.callback_secret),
    )


def _callback_data(approval: Approval) -> dict[str, Any]:
    """Return the approval as REST serializes it, with its secrets hidden.

    The digests are those of the raw input. ``chosen`` is the index of the chosen option, from 0, or
    None.
    """
    shown = shown_of(approval)
    data = dict(ApprovalSerializer(shown.approval).data)
    return data | {"secrets_hidden": shown.secrets, "chosen": _chosen(approval)}


def _chosen(approval: Approval) -> int | None:
    if approval.kind != Approval.Kind.EXTERNAL or not approval.options or not approval.answers:
        return None
    options, answers = json.loads(approval.options), list(json.loads(approval.answers).values())
    return options.index(answers[0]) if answers and answers[0] in options else None


def _record_failure(callback: Callback, error: CallbackNotAccepted) -> None:
    why, attempts = str(error)[:200], callback.attempts + 1
    if error.gone or attempts >= MOST_ATTEMPTS:
        CALLBACK_FLOW.move(
            Callback.objects.filter(pk=callback.pk), to=Callback.Status.FAILED, attempts=attempts, last_error=why
        )
        logger.error("approval %s: the callback cannot be delivered: %s", callback.approval_id, why)
        return
    callback.attempts = attempts
    _postpone(callback, attempts=attempts, last_error=why)
    logger.warning("approval %s: the callback could not be delivered yet: %s", callback.approval_id, why)


def _postpone(callback: Callback, **changes: object) -> None:
    pause = timedelta(seconds=min(FIRST_PAUSE_S * 3 ** max(0, callback.attempts - 1), LONGEST_PAUSE_S))
    Callback.objects.filter(pk=callback.pk, status=Callback.Status.WAITING).update(next_try_at=Now() + pause, **changes)
