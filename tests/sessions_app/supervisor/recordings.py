"""The recorded lines of the real CLI, as bytes and as messages."""

from pathlib import Path

from sessions_app.supervisor.cli.protocol import Message, Result, parse

FOLDER = Path(__file__).parents[2] / "transcripts"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def lines_of(name: str) -> list[bytes]:
    """The lines of one recording, without their newlines."""
    return (FOLDER / f"{name}.jsonl").read_bytes().splitlines()


def messages_of(name: str) -> list[Message]:
    return [parse(line) for line in lines_of(name)]


def results_of(name: str) -> list[Result]:
    """The last words of every turn in a recording, in order."""
    return [message for message in messages_of(name) if isinstance(message, Result)]
