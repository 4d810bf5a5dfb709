"""What judging a call costs: the whole policy, guardrails and 47 rules, beside `json.loads` of the same input.

    python -m bench.policy_cost [--calls FILE] [--rounds 5] [--calls-only] [--save FILE]

FILE holds calls: a JSON list of ``{"tool", "input", "cwd"}`` or of sessions ``{"calls": [...]}``, or one JSON object a
line with a ``command``. Printed are p50 and p99 of the processor time of one decision (the best of the rounds for each
call, the floor in the same round), their ratio to the floor, and the worst of the hostile inputs, up to 1 MB, each of
which must stay below ``MOST_MS``. No database is used.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

MOST_MS, P99_MS = 50.0, 2.0
MB = 1_000_000
CALLS = Path(__file__).with_name("policy_calls.json")
PREFIXES = [
    "ls",
    "cat",
    "head",
    "tail",
    "wc",
    "grep",
    "rg",
    "find",
    "sort",
    "uniq",
    "tree",
    "du",
    "jq",
    "which",
    "date",
    "ps",
    "echo",
    "pwd",
    "mkdir",
    "touch",
    "cp",
    "mv",
    "tar",
    "curl",
    "make",
    "pytest",
    "cargo",
    "go",
    "node",
    "npx",
    "python",
    "pip",
    "docker",
]
PREFIXES += ["git status", "git diff", "git log", "git show", "git add", "git commit", "git branch", "npm test"]
PREFIXES += ["npm run", "uv run"]

# Each is repeated until the text is as long as it should be.
SEEDS = (
    "ps ", "0", "${a", "a ", "/a", "a/", "../", "a|", "a;", "a&&", "(", ")", "$(", "`", "{", "}", "[", "[[ ", "<<A\n",
    "<<<", "x=(", "x=1 ", "x[", "'", '"', "\\", "$'", "*", "?", "**/", "%2f", "\uff0f", "\ufdfa", "é", "\n", "a\n",
    ":5284", "1.2.3.4:5284 ", "5284 1 ", "/proc/", "/proc/self/cwd/", "//x@:5284", "cat /tmp/cc-", "if ", "for x in ",
    "case x in ", "f(){ ", "> ", "sh -c 'x' ", "cd .. ;", "-C/a ", "~/", "$HOME", "find .. ", "\x00", "A=$A$A ",
)  # fmt: skip


def main() -> int:
    import django

    django.setup()
    given = _given()
    with tempfile.TemporaryDirectory() as top:
        judge = _evaluate_policy(Path(top))
        ordinary = _measure(judge, list(_calls(given.calls)), given.rounds)
        inputs = [] if given.calls_only else _hostile(Path(top) / "work")
        hostile = [(name, *_one(judge, call, given.rounds)) for name, call in inputs]
    return _report(ordinary, hostile, given.save)


def _given() -> argparse.Namespace:
    reader = argparse.ArgumentParser(description="What judging a call costs.")
    reader.add_argument("--calls", type=Path, default=CALLS)
    reader.add_argument("--rounds", type=int, default=5)
    reader.add_argument("--calls-only", action="store_true", help="leave out the hostile inputs")
    reader.add_argument("--save", type=Path, help="write the figures as JSON")
    return reader.parse_args()


def _evaluate_policy(top: Path) -> "Callable[[str, str], object]":
    """Decide in a real folder, so that the file system is asked as it would be."""
    from approvals.models import Rule
    from approvals.policy import Call, Surroundings, decide, rule_from_request

    for folder in ("work/src", "orchestra/var/workspaces"):
        (top / folder).mkdir(parents=True)
    around = Surroundings(
        data_dir=str(top / "orchestra/var"),
        code_dir=str(top / "orchestra"),
        working_roots=(str(top / "work"),),
        port=5284,
    )
    pairs = [rule_from_request(f"Bash({prefix}:*)") for prefix in PREFIXES] + [
        ("Edit", f"{top}/work/*"),
        ("mcp__*", ""),
    ]
    rules = [Rule(effect="allow", tool=tool, pattern=pattern) for tool, pattern in pairs]
    rules += [Rule(effect="deny", tool="*", pattern="*rm -rf*"), Rule(effect="ask", tool="Bash", pattern="git push:*")]

    def judge(tool: str, text: str) -> object:
        return decide(Call(tool_name=tool, tool_input=text, directory=str(top / "work")), rules, around)

    return judge


def _calls(file: Path) -> Iterator[tuple[str, str]]:
    text = file.read_text()
    rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines()]
    for row in rows:
        for call in row.get("calls", [row]):
            given = call.get("input", {"command": call.get("command", "")})
            yield call.get("tool", "Bash"), json.dumps(given)


def _hostile(directory: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """Every seed as a command, as the text of an unknown tool and as a path, in the sizes around each of the limits."""
    for seed in SEEDS:
        for size in (4_000, 8_000, 16_000, 120_000, MB):
            text = (seed * (size // len(seed) + 1))[: size - 100]
            yield f"command {seed!r} {size}", ("Bash", json.dumps({"command": text}))
            yield f"text {seed!r} {size}", ("mcp__files__write", json.dumps({"text": text}, ensure_ascii=False))
        for tool in ("Write", "Glob"):
            yield f"path {seed!r}", (tool, json.dumps({"file_path": seed * 4000, "pattern": seed * 4000}))
    numbers = " ".join(f"{number}/x" for number in range(MB // 8))
    for size in (4_000, 16_000, 120_000, MB):
        yield f"distinct words {size}", ("Bash", json.dumps({"command": numbers[: size - 100]}))
        yield f"distinct parts {size}", ("Bash", json.dumps({"command": numbers[: size - 100].replace(" ", ";")}))
    yield "many texts", ("mcp__x", json.dumps({"a": ["x/" for _ in range(MB // 6)]}))
    yield "many names", ("mcp__x", json.dumps({f"{number}": "" for number in range(MB // 14)}))
    yield "many lists", ("mcp__x", json.dumps({"a": [[] for _ in range(MB // 4)]}))
    yield "deep", ("mcp__x", '{"a":' * (MB // 6) + "1" + "}" * (MB // 6))
    yield "deep lists", ("mcp__x", '{"a":' + "[" * (MB // 2) + "]" * (MB // 2) + "}")
    yield "a number", ("Bash", '{"n":' + "9" * MB + "}")
    yield "a file", ("Write", json.dumps({"file_path": f"{directory}/src/a.py", "content": "x = 1\n" * (MB // 7)}))


def _one(judge: "Callable[[str, str], object]", call: tuple[str, str], rounds: int) -> tuple[float, float]:
    """Milliseconds of the policy and of the floor."""
    best, floor = float("inf"), float("inf")
    for _ in range(rounds):
        floor = min(floor, _took_ms(lambda: _read(call[1])))
        best = min(best, _took_ms(lambda: judge(*call)))
    return best, floor


def _measure(
    judge: "Callable[[str, str], object]", calls: list[tuple[str, str]], rounds: int
) -> list[tuple[float, float]]:
    return [_one(judge, call, rounds) for call in calls]


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _took_ms(action: "Callable[[], object]") -> float:
    began = time.thread_time()  # what it takes from its neighbours, whatever else the machine does
    action()
    return (time.thread_time() - began) * 1e3


def _report(ordinary: list[tuple[float, float]], hostile: list[tuple[str, float, float]], save: Path | None) -> int:
    spans, floors = [sorted(column) for column in zip(*ordinary, strict=True)]
    p50, p99 = statistics.median(spans), spans[int(len(spans) * 0.99)]
    floor50, floor99 = statistics.median(floors), floors[int(len(floors) * 0.99)]
    print(f"{len(spans)} calls: p50 {p50:.3f} ms, p99 {p99:.3f} ms; floor {floor50:.4f} and {floor99:.4f} ms;", end=" ")
    print(f"ratio {p50 / floor50:.0f} and {p99 / floor99:.0f}; p99 at most {P99_MS:g} ms: {_said(p99 <= P99_MS)}")
    for name, took, floor in sorted(hostile, key=lambda row: -row[1])[:5]:
        print(f"  {took:7.2f} ms, floor {floor:7.3f} ms, {name}")
    worst = max((took for _, took, _ in hostile), default=0.0)
    print(f"{len(hostile)} hostile inputs: worst {worst:.1f} ms, at most {MOST_MS:g} ms: {_said(worst <= MOST_MS)}")
    if save:
        found = {"calls": len(spans), "p50_ms": p50, "p99_ms": p99, "ratio": p50 / floor50, "worst_ms": worst}
        save.write_text(json.dumps(found) + "\n")
    return 0 if p99 <= P99_MS and worst <= MOST_MS else 1


def _said(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
