from django.apps import AppConfig
from django.conf import settings


class EscalationConfig(AppConfig):
    name = "escalation"
    verbose_name = "Escalation"

    def ready(self) -> None:
        from approvals.audit.changes import Watched, watch
        from escalation import receivers
        from escalation.models import Approver
        from orchestra.runtime.light_commands import is_light

        receivers.connect()
        watch(Approver, Watched(noun="approver", fields=("user", "telegram_user"), secrets=("code_sha256",)))
        if not is_light():
            self.register_for_servers()

    def register_for_servers(self) -> None:
        """Register the probe, metrics and system checks, which light commands do not need."""
        from django.core import checks

        from escalation import metrics
        from escalation.checks import check_settings
        from escalation.telegram import status
        from orchestra.diagnostics.probes import Probe, Weight, register
        from orchestra.metrics.exposition import register_source

        weight = Weight.USEFUL if settings.TELEGRAM.configured else Weight.NOTE
        mend = "The panel below says what happened last. Requests are decided here meanwhile; no card is lost."
        register(Probe("telegram", status.read_health, weight, about="tells people and takes their answers", mend=mend))
        register_source(metrics.families)
        checks.register(check_settings, "orchestra")
