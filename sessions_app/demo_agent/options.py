"""The command-line options of the CLI that the host uses."""

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
    """Wrong usage: the message goes to stderr, and the process exits with 1."""


@dataclass(frozen=True, slots=True)
class Options:
    switches: frozenset[str]
    values: dict[str, str]

    @classmethod
    def parse(cls, argv: list[str]) -> "Options":
        """Parse ``--flag=value`` and ``--flag value``.

        Raises:
            BadUsage: an option is unknown, or its value is missing.
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
        """Accept only the mode of operation that the host uses.

        Raises:
            BadUsage: another input or output format is given, or ``--verbose`` is missing.
        """
        if self.values.get("--input-format") != "stream-json" or self.values.get("--output-format") != "stream-json":
            raise BadUsage("Error: only --input-format=stream-json with --output-format=stream-json is spoken here.")
        if "--verbose" not in self.switches:
            raise BadUsage("Error: When using --print, --output-format=stream-json requires --verbose")

    @property
    def prompts_for_every_tool(self) -> bool:
        """Whether the settings make the CLI prompt for every tool, even after a hook allowed it."""
        settings = json.loads(self.values.get("--settings") or "{}")
        return "*" in settings.get("permissions", {}).get("ask", [])

    @property
    def partial_messages(self) -> bool:
        return "--include-partial-messages" in self.switches

    @property
    def wants_version(self) -> bool:
        return bool({"--version", "-v"} & self.switches)
