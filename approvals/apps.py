from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate


class ApprovalsConfig(AppConfig):
    name = "approvals"
    verbose_name = "Approvals"

    def ready(self) -> None:
        from approvals import audited_models, receivers
        from orchestra.light import is_light

        receivers.connect()
        audited_models.watch_all()
        if not is_light():
            self.register_for_servers()

    def register_for_servers(self) -> None:
        """What pages, probes, figures, checks and the keeping of data need."""
        from approvals import (
            audit,
            checks,
            consumers,
            metrics,
            posture,
            question_list,
            restored,
            retention,
            statistics,
            stop_hub,
            stops,
        )
        from orchestra.backup.signals import copy_checks, database_restored
        from orchestra.diagnostics import Probe, Weight, register
        from orchestra.diagnostics_page import register_facts
        from orchestra.metrics import register_source
        from orchestra.statistics import register_chapter

        post_migrate.connect(stops.make_switch, sender=self, dispatch_uid="approvals.make_switch")
        checks.register_checks()
        retention.register()
        copy_checks["audit"] = lambda: audit.problems(audit.head())
        database_restored.connect(restored.make_fit, dispatch_uid="approvals.make_fit")
        register_source(metrics.families)
        consumers.connect()
        stop_hub.connect()
        register_chapter(statistics.chapter)
        question_list.register_pages()
        register_facts(posture.facts)
        about = "whether people may answer what they asked for themselves"
        register(Probe("self_approval", _self_approval, Weight.NOTE, ready_only=True, about=about))
        register(Probe("stopped", _stopped, Weight.NOTE, about="whether all agents are stopped"))


def _self_approval() -> str:
    """Whether people may answer what they asked themselves; said aloud because it is a weaker house."""
    return "on" if settings.APPROVALS.self_approval else "off"


def _stopped() -> str:
    """Whether a stop is in force: nothing is broken then, and nothing runs."""
    from approvals import stops

    return "yes" if stops.is_stopped() else "no"
