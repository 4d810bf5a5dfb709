"""Slash commands: commands of the CLI's own terminal that are typed as a prompt.

Orchestra carries out ``/clear`` and ``/model`` itself and refuses the others with advice. Measured
on CLI 2.1.309, 2.1.330 and 2.1.332 with the options that Orchestra gives: for each of these names
the CLI reports "isn't available in this environment" as a success, without a request to the model.
It does so only if the lower-case name starts the prompt and is followed by white space or the end;
it sends any other ``/word`` to the model as text.
"""

import re
from dataclasses import dataclass

KNOWN_NAMES = (
    "add-dir agents allowed-tools android app artifacts background branch btw bug cd chrome clear color compact "
    "config context continue copy cost desktop diff effort exit export extra-usage fast feedback focus fork goal "
    "heapdump help hooks ide init insights install-github-app install-slack-app ios keybindings login logout mcp "
    "memory mobile model new output-style passes permissions plan plugin plugins powerup privacy-settings quit radio "
    "rate-limit-options rc recap release-notes reload-plugins reload-skills remote remote-control remote-env rename "
    "reset resume rewind sandbox schedule security-review session settings setup-bedrock setup-vertex share skills "
    "stats status statusline stickers stop tasks team-onboarding terminal-setup theme tui ultraplan ultrareview undo "
    "upgrade usage vim voice web-setup workflows "
)
KNOWN = frozenset(KNOWN_NAMES.split())
CLEAR = frozenset({"clear", "new", "reset"})
MODEL = "model"
TYPED = re.compile(r"/([a-z][a-z0-9-]*)(?=\s|$)(.*)", re.DOTALL)
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/\[\]-]{0,99}")
UNAVAILABLE_REPLY = re.compile(r"/\S{1,60} isn't available in this environment\.")

ADVICE = {
    ("compact",): "The CLI compacts a conversation by itself when it is full; send /clear to begin with an empty one.",
    ("cost", "usage", "stats", "status", "context", "session", "extra-usage"): (
        "What the session spent stands on its page, and in GET /api/sessions/ID."
    ),
    ("permissions", "allowed-tools", "hooks", "sandbox"): (
        "Standing rules say what is asked: a session's own stand on its page, all of them in the admin."
    ),
    ("login", "logout", "setup-bedrock", "setup-vertex", "upgrade"): (
        "The CLI is logged in on its host, as the account that agents run as: claude auth login."
    ),
    ("plan",): "Start a session with permission_mode plan.",
    ("resume", "continue", "rewind", "undo", "fork", "branch"): (
        "Each session is one dialog, and its next message goes on with it; start another session for another."
    ),
    ("exit", "quit", "stop"): "Interrupt the turn, or cancel the session.",
    ("add-dir", "cd"): "An agent works in the folder of its session; start a session in another.",
}


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """``name`` is given without its slash; ``argument`` is the text after it."""

    name: str
    argument: str

    @property
    def clears(self) -> bool:
        """Whether the command starts a new conversation."""
        return self.name in CLEAR

    @property
    def problem(self) -> str:
        """Why Orchestra does not carry the command out, and what to do instead; empty if it does."""
        if self.clears and not self.argument:
            return ""
        if self.name == MODEL and MODEL_NAME.fullmatch(self.argument):
            return ""
        as_text = "To send these words to the agent, put a blank before the slash."
        if self.clears:
            return f"Send /{self.name} alone to begin with an empty conversation. {as_text}"
        if self.name == MODEL:
            return f"Send /model and the name of one model, or /model default. {as_text}"
        advice = next((words for names, words in ADVICE.items() if self.name in names), "")
        return " ".join(
            part
            for part in (f"/{self.name} belongs to the CLI's own terminal and does nothing here.", advice, as_text)
            if part
        )


def command_in(prompt: str) -> SlashCommand | None:
    """Parse a command; None if ``prompt`` is text for the agent, for example a path."""
    typed = TYPED.match(prompt)
    return SlashCommand(typed[1], typed[2].strip()) if typed and typed[1] in KNOWN else None


def is_supported(command: SlashCommand) -> bool:
    """Whether Orchestra itself carries the command out: ``/clear`` and ``/model``."""
    return command.clears or command.name == MODEL
