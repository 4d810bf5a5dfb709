from django.apps import AppConfig


class OrchestraConfig(AppConfig):
    name = "orchestra"
    verbose_name = "Orchestra"

    def ready(self) -> None:
        from django.core import checks

        from orchestra import diagnostics, metrics

        diagnostics.register_own()
        checks.register(metrics.check_token, checks.Tags.security)
