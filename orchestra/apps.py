from django.apps import AppConfig


class OrchestraConfig(AppConfig):
    name = "orchestra"
    verbose_name = "Orchestra"

    def ready(self) -> None:
        from django.conf import settings
        from django.db.backends.signals import connection_created

        from orchestra.realtime import announcements
        from orchestra.runtime import data_lock
        from orchestra.runtime.light_commands import is_light

        connection_created.connect(data_lock.on_connection, dispatch_uid="orchestra.runtime.data_lock")
        announcements.connect()
        if is_light():
            return
        self.register_for_servers()
        if settings.ORCHESTRA.process:
            from orchestra.runtime import heartbeats

            data_lock.share_or_exit()
            heartbeats.start()

    def register_for_servers(self) -> None:
        """Register what light commands do not need: probes, metrics, checks, retention and
        after-restore steps.
        """
        from django.core import checks

        from orchestra import checks as own_checks
        from orchestra.archive import own_rows
        from orchestra.backup import after_restore
        from orchestra.backup.signals import database_restored
        from orchestra.diagnostics import probes, tracing
        from orchestra.metrics import exposition, system

        probes.register_own()
        own_rows.register_own()
        exposition.register_source(system.families)
        database_restored.connect(after_restore.reset_after_restore, dispatch_uid="orchestra.reset_after_restore")
        checks.register(tracing.check_installed, "orchestra")
        checks.register(own_checks.check_console_host, checks.Tags.security)
        checks.register(exposition.check_token, checks.Tags.security)
        checks.register(own_checks.check_production, checks.Tags.security)
