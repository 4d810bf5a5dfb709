from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate


class ApprovalsConfig(AppConfig):
    name = "approvals"
    verbose_name = "Approvals"

    def ready(self) -> None:
        from approvals import receivers
        from approvals.audit import watched
        from orchestra.runtime.light_commands import is_light

        receivers.connect()
        watched.watch_all()
        if not is_light():
            self.register_for_servers()

    def register_for_servers(self) -> None:
        """What pages, probes, figures, checks and the keeping of data need."""
        from approvals import after_restore, checks, hub, metrics, retention
        from approvals.audit import chain
        from approvals.stop import commands as stops
        from approvals.stop import hub as stop_hub
        from orchestra.backup.signals import copy_checks, database_restored
        from orchestra.diagnostics.probes import Probe, Weight, register
        from orchestra.metrics.exposition import register_source

        post_migrate.connect(stops.make_switch, sender=self, dispatch_uid="approvals.make_switch")
        checks.register_checks()
        retention.register()
        copy_checks["audit"] = lambda: chain.problems(chain.head())
        database_restored.connect(after_restore.reset_after_restore, dispatch_uid="approvals.reset_after_restore")
        register_source(metrics.families)
        hub.connect()
        stop_hub.connect()
        about = "whether people may answer what they asked for themselves"
        register(Probe("self_approval", _self_approval, Weight.NOTE, ready_only=True, about=about))
        register(Probe("stopped", _stopped, Weight.NOTE, about="whether all agents are stopped"))


def _self_approval() -> str:
    """Whether people may answer what they asked themselves; said aloud because it is a weaker house."""
    return "on" if settings.APPROVALS.self_approval else "off"


def _stopped() -> str:
    """Whether a stop is in force: nothing is broken then, and nothing runs."""
    from approvals.stop import commands as stops

    return "yes" if stops.is_stopped() else "no"
