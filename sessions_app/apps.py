from django.apps import AppConfig


class SessionsAppConfig(AppConfig):
    name = "sessions_app"
    verbose_name = "Agent sessions"

    def ready(self) -> None:
        from orchestra.metrics import register_source
        from sessions_app import metrics, pages, probes, receivers

        probes.register_probes()
        pages.register_pages()
        register_source(metrics.families)
        receivers.connect()
