"""REST endpoints: diagnostics of Telegram, and the webhook that Telegram calls."""

import hmac
import json
import logging
from typing import Any, ClassVar

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from escalation import commands, conf
from escalation.telegram import status
from escalation.telegram.api import breaker
from orchestra.auth.permissions import Right
from orchestra.errors import RETRY_LATER
from orchestra.rest.schema import read
from orchestra.rest.viewsets import OrchestraViewSet

logger = logging.getLogger(__name__)

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - a header's name
LONGEST_CALLBACK_ID = 100
LONGEST_UPDATE = 1024 * 1024  # bytes; typical updates have a few KiB


@csrf_exempt
@require_POST
def webhook(request: HttpRequest) -> HttpResponse:
    """Store one update and notify the telegram process.

    A missing or wrong secret gets 403 before the body is read. Telegram repeats an update until it
    gets a 2xx, so the response follows the commit. An update that cannot be parsed gets 200 too,
    because a repetition would not change that.
    """
    if not _is_telegram(request):
        return HttpResponse(status=403)
    body = request.read(LONGEST_UPDATE + 1)
    if len(body) > LONGEST_UPDATE:
        return HttpResponse(status=413)
    update = _parse_update(body)
    if update is None:
        logger.warning("telegram webhook failed: that is no update (%d bytes)", len(body))
        return HttpResponse(status=200)
    try:
        commands.store_webhook_update(update, json.dumps(update))
    except DatabaseError as error:
        logger.warning("telegram webhook failed: the database does not answer (%s)", type(error).__name__)
        return JsonResponse({"code": "unavailable"}, status=503, headers=RETRY_LATER)
    return HttpResponse(status=200)


def _is_telegram(request: HttpRequest) -> bool:
    """Compare the secret in constant time, as bytes, because a header may contain anything."""
    expected = settings.TELEGRAM.webhook_secret.encode()
    given = request.headers.get(SECRET_HEADER, "").encode("utf-8", "surrogateescape")
    wanted = settings.TELEGRAM.configured and settings.TELEGRAM.mode == conf.WEBHOOK and bool(expected)
    return hmac.compare_digest(given, expected) and wanted


def _parse_update(body: bytes) -> dict[str, Any] | None:
    """Return the update in ``body``, or None if its two ids do not fit the table.

    Other fields are not checked here: only Telegram knows the secret.
    """
    try:
        update = json.loads(body)
        json.dumps(update)  # the encoder has its own limit of depth
    except (ValueError, RecursionError):
        return None
    if not isinstance(update, dict) or type(number := update.get("update_id")) is not int or abs(number) >= 2**63:
        return None
    return update if "callback_query" not in update or _is_callback_query(update["callback_query"]) else None


def _is_callback_query(query: object) -> bool:
    given = query.get("id") if isinstance(query, dict) else None
    return isinstance(given, str) and 0 < len(given) <= LONGEST_CALLBACK_ID and given.isascii() and given.isprintable()


class TelegramStatusSerializer(serializers.Serializer[Any]):
    """State of the Telegram channel."""

    enabled = serializers.BooleanField(help_text="A token and a chat are set.")
    healthy = serializers.BooleanField(help_text="Messages can be sent; otherwise see `problem`.")
    tested = serializers.BooleanField(help_text="A person has tapped a test card of this bot in this chat.")
    problem = serializers.CharField(help_text="Why messages cannot be sent, and how to fix it; usually empty.")
    advice = serializers.CharField(help_text="A setting that works but should be changed; usually empty.")
    off_because = serializers.CharField(help_text="Why the channel is off until an operator fixes it; usually empty.")
    bot = serializers.CharField()
    chat = serializers.CharField()
    topic = serializers.IntegerField(allow_null=True, help_text="The forum topic of `TELEGRAM_TOPIC_ID`.")
    mode = serializers.ChoiceField(choices=[conf.POLLING, conf.WEBHOOK])
    running = serializers.BooleanField()
    last_success_at = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField()
    outbox_depth = serializers.IntegerField()
    refused = serializers.IntegerField(
        help_text="Open approval requests that Telegram refuses; they are retried slowly."
    )
    stale_cards = serializers.IntegerField()
    unapplied_updates = serializers.IntegerField()


class ThresholdsSerializer(serializers.Serializer[Any]):
    """Limits at which the breaker opens, and how long it stays open."""

    consecutive_failures = serializers.IntegerField()
    failure_rate = serializers.FloatField()
    minimum_calls = serializers.IntegerField()
    window_seconds = serializers.FloatField()
    break_seconds = serializers.FloatField()


class BreakerSerializer(serializers.Serializer[Any]):
    """State of the circuit breaker around the Bot API."""

    state = serializers.ChoiceField(choices=[breaker.CLOSED, breaker.HALF_OPEN, breaker.OPEN])
    failures = serializers.IntegerField(help_text="Consecutive failures when the state was last saved.")
    opened_at = serializers.DateTimeField(allow_null=True)
    next_probe_at = serializers.DateTimeField(allow_null=True)
    thresholds = ThresholdsSerializer()


class EscalationViewSet(OrchestraViewSet):
    """Diagnostics of the Telegram channel."""

    rights: ClassVar = {
        "telegram_status": frozenset({Right.READ}),
        "circuit_breaker": frozenset({Right.READ}),
    }
    pagination_class = None
    filter_backends = ()

    @read("Telegram status", TelegramStatusSerializer)
    @action(detail=False, url_path="telegram/status")
    def telegram_status(self, request: Request) -> Response:
        return Response(TelegramStatusSerializer(status.read_status()).data)

    @read("Circuit breaker status", BreakerSerializer)
    @action(detail=False, url_path="circuit-breaker")
    def circuit_breaker(self, request: Request) -> Response:
        return Response(BreakerSerializer(breaker.read_state(settings.TELEGRAM.breaker)).data)
