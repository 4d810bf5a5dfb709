from django.apps import AppConfig


class OrchestraConfig(AppConfig):
    name = "orchestra"
    verbose_name = "Orchestra"

    def ready(self) -> None:
        from django.conf import settings
        from django.db.backends.signals import connection_created

        from orchestra import data_lock
        from orchestra.light import is_light
        from orchestra.realtime import announcements

        connection_created.connect(data_lock.on_connection, dispatch_uid="orchestra.data_lock")
        announcements.connect()
        if is_light():
            return
        self.register_for_servers()
        if settings.ORCHESTRA.process:
            from orchestra import vitals

            data_lock.begin()
            vitals.begin()

    def register_for_servers(self) -> None:
        """What pages, probes, figures, checks and the keeping of data need."""
        from django.core import checks

        from orchestra import checks as own_checks
        from orchestra import (
            console_host,
            diagnostics,
            diagnostics_page,
            figures,
            metrics,
            restored,
            retention,
            statistics,
            tracing,
        )
        from orchestra.backup.signals import database_restored

        diagnostics.register_own()
        retention.register_own()
        metrics.register_source(figures.families)
        database_restored.connect(restored.make_fit, dispatch_uid="orchestra.make_fit")
        statistics.register_pages()
        diagnostics_page.register_pages()
        diagnostics_page.register_facts(console_host.facts)
        checks.register(tracing.check_installed, "orchestra")
        checks.register(own_checks.check_console_host, checks.Tags.security)
        checks.register(metrics.check_token, checks.Tags.security)
        checks.register(own_checks.check_production, checks.Tags.security)
