from django.apps import AppConfig


class OrchestraConfig(AppConfig):
    name = "orchestra"
    verbose_name = "Orchestra"

    def ready(self) -> None:
        from django.conf import settings
        from django.core import checks

        from orchestra import diagnostics, figures, metrics, vitals

        diagnostics.register_own()
        metrics.register_source(figures.families)
        if settings.ORCHESTRA.process:
            vitals.begin()
        checks.register(metrics.check_token, checks.Tags.security)
