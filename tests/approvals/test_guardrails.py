"""What nobody can lift, and what is not mistaken for it; in bounded time, whatever an agent writes."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from approvals.policy import Call, Surroundings, decide
from approvals.policy.shell.parser import parse
from approvals.policy.shell.words import read_word
from bench.policy_cost import SEEDS
from tests.approvals.policy_house import ALLOW_ALL, around, call, house, in_house, rule

__all__ = ["around", "house"]


@pytest.mark.parametrize(
    ("directory", "command"),
    [
        ("code/var/workspaces/mine", "cat /proc/self/cwd/../../secret_key"),
        ("code/var/workspaces/mine", "cat /proc//self/./cwd/../../secret_key"),
        ("code/var/workspaces/mine", "cd /proc/self && cat cwd/../../secret_key"),
        ("code/var/workspaces/mine", "cat `pwd`/../../secret_key"),
        ("code/var/workspaces/mine", "cat /proc/self/task/1/cwd/../../secret_key"),
        ("work/src", "grep -ra '' ../.. --include=secret_key"),
        ("work", "grep -R x ../code"),
        ("work", "grep -rn x {top}"),
        ("work", "rg -e key .."),
        ("work", "rg -t py key .."),
        ("work", "cd .. && rg key"),
        ("work", "cd ..; grep -r key"),
        ("work", "ag key .."),
        ("work", "find .. -name secret_key"),
        ("work", "find {top} -type f -exec cat {} +"),
        ("work", "cat $(find .. -name secret_key)"),
        ("work", "find .. | xargs cat"),
        ("work", "cat <<E\n`tar cf - ..`\nE"),
        ("work", "tar cf x.tar .."),
        ("work", "tar -C .. -cf x ."),
        ("work", "tar czf x.tgz -C{top} ."),
        ("work", "tar --create --file x .."),
        ("work", "cp -r .. /somewhere"),
        ("work", "cp -a {top} x"),
        ("work", "cp -r ../{{code,x}} y"),
        ("work", "cp -r ../co* x"),
        ("work", "cp -r $(pwd)/.. x"),
        ("work", "D=..; cp -r $D x"),
        ("work", "for f in ..; do cp -r $f x; done"),
        ("work", "zip -r x.zip .."),
        ("work", "rsync -a ../ x"),
        ("work", "mv ../code x"),
        ("work", "rm -rf .."),
        ("work", "bash -c 'cd .. && tar cf - .'"),
        ("work", "sudo -u root timeout 5 cp -R .. x"),
        ("work", "git grep --no-index x .."),
        ("work", "shopt -s globstar; cat ../**/secret_key"),
        ("work", "cd /proc/self; cat env*"),
        ("work", "ls /tmp/cc-socks"),
        ("work", "nc -U /tmp/cc-socks/12.sock"),
        ("work", "socat - UNIX-CONNECT:/tmp/cc-socks/1.sock"),
        ("work", "curl --unix-socket /tmp/cc-socks/1.sock http://x"),
        ("work", "cd /tmp && nc -U cc-socks/1.sock"),
        ("work", "nc -U /tmp/*/1.sock"),
        ("work", "nc -U /tmp/cc*/*"),
        ("work", "nc -U ${{TMPDIR:-/tmp}}/cc-socks/1.sock"),
    ],
)
def test_plain_words_that_take_in_what_is_ours_are_refused(house, around, directory, command):
    command = in_house(command, house).replace("{{", "{").replace("}}", "}")
    answer = decide(call(house, "Bash", directory, command=command), [ALLOW_ALL], around)
    assert (answer.effect, answer.source) == ("deny", "guardrail")


@pytest.mark.parametrize("path", ["/tmp/cc-socks/1.sock", "/private/tmp/cc-socks", "/run/user/1000/cc-socks/1.sock"])
def test_no_tool_reaches_the_sockets_of_other_clis(house, around, path):
    for tool, name in (("Read", "file_path"), ("Write", "file_path"), ("mcp__x", "where")):
        assert decide(call(house, tool, **{name: path}), [ALLOW_ALL], around).source == "guardrail"


INNOCENT = [
    "ls src/*",
    "git add src/*",
    "mkdir -p tests/{{unit,integration}}",
    "echo '/* x */'",
    "ls {{src,lib}}/**/*.py",
    "ls src/**/*.ts **/*.py",
    "ls .. ../* /* /tmp/*",
    "cd .. && ls",
    "du -sh ..",
    "cat /tmp/*.log",
    "rg '..' src",
    "rg -e '..' src",
    "grep '..' a.txt",
    "grep -rn '/*' src",
    "grep -r cc-socks src",
    "grep -rE 'a|b' --include='*.py' .",
    "find . -name '*'",
    "find .. -maxdepth 1",
    "find {top}/work -name x",
    "tar xf x.tgz -C ..",
    "cp x ..",
    "cp -r src ..",
    "rsync -a src/ ../",
    "sed -n '/^a/,/^b/p' a.txt",
    "awk '/x/ {{print}}' *.md",
    "rm -rf node_modules/*",
    "cd src && rg foo",
    "curl 'https://example.com/*'",
]


@pytest.mark.parametrize("command", INNOCENT)
def test_ordinary_commands_are_not_refused(house, around, command):
    command = in_house(command, house).replace("{{", "{").replace("}}", "}")
    assert decide(call(house, "Bash", command=command), [ALLOW_ALL], around).effect == "allow"


def test_a_wildcard_in_a_relative_path_is_not_taken_for_one_at_the_root():
    around = Surroundings(data_dir="/srv/var", code_dir="/srv/code", working_roots=("/srv/work",), port=5284)
    for command in ("ls src/*/*", "git add src/**/*.py web/*/*", "echo '/* x */' '/**/'"):
        asked = Call(tool_name="Bash", tool_input=json.dumps({"command": command}), directory="/srv/work")
        assert decide(asked, [ALLOW_ALL], around).effect == "allow"
    for command in ("cat /*/*/secret_key", "cat -x/*/*", "cat $X/*/*/k"):
        asked = Call(tool_name="Bash", tool_input=json.dumps({"command": command}), directory="/srv/work")
        assert decide(asked, [ALLOW_ALL], around).effect == "deny"


def test_a_pattern_of_glob_is_matched_part_by_part(house, around):
    for pattern, effect in (("src/**/*", "allow"), ("**/*", "allow"), ("*", "allow"), ("../**/*.py", "ask")):
        assert decide(call(house, "Glob", pattern=pattern), [ALLOW_ALL], around).effect == effect
    assert decide(call(house, "Glob", pattern="../c*/va?/x"), [ALLOW_ALL], around).effect == "deny"
    assert decide(call(house, "Glob", pattern="var/*", path="../code"), [ALLOW_ALL], around).effect == "deny"


def test_a_working_root_that_holds_ours_does_not_give_it_away(house):
    around = Surroundings(
        data_dir=str(house / "code/var"), code_dir=str(house / "code"), working_roots=(str(house),), port=5284
    )
    answer = decide(call(house, "Read", file_path=str(house / "code/var/secret_key")), [ALLOW_ALL], around)
    assert answer.effect == "deny"


# --- what is too large


def test_what_is_too_large_is_looked_through_for_plain_words_and_asked(house, around):
    padding = " ".join(f"w{number:x}/x" for number in range(5_000))
    for tool, name in (("Bash", "command"), ("mcp__x", "text")):
        answer = decide(call(house, tool, **{name: padding}), [ALLOW_ALL, rule("allow", tool)], around)
        assert (answer.effect, "too large" in answer.reason) == ("ask", True)
        hidden = f"{padding} {house}/code/var/secret_key"
        assert decide(call(house, tool, **{name: hidden}), [ALLOW_ALL], around).effect == "deny"
        inside = f"{padding} {house}/code/var/workspaces/mine/a.txt"
        assert decide(call(house, tool, **{name: inside}), [ALLOW_ALL], around).effect == "ask"
        assert decide(call(house, tool, **{name: padding}), [rule("deny", tool)], around).effect == "deny"


def test_a_part_behind_many_others_is_not_allowed_unseen(house, around):
    rules = [rule("allow", "Bash"), rule("deny", "Bash", "rm:*")]
    for filler in ("x;", "$x", "(x)", "x\n", "{}"):
        for times, effect in ((20, "deny"), (450, "ask")):
            command = f"echo '{filler * times}'; rm a"
            assert decide(call(house, "Bash", command=command), rules, around).effect == effect


def test_a_large_file_may_still_be_written(house, around):
    asked = call(house, "Write", file_path="src/a.py", content="x = {1: [2]}\n" * 70_000)
    assert decide(asked, [rule("allow", "Write", f"{house}/work/*")], around).effect == "allow"


def test_variables_that_hold_each_other_are_given_up(house, around):
    command = "A=" + "x" * 2000 + ";B=" + "$A" * 500 + ";C=" + "$B" * 500 + ";echo $C"
    assert decide(call(house, "Bash", command=command), [ALLOW_ALL], around).effect == "ask"


HOSTILE = [(seed, size) for seed in SEEDS for size in (2_000, 8_000, 1_000_000)]


@pytest.mark.parametrize(("seed", "size"), HOSTILE)
def test_no_text_an_agent_chooses_holds_up_its_worker(house, around, seed, size):
    """A generous guard: a bench measures milliseconds. What grows with the square of a text takes minutes here."""
    text = (seed * (size // len(seed) + 1))[:size]
    rules = [rule("allow", "*", "a*b*c?d"), rule("deny", "*", "*[x]y*"), rule("ask", "Bash", "rm:*")]
    began = time.monotonic()
    for tool, name in (("Bash", "command"), ("mcp__x", "text"), ("Write", "file_path"), ("Glob", "pattern")):
        decide(call(house, tool, **{name: text}), rules, around)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"a": [[] for _ in range(250_000)]}),
        '{"a":' + "[" * 400_000 + "]" * 400_000 + "}",
        json.dumps({"a": ["x/"] * 150_000}),
    ],
    ids=["lists", "deep", "texts"],
)
def test_an_input_of_too_many_parts_is_never_allowed(around, text):
    answer = decide(Call(tool_name="mcp__x", tool_input=text, directory="/tmp"), [ALLOW_ALL], around)
    assert answer.effect in ("deny", "ask")


# --- the words of a command


@pytest.mark.parametrize(
    ("source", "text", "is_glob"),
    [
        ("a\\ b", "a b", False),
        ("'a'\"b\"c", "abc", False),
        ('"it\'s"', "it's", False),
        ("'*'", "*", False),
        ("\\*", "*", False),
        ('"a*"*', "a**", True),
        ("$'\\x2a'", "*", False),
        ("$HOME/*", "/h/*", True),
        ('"${HOME}"', "/h", False),
        ("'$HOME'", "$HOME", False),
        ("$UNKNOWN", "$UNKNOWN", False),
        ("'unended", "'unended", False),
        ('"\\$x\\n"', "$x\\n", False),
    ],
)
def test_a_word_is_read_as_the_shell_would(source, text, is_glob):
    word = read_word(source, {"HOME": "/h"})
    assert (word.text, word.is_glob) == (text, is_glob)


@pytest.mark.parametrize(
    ("text", "commands", "writes"),
    [
        ("cat a > b c", [["cat", "a", "c"]], ["b"]),
        ("FOO=1 x y 2>&1 >> z < q", [["FOO=1", "x", "y"]], ["z"]),
        ("a && (b | c) ; d $(e f)", [["a"], ["b"], ["c"], ["d", "$(e f)"], ["e", "f"]], []),
        ("cat <<E > f\nrm x\nE", [["cat"]], ["f"]),
        ("if a; then b; fi &", [["a"], ["b"]], []),
        ("cat 'unended; rm x", [["cat", "'unended"], ["rm", "x"]], None),
    ],
)
def test_a_script_is_taken_apart_into_its_commands(text, commands, writes):
    script = parse(text, {})
    assert [[word.text for word in one.words] for one in script.commands if one.words] == commands
    if writes is not None:
        assert script.is_understood
        assert set(writes) <= {word.text for one in script.commands for word in one.writes}
    else:
        assert not script.is_understood


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab/.*'\"\\$(){}[]<>|&;` \n=~#!-0"), max_size=80))
def test_any_text_is_taken_apart(text):
    parse(text, {"a": "b"})
    read_word(text, {"a": "b"})
