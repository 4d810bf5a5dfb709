"""Facts as lines that a person reads."""

from approvals.presentation.readable import fact_lines, in_one_line, numbered


def test_facts_are_lines_and_what_is_nested_is_indented():
    facts = {
        "commit": "9f3c71a", "tests": 812, "green": True, "owner": None, "hosts": ["a", "b"], "empty": {}, "none": [],
        "load": {"now": 0.5, "by": {"disk": "x"}}, "steps": [{"run": "make"}, {"run": "ship"}], "note": "two\nlines",
    }  # fmt: skip
    assert fact_lines(facts) == [
        "commit: 9f3c71a", "tests: 812", "green: true", "owner: none", "hosts: a, b", "empty: none", "none: none",
        "load:", "  now: 0.5", "  by:", "    disk: x", "steps:", "  1:", "    run: make", "  2:", "    run: ship",
        "note: two", "  lines",
    ]  # fmt: skip


def test_nothing_is_too_deep():
    deep: dict = {}
    for _ in range(300):
        deep = {"x": deep}
    assert len(fact_lines(deep)) < 10 and fact_lines(deep)[-1].strip().startswith('x: {"x"')


def test_what_stands_in_one_line():
    assert [in_one_line(one) for one in ("text", 1, False, None, ["a", 2], [])] == [
        "text",
        "1",
        "false",
        "none",
        "a, 2",
        "none",
    ]
    assert numbered(["Now", "Tonight"]) == ["1 · Now", "2 · Tonight"]
