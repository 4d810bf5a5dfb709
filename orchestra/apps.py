from django.apps import AppConfig


class OrchestraConfig(AppConfig):
    name = "orchestra"
    verbose_name = "Orchestra"

    def ready(self) -> None:
        from django.conf import settings
        from django.core import checks
        from django.db.backends.signals import connection_created

        from orchestra import checks as own_checks
        from orchestra import (
            console_host,
            data_lock,
            diagnostics,
            diagnostics_page,
            figures,
            metrics,
            restored,
            retention,
            statistics,
            tracing,
            vitals,
        )
        from orchestra.backup.signals import database_restored
        from orchestra.realtime import attendance

        diagnostics.register_own()
        retention.register_own()
        metrics.register_source(figures.families)
        database_restored.connect(restored.make_fit, dispatch_uid="orchestra.make_fit")
        statistics.register_pages()
        diagnostics_page.register_pages()
        diagnostics_page.register_facts(console_host.facts)
        connection_created.connect(data_lock.on_connection, dispatch_uid="orchestra.data_lock")
        if settings.ORCHESTRA.process:
            data_lock.begin()
            vitals.begin()
        attendance.connect()
        checks.register(tracing.check_installed, "orchestra")
        checks.register(own_checks.check_console_host, checks.Tags.security)
        checks.register(metrics.check_token, checks.Tags.security)
        checks.register(own_checks.check_production, checks.Tags.security)
