from django.apps import AppConfig
from django.conf import settings


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
        from approvals import audit, checks, consumers, metrics, posture, question_list, restored, retention, statistics
        from orchestra.backup.signals import copy_checks, database_restored
        from orchestra.diagnostics import Probe, Weight, register
        from orchestra.diagnostics_page import register_facts
        from orchestra.metrics import register_source
        from orchestra.statistics import register_chapter

        checks.register_checks()
        retention.register()
        copy_checks["audit"] = lambda: audit.problems(audit.head())
        database_restored.connect(restored.make_fit, dispatch_uid="approvals.make_fit")
        register_source(metrics.families)
        consumers.connect()
        register_chapter(statistics.chapter)
        question_list.register_pages()
        register_facts(posture.facts)
        about = "whether people may answer what they asked for themselves"
        register(Probe("self_approval", _self_approval, Weight.NOTE, ready_only=True, about=about))


def _self_approval() -> str:
    """Whether people may answer what they asked themselves; said aloud because it is a weaker house."""
    return "on" if settings.APPROVALS.self_approval else "off"
