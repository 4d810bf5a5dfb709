"""Security settings of the installation, as lines for the page of diagnostics."""

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, slots=True)
class Fact:
    """One line about a setting; ``fine`` is False for what a careful operator would change."""

    words: str
    icon: str = "shield"
    fine: bool = True


def facts() -> list[Fact]:
    """Return a line about the environment and a line about access to the metrics."""
    open_figures = settings.METRICS.enabled and not settings.METRICS.token
    production = settings.ORCHESTRA.environment == "production"
    return [
        Fact(f"Runs as {settings.ORCHESTRA.environment}", "server"),
        Fact("Figures (/metrics) want a token", "lock") if not open_figures
        else Fact("/metrics needs no sign-in", "lock", fine=not production),
    ]  # fmt: skip
