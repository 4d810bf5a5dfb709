"""How each surface (``DecisionSource``) is named for people; the only such table. Pure."""

from dataclasses import dataclass

from approvals.models import DecisionSource


@dataclass(frozen=True, slots=True)
class SurfaceNames:
    """The forms of one surface's name. An empty form is left out of the sentence.

    ``label`` is the name alone, as in a table. ``on_card`` follows "Approved by anna, " in the
    console, ``in_message`` follows "Approved by anna " in a chat message, and ``of_stop`` stands in
    parentheses after who stopped all agents.
    """

    label: str
    on_card: str = ""
    in_message: str = ""
    of_stop: str = ""


SURFACES: dict[DecisionSource, SurfaceNames] = {
    DecisionSource.TELEGRAM: SurfaceNames("Telegram", "on Telegram", "in Telegram", "in Telegram"),
    DecisionSource.ADMIN: SurfaceNames("admin", "in the admin", "in the admin", "in the admin"),
    DecisionSource.API: SurfaceNames("API", "by API", "by the API", "over REST"),
    DecisionSource.DASHBOARD: SurfaceNames("console", "here", "on the dashboard", "in the console"),
    DecisionSource.WEBSOCKET: SurfaceNames("console", "here", "on the dashboard", "over a socket"),
    DecisionSource.CLI: SurfaceNames("terminal", "in the terminal", "in a terminal", "in a terminal"),
    DecisionSource.POLICY: SurfaceNames("policy", "by rule", "by a rule"),
    DecisionSource.SYSTEM: SurfaceNames("system", "by the system", "by Orchestra"),
}


def names_of(via: str) -> SurfaceNames:
    """Return the names of the surface whose stored value is ``via``; an unknown value is its own
    label.
    """
    return SURFACES[DecisionSource(via)] if via in DecisionSource.values else SurfaceNames(via)
