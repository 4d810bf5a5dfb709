from django.apps import AppConfig


class SessionsAppConfig(AppConfig):
    name = "sessions_app"
    verbose_name = "Agent sessions"

    def ready(self) -> None:
        from orchestra.runtime.light_commands import is_light
        from sessions_app import audit, receivers

        receivers.connect()
        audit.watch_all()
        if not is_light():
            self.register_for_servers()

    def register_for_servers(self) -> None:
        """Register system checks, probes, metrics, retention and receivers.

        Light commands skip this.
        """
        from django.core.checks import Tags
        from django.core.checks import register as register_check

        from orchestra.backup.signals import database_restored
        from orchestra.metrics.exposition import register_source
        from sessions_app import after_restore, checks, hub, metrics, probes, retention

        register_check(checks.check_agent_account, Tags.security)
        probes.register_probes()
        retention.register()
        register_source(metrics.families)
        database_restored.connect(after_restore.end_open_turns, dispatch_uid="sessions_app.end_open_turns")
        hub.connect()
