"""The command line, as far as the host uses it."""

import json
from dataclasses import dataclass

SWITCHES = frozenset(
    {
        "-p",
        "--print",
        "--verbose",
        "--include-partial-messages",
        "--strict-mcp-config",
        "--disable-slash-commands",
        "--version",
        "-v",
    }
)
VALUES = frozenset(
    {
        "--input-format", "--output-format", "--permission-prompt-tool", "--setting-sources", "--disallowedTools",
        "--allowedTools", "--session-id", "--resume", "--model", "--permission-mode", "--max-turns",
        "--max-budget-usd", "--append-system-prompt", "--settings", "--add-dir",
    }
)  # fmt: skip


class BadUsage(Exception):
    """One line for stderr; the process exits 1."""


@dataclass(frozen=True, slots=True)
class Options:
    switches: frozenset[str]
    values: dict[str, str]

    @classmethod
    def parse(cls, argv: list[str]) -> "Options":
        """Read ``--flag=value`` and ``--flag value``.

        Raises:
            BadUsage: an option nobody knows, or a value missing.
        """
        switches, values, rest = set[str](), dict[str, str](), list(argv)
        while rest:
            name, equals, value = rest.pop(0).partition("=")
            if name in SWITCHES and not equals:
                switches.add(name)
            elif name in VALUES:
                if not equals and not rest:
                    raise BadUsage(f"error: option '{name} <value>' argument missing")
                values[name] = value if equals else rest.pop(0)
            else:
                raise BadUsage(f"error: unknown option '{name}'")
        return cls(frozenset(switches), values)

    def check_streaming(self) -> None:
        """Insist on the one way of running that the host uses.

        Raises:
            BadUsage: another input or output format, or no ``--verbose``.
        """
        if self.values.get("--input-format") != "stream-json" or self.values.get("--output-format") != "stream-json":
            raise BadUsage("Error: only --input-format=stream-json with --output-format=stream-json is spoken here.")
        if "--verbose" not in self.switches:
            raise BadUsage("Error: When using --print, --output-format=stream-json requires --verbose")

    @property
    def asks_for_everything(self) -> bool:
        """Whether the settings' own rules ask for every tool, also for one that a hook has allowed."""
        settings = json.loads(self.values.get("--settings") or "{}")
        return "*" in settings.get("permissions", {}).get("ask", [])

    @property
    def partial_messages(self) -> bool:
        return "--include-partial-messages" in self.switches

    @property
    def wants_version(self) -> bool:
        return bool({"--version", "-v"} & self.switches)
