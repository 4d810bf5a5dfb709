"""Bytes to messages and back, on every kind of bytes."""

import json
import string
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessions_app.supervisor.cli import protocol
from sessions_app.supervisor.cli.protocol import (
    ApiRetry,
    Delta,
    LineFramer,
    Message,
    OtherRequest,
    OutputMessage,
    OversizedLine,
    Reply,
    Result,
    ToolRequest,
    UnreadableLine,
    Withdrawn,
    join_deltas,
    member_text,
    parse,
)
from tests.sessions_app.supervisor.recordings import NAMES, lines_of, messages_of

CAP = 40


# --- lines


def framed(data: bytes, cuts: list[int], cap: int = CAP) -> list[bytes | OversizedLine]:
    framer = LineFramer(cap)
    marks = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    found: list[bytes | OversizedLine] = []
    for start, end in pairwise(marks):
        found += framer.feed(data[start:end])
    return [*found, *framer.rest()]


def plainly(data: bytes, cap: int = CAP) -> list[bytes | int]:
    """What a framer must find, computed the naive way; the length of lines that are too long."""
    return [len(line) if len(line) > cap else line for line in data.split(b"\n") if len(line) > cap or line.strip()]


streams = st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([b"\n", b"\r\n", b"\n\n", b"x" * 100, b"{}\n"])))


@given(streams.map(b"".join), st.lists(st.integers(0, 600)))
@example(b"x" * CAP + b"\n", [])
@example(b"x" * (CAP + 1) + b"\nok\n", [3, CAP, CAP + 1])
def test_any_way_of_cutting_a_stream_gives_the_same_lines(data: bytes, cuts: list[int]) -> None:
    found = framed(data, cuts)
    assert [line.size if isinstance(line, OversizedLine) else line for line in found] == plainly(data)


def test_a_line_over_the_cap_is_reported_with_its_head_and_the_next_line_is_whole() -> None:
    data = b'{"head":"' + b"y" * 10_000 + b'"}\n{"type":"next"}\n'
    long, following = framed(data, list(range(0, len(data), 7)), cap=5000)
    assert isinstance(long, OversizedLine)
    assert (long.head, long.size) == (data[: protocol.HEAD_BYTES], 10_011)
    assert following == b'{"type":"next"}'


@pytest.mark.parametrize("piece", [1, 3, 65536])
def test_a_line_without_end_takes_no_more_memory_than_the_cap(piece: int) -> None:
    cap, chunk = 200_000, bytes(range(1, 10)) * (65536 // 9 + 1)
    framer = LineFramer(cap)
    tracemalloc.start()
    for _ in range(10 * cap // piece):
        assert not list(framer.feed(chunk[:piece]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * cap


# --- pieces of text

pieces = st.builds(Delta, st.text(max_size=3))
others = st.builds(Withdrawn, st.text(max_size=3))


@given(st.lists(st.one_of(pieces, others)))
def test_joining_pieces_changes_neither_the_text_nor_the_order(messages: list[Delta | Withdrawn]) -> None:
    found = list(join_deltas(messages))
    assert [one for one in found if isinstance(one, Withdrawn)] == [
        one for one in messages if isinstance(one, Withdrawn)
    ]
    assert said(found) == said(messages)
    assert not any(isinstance(one, Delta) and isinstance(other, Delta) for one, other in pairwise(found))


def others_of(messages: Iterable[Message]) -> list[Message]:
    return [one for one in messages if not isinstance(one, Delta)]


def said(messages: Iterable[Message]) -> str:
    """All text, with a mark wherever something else was said."""
    return "".join(one.text if isinstance(one, Delta) else "\0" for one in messages)


# --- exact text of a member

numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
characters = st.one_of(
    st.sampled_from(
        ["\\u0000", "\\ud800", "\\uDC00", "\\ud83d\\ude00", "\\/", "\\n", "\\\\", '\\"', "é", "\u2028", "😀", "\x7f"]
    ),
    st.characters(min_codepoint=32, exclude_characters='"\\', exclude_categories=["Cs"]),
)
texts = st.lists(characters, max_size=12).map(lambda parts: '"' + "".join(parts) + '"')
spaces = st.sampled_from(["", " ", "\t "])  # never a line break: a message is one line


def _joined(open_: str, close: str, parts: list[str], space: str) -> str:
    return open_ + space + f"{space},{space}".join(parts) + space + close


def _containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    keys = st.one_of(texts, st.sampled_from(['"a"', '"input"', '"request"', '"\\u0061"']))  # duplicates are likely
    members = st.builds(lambda key, space, value: f"{key}{space}:{space}{value}", keys, spaces, inner)
    return st.one_of(
        st.builds(_joined, st.just("["), st.just("]"), st.lists(inner, max_size=4), spaces),
        st.builds(_joined, st.just("{"), st.just("}"), st.lists(members, max_size=4), spaces),
    )


json_texts = st.recursive(
    st.one_of(numbers, texts, st.sampled_from(["null", "true", "false", "{}", "[]"])), _containers, max_leaves=12
)


@given(json_texts, spaces)
@example("1e400", "")
@example("1.10", " ")
@example("123456789012345678901234567890", "")
@example('{"a":1,"a":2,"\\u0061":3}', "")
@example('"\\ud800\\u0000"', "")
def test_a_member_keeps_its_text_but_for_escapes_of_what_is_not_ascii(text: str, space: str) -> None:
    request = f'{{"other":null,"input"{space}:{space}{text}{space},"z":""}}'
    whole = f'{{"x":[1,{{"input":0}}],{space}"request"{space}:{request}{space}}}'
    taken = member_text(whole, ("request", "input"))
    assert taken.isascii()
    assert repr(json.loads(taken)) == repr(json.loads(text))
    if text.isascii():
        assert taken == text


def test_of_duplicate_members_the_last_counts_as_it_does_for_json() -> None:
    text = '{"request":{"input":1},"request":{"\\u0069nput":2,"input":{"a":1,"a":2}}}'
    assert member_text(text, ("request", "input")) == '{"a":1,"a":2}'
    assert json.loads(text)["request"]["input"] == json.loads(member_text(text, ("request", "input")))


@pytest.mark.parametrize("text", ["{}", "[]", "7", '{"request":[]}', '{"request":{"inputs":1}}'])
def test_a_missing_member_is_a_key_error(text: str) -> None:
    with pytest.raises(KeyError):
        member_text(text, ("request", "input"))


# --- messages


def hook_line(tool_input: str, **more: Any) -> bytes:
    fields = {"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_use_id": "toolu_1", **more}
    inside = json.dumps(fields)[1:-1]
    return (
        '{"type":"control_request","request_id":"r1","request":{"subtype":"hook_callback","callback_id":"orch_0",'
        f'"input":{{{inside},"tool_input":{tool_input}}}}}}}'
    ).encode()


def prompt_line(tool_input: str) -> bytes:
    return (
        '{"request_id":"r1","request":{"tool_name":"Bash","input":' + tool_input + ',"tool_use_id":"toolu_1",'
        '"subtype":"can_use_tool"},"type":"control_request"}'
    ).encode()


@given(json_texts)
@example('{"command":"echo \\ud800 \\u0000 \u2028 é","n":123456789012345678901234567890,"f":1.10,"f":1e400}')
def test_an_input_goes_back_to_the_cli_byte_for_byte_by_both_ways(text: str) -> None:
    for line, path in (
        (hook_line(text), ("response", "response", "hookSpecificOutput", "updatedInput")),
        (prompt_line(text), ("response", "response", "updatedInput")),
    ):
        request = parse(line)
        assert isinstance(request, ToolRequest)
        sent = protocol.allow(request, request.tool_input)
        assert sent.endswith(b"\n") and sent.count(b"\n") == 1
        body = sent.decode("ascii")
        json.loads(body)
        assert member_text(body, path) == request.tool_input
        if text.isascii():
            assert request.tool_input == text


def test_an_input_that_a_person_wrote_over_several_lines_and_beyond_ascii_is_sent_as_one_ascii_line() -> None:
    request = parse(hook_line("{}"))
    assert isinstance(request, ToolRequest)
    written = '{\r\n  "command": "echo é\\n",\n  "n": 1.10\n}'
    sent = protocol.allow(request, written)
    assert sent.count(b"\n") == 1 and b"\r" not in sent
    back = member_text(sent.decode("ascii"), ("response", "response", "hookSpecificOutput", "updatedInput"))
    assert json.loads(back) == json.loads(written)


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize("depth", [10, 300, *range(940, 1010), 1100, 5000, 200_000])
def test_a_deeply_nested_input_is_read_or_refused_but_never_breaks_the_reader(depth: int) -> None:
    for line in (hook_line(nested(depth)), prompt_line(nested(depth))):
        message = parse(line)
        assert isinstance(message, (ToolRequest, OtherRequest))
        assert message.request_id == "r1"
        if isinstance(message, ToolRequest):
            assert message.tool_input == nested(depth)


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"control_request","request_id":"r1","request":{"subtype":"hook_callback","input":[]}}',
        b'{"type":"control_request","request_id":"r1","request":{"subtype":"hook_callback","input":"text"}}',
        b'{"type":"control_request","request_id":"r1","request":{"subtype":"hook_callback","input":{"hook_event_name":"Stop"}}}',
        b'{"type":"control_request","request_id":"r1","request":{"subtype":"hook_callback"}}',
        b'{"type":"control_request","request_id":"r1","request":{"subtype":"can_use_tool"}}',
        b'{"type":"control_request","request_id":"r1","request":{"subtype":"can_use_tool","tool_name":"Bash"}}',
        b'{"type":"control_request","request_id":"r1","request":[]}',
        b'{"type":"control_request","request_id":"r1"}',
        b'{"type":"control_request","request_id":"r1","request":{"subtype":"of tomorrow"}}',
        b'{"type":"control_request","request_id":"r1","request":{"subtype":"can_use_tool","input":{',
        b'{"type":"control_request","request_id":"r1","request":{"subtype":"can_use_tool","input":{"a":"\xff\xfe"}}}',
        b'{"type":"control_request","request_id":"r1","request":{"subtype":"can_use_tool","input":{"a":"\x00"}}}',
        b'{"type":"control_request" , "request_id" : "r1" \x00',
        hook_line("9" * 5000),
        prompt_line("9" * 5000),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_by_its_id(line: bytes) -> None:
    message = parse(line)
    assert isinstance(message, OtherRequest)
    assert message.request_id == "r1"


def test_a_request_over_the_line_cap_is_refused_by_its_id() -> None:
    line = hook_line('{"content":"' + "x" * 10_000 + '"}')
    message = parse(OversizedLine(line[: protocol.HEAD_BYTES], len(line)))
    assert message == OtherRequest("r1", "unreadable")


def test_the_words_of_a_request_inside_other_text_are_only_text() -> None:
    body = {
        "type": "assistant",
        "message": {"content": [{"type": "text", "text": '{"type":"control_request","request_id":"r1"}'}]},
    }
    assert isinstance(parse(json.dumps(body).encode()), OutputMessage)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"type":"control_cancel_request","request_id":"r1"}', Withdrawn("r1")),
        (b'{"type":"control_response","response":{"subtype":"success","request_id":"q"}}', Reply("q", "")),
        (b'{"type":"control_response","response":{"subtype":"error","request_id":"q","error":"no"}}', Reply("q", "no")),
        (b'{"type":"control_response","response":null}', Reply("", "")),
        (b'{"type":"stream_event","event":{"delta":{"text":"hi"}}}', Delta("hi")),
        (b'{"type":"stream_event","parent_tool_use_id":"t","event":{"delta":{"text":"hi"}}}', Delta("")),
        (b'{"type":"stream_event","event":{"delta":{"text":7}}}', Delta("")),
        (b"not json", UnreadableLine("not json", 8)),
        (b"[1,2]", UnreadableLine("[1,2]", 5)),
        (b'"text"', UnreadableLine('"text"', 6)),
    ],
)
def test_small_messages_are_told_apart(line: bytes, expected: protocol.Message) -> None:
    assert parse(line) == expected


def test_long_integers_in_a_recorded_call_stay_exact() -> None:
    block = '{"type":"tool_use","id":"t","name":"X","input":{"n":123456789012345678901234567890}}'
    message = parse(('{"type":"assistant","message":{"content":[' + block + "]}}").encode())
    assert isinstance(message, OutputMessage)
    assert message.body["message"]["content"][0]["input"]["n"] == 123456789012345678901234567890


fragments = st.sampled_from(
    [
        b'{"type":',
        b'"control_request"',
        b'"request_id":"r"',
        b'"request":{',
        b'"subtype":"can_use_tool"',
        b'"tool_use"',
        b"}",
        b",",
        b"\x00",
        b"\xff",
        b"[" * 50,
        b'"result"',
        b"NaN",
        b"9" * 30,
        b"\xed\xa0\x80",
        b"\\ud800",
    ]
)


@given(
    st.one_of(st.binary(max_size=300), st.lists(st.one_of(fragments, st.binary(max_size=8)), max_size=12).map(b"".join))
)
@example(b"[" * 100_000)
@example(b'"tool_use"' + b"[" * 100_000)
@example(b"")
def test_reading_never_raises_whatever_the_bytes(line: bytes) -> None:
    parse(line)
    parse(OversizedLine(line, 10**9))


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_line_is_understood(name: str) -> None:
    messages = messages_of(name)
    assert messages
    assert not [message for message in messages if isinstance(message, UnreadableLine)]
    asks = [json.loads(line) for line in lines_of(name) if b'"control_request"' in line]
    expected = [ask["request_id"] for ask in asks if ask.get("type") == "control_request"]
    assert [message.request_id for message in messages if isinstance(message, ToolRequest)] == expected


def test_a_recorded_call_arrives_with_its_exact_input() -> None:
    line = next(line for line in lines_of("i_sdkhook_defer") if b'"hook_callback"' in line)
    request = parse(line)
    assert isinstance(request, ToolRequest)
    body = json.loads(line)["request"]
    assert json.loads(request.tool_input) == body["input"]["tool_input"]
    assert request.tool_input.encode() in line
    assert (request.tool_use_id, request.tool_name, request.is_callback, request.agent_id) == (
        "toolu_H1",
        "Write",
        True,
        "",
    )


def test_a_call_inside_a_sub_agent_says_so() -> None:
    asked = [message for message in messages_of("i_defer_in_subagent") if isinstance(message, ToolRequest)]
    assert any(request.agent_id for request in asked)


def test_retries_carry_the_status_of_the_api() -> None:
    retries = [message for message in messages_of("h_api_401") if isinstance(message, ApiRetry)]
    assert {retry.status for retry in retries} == {401}


def test_every_result_says_why_it_came() -> None:
    reasons = {name: [m.reason for m in messages_of(name) if isinstance(m, Result)] for name in NAMES}
    assert reasons["d_allow"][-1] == "completed"
    assert reasons["i_sdkhook_defer"] == ["tool_deferred"]
    assert reasons["i_defer_resume_hook_defer_again"] == ["tool_deferred"]  # this one has no terminal_reason
    assert reasons["h_resume_unknown"] == [""]


# --- what is written


@given(st.text(max_size=200))
@example('\ud800 "quoted"\n\x00')
def test_what_is_written_is_one_ascii_json_line_whatever_the_text(text: str) -> None:
    is_callback = ToolRequest(
        request_id=text, tool_use_id="t", tool_name="X", tool_input="{}", agent_id="", is_callback=True
    )
    asked = ToolRequest(
        request_id=text, tool_use_id="t", tool_name="X", tool_input="{}", agent_id="", is_callback=False
    )
    written = [
        protocol.user(text, "u"),
        protocol.interrupt(text),
        protocol.refuse(text, text),
        protocol.defer(is_callback),
        protocol.deny(is_callback, text),
        protocol.deny(asked, text),
        protocol.allow(is_callback, "{}"),
        protocol.allow(asked, "{}"),
    ]
    for line in written:
        assert line.endswith(b"\n") and line.count(b"\n") == 1
        json.loads(line.decode("ascii"))


def test_the_first_line_registers_a_hook_before_and_after_every_tool() -> None:
    hooks = json.loads(protocol.initialize())["request"]["hooks"]
    ended = [{"matcher": "*", "hookCallbackIds": ["orch_ended"], "timeout": 2_000_000}]
    assert hooks == {
        "PreToolUse": [{"matcher": "*", "hookCallbackIds": ["orch_0"], "timeout": 2_000_000}],
        "PostToolUse": ended,
        "PostToolUseFailure": ended,
    }


def test_the_letters_of_a_prompt_arrive_as_data() -> None:
    prompt = "--dangerous\n" + string.printable
    assert json.loads(protocol.user(prompt, "u"))["message"] == {"role": "user", "content": prompt}


def test_attached_texts_follow_the_prompt_each_as_a_block() -> None:
    content = json.loads(protocol.user("look", "u", ["one\n", "two"]))["message"]["content"]
    assert content == [{"type": "text", "text": text} for text in ("look", "one\n", "two")]
