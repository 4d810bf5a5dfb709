"""Measure how easy the code is to enter, and print the figures as a table: ``.venv/bin/python tools/structure.py``.

Lines are counted in product code alone: no tests, no migrations. Complexity is that of ruff's C901 (McCabe).
"""

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
APPS = ("config", "console", "orchestra", "approvals", "sessions_app", "escalation")
RIDDLES = ("nobody", "somebody", "whoever", "told", "said", "meanwhile")
TEXTS = ("*.py", "*.md", "*.html", "*.js")
LONGEST_FUNCTION_COMPLEXITY = 10


def modules():
    """Return the product's modules, without migrations."""
    found = [path for app in APPS for path in sorted((TOP / app).rglob("*.py"))]
    return [path for path in found if "migrations" not in path.parts]


def largest_folder(paths):
    """Return the folder with the most modules of its own, and how many; empty `__init__.py` files do not count."""
    counts = Counter(path.parent for path in paths if path.read_text().strip())
    folder, number = counts.most_common(1)[0]
    return str(folder.relative_to(TOP)), number


def riddles():
    """Return how often words that hide a sentence's subject occur in product and docs, by word."""
    places = [TOP / app for app in (*APPS, "templates", "docs")] + [TOP / "README.md"]
    texts = [path for place in places for path in ([place] if place.is_file() else _texts(place))]
    found = Counter()
    for path in texts:
        found.update(word.lower() for word in re.findall(rf"\b(?:{'|'.join(RIDDLES)})\b", path.read_text(), re.I))
    return found


def _texts(folder):
    kept = (path for kind in TEXTS for path in folder.rglob(kind))
    return [path for path in kept if not {"vendor", "migrations"} & set(path.parts)]


def function_lengths(paths):
    """Return the lengths of all functions, sorted, in lines."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    trees = (ast.parse(path.read_text()) for path in paths)
    return sorted(
        node.end_lineno - node.lineno + 1 for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)
    )


def complex_functions():
    """Return ruff's findings about functions above the bound."""
    bound = f"lint.mccabe.max-complexity = {LONGEST_FUNCTION_COMPLEXITY}"
    ruff = [str(TOP / ".venv/bin/ruff"), "check", "--isolated", "--select", "C901", "--config", bound]
    done = subprocess.run(
        [*ruff, "--output-format", "json", *APPS], cwd=TOP, capture_output=True, text=True, check=False
    )
    return [f"{Path(one['filename']).name}: {one['message']}" for one in json.loads(done.stdout or "[]")]


def import_contracts():
    """Return import-linter's closing line; its layers allow no import upwards, so apps form no cycle."""
    return _output_of(str(TOP / ".venv/bin/lint-imports")).strip().splitlines()[-1]


def _output_of(*command):
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False).stdout


def main():
    """Print the table."""
    paths = modules()
    folder, number = largest_folder(paths)
    words = riddles()
    lengths = function_lengths(paths)
    above = complex_functions()
    lines = [path.read_text().splitlines() for path in paths]
    comments = sum(line.strip().startswith("#") or "  # " in line for text in lines for line in text)
    rows = (
        ("modules in the largest folder", f"{number} ({folder})"),
        ("modules", len(paths)),
        ("product lines (Python)", sum(map(len, lines))),
        ("comments per 100 lines", f"{100 * comments / sum(map(len, lines)):.1f}"),
        ("function length, median and 90 %", f"{lengths[len(lengths) // 2]}, {lengths[len(lengths) * 9 // 10]}"),
        (f"functions above complexity {LONGEST_FUNCTION_COMPLEXITY}", "; ".join(above) or 0),
        (", ".join(RIDDLES), f"{sum(words.values())} ({', '.join(f'{one} {count}' for one, count in words.items())})"),
        ("imports", import_contracts()),
    )
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        sys.stdout.write(f"{name:{width}}  {value}\n")


if __name__ == "__main__":
    main()
