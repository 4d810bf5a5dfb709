from django.apps import AppConfig
from django.conf import settings


class EscalationConfig(AppConfig):
    name = "escalation"
    verbose_name = "Escalation"

    def ready(self) -> None:
        from django.core import checks

        from escalation import metrics, receivers
        from escalation.channels.telegram import status
        from escalation.checks import check_settings
        from orchestra.diagnostics import Probe, Weight, register
        from orchestra.metrics import register_source

        weight = Weight.USEFUL if settings.TELEGRAM.configured else Weight.NOTE
        register(Probe("telegram", status.word, weight))
        register_source(metrics.families)
        checks.register(check_settings, "orchestra")
        receivers.connect()
