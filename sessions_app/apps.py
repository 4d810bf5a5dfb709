from django.apps import AppConfig


class SessionsAppConfig(AppConfig):
    name = "sessions_app"
    verbose_name = "Agent sessions"

    def ready(self) -> None:
        from orchestra.light import is_light
        from sessions_app import audited_models, receivers

        receivers.connect()
        audited_models.watch_all()
        if not is_light():
            self.register_for_servers()

    def register_for_servers(self) -> None:
        """What pages, probes, figures, checks and the keeping of data need."""
        from django.core.checks import Tags
        from django.core.checks import register as register_check

        from orchestra.backup.signals import database_restored
        from orchestra.metrics import register_source
        from orchestra.statistics import register_chapter
        from sessions_app import checks, consumers, lists, metrics, pages, probes, restored, retention, statistics

        register_check(checks.check_wall, Tags.security)
        probes.register_probes()
        retention.register()
        pages.register_pages()
        lists.register_pages()
        register_source(metrics.families)
        database_restored.connect(restored.make_fit, dispatch_uid="sessions_app.make_fit")
        register_chapter(statistics.chapter)
        consumers.connect()
