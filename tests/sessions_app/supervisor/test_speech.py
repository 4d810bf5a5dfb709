"""What the CLI said, as transcript events: complete, in order, whatever the shape."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessions_app.supervisor.cli.protocol import OutputMessage, parse
from sessions_app.supervisor.transcript_lines import transcript_lines
from tests.sessions_app.supervisor.recordings import NAMES, messages_of

BLOCK_KINDS = {"text": "text", "thinking": "thinking", "tool_use": "tool_use", "tool_result": "tool_result"}


def told(spoken: OutputMessage) -> list[tuple[str, dict[str, Any]]]:
    return [(kind, json.loads(payload)) for kind, payload in transcript_lines(spoken)]


def spoken(**body: Any) -> OutputMessage:
    message = parse(json.dumps(body).encode())
    assert isinstance(message, OutputMessage)
    return message


def blocks_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    content = body["message"]["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


@pytest.mark.parametrize("name", NAMES)
def test_every_block_of_a_recording_becomes_one_event_in_order(name: str) -> None:
    for message in messages_of(name):
        if (
            not isinstance(message, OutputMessage)
            or message.type not in ("assistant", "user")
            or message.body.get("isReplay")
        ):
            continue
        events = told(message)
        blocks = blocks_of(message.body)
        assert len(events) == len(blocks)
        for (kind, payload), block in zip(events, blocks, strict=True):
            if block["type"] == "tool_use":
                assert (kind, payload["id"], payload["name"], payload["input"]) == (
                    "tool_use",
                    block["id"],
                    block["name"],
                    block["input"],
                )
            elif block["type"] == "tool_result":
                assert (kind, payload["tool_use_id"], payload["content"]) == (
                    "tool_result",
                    block["tool_use_id"],
                    block["content"],
                )
            elif message.type == "assistant":
                assert (kind, payload["text"]) == (BLOCK_KINDS[block["type"]], block.get("text", block.get("thinking")))
            else:
                assert payload["block"] == block


def test_what_a_sub_agent_says_names_the_call_it_belongs_to() -> None:
    inner = [
        message
        for message in messages_of("d_subagent_permission")
        if isinstance(message, OutputMessage) and message.body.get("parent_tool_use_id")
    ]
    assert inner
    assert all(payload["parent_tool_use_id"] for message in inner for _, payload in told(message))


def test_a_result_says_who_let_the_tool_run() -> None:
    events = [
        event for message in messages_of("d_deny") if isinstance(message, OutputMessage) for event in told(message)
    ]
    decisions = [payload["decision"] for kind, payload in events if kind == "tool_result"]
    assert decisions and decisions[0]["decision"] == "reject"


def test_bookkeeping_is_left_out_and_unknown_types_are_kept_whole() -> None:
    assert told(spoken(type="system", subtype="status", status="requesting")) == []
    assert told(spoken(type="tool_progress", heartbeat=True)) == []
    assert told(spoken(type="of tomorrow", x=[1])) == [("raw", {"type": "of tomorrow", "x": [1]})]
    assert told(spoken(type="assistant", message={"content": [{"type": "image", "data": "AA"}]})) == [
        ("raw", {"role": "assistant", "block": {"type": "image", "data": "AA"}})
    ]


def test_text_keeps_every_character() -> None:
    text = "é 😀 \x00 \ud800 \u202e\r\n\x1b[31m"
    [(kind, payload)] = transcript_lines(
        spoken(type="assistant", message={"content": [{"type": "text", "text": text}]})
    )
    assert kind == "text"
    assert payload.isascii() and "\n" not in payload
    assert json.loads(payload)["text"] == text


def test_numbers_of_a_call_are_not_rounded() -> None:
    call = b'{"type":"tool_use","id":"t","name":"X","input":{"n":123456789012345678901}}'
    message = parse(b'{"type":"assistant","message":{"content":[' + call + b"]}}")
    assert isinstance(message, OutputMessage)
    assert '"n": 123456789012345678901' in transcript_lines(message)[0][1]


def test_a_message_too_deep_to_write_down_is_noted_instead() -> None:
    for depth in (900, 1000, 1020):
        message = parse(b'{"type":"x","deep":' + b"[" * depth + b"]" * depth + b"}")
        if isinstance(message, OutputMessage):
            assert len(transcript_lines(message)) == 1


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
block = st.fixed_dictionaries(
    {"type": st.one_of(st.sampled_from(["text", "thinking", "tool_use", "tool_result"]), json_values)},
    optional=dict.fromkeys(("text", "thinking", "id", "name", "input", "tool_use_id", "content"), json_values),
)
body = st.fixed_dictionaries(
    {"type": st.one_of(st.sampled_from(["assistant", "user", "system"]), json_values)},
    optional={
        "subtype": st.one_of(st.sampled_from(["init", "status"]), json_values),
        "message": st.one_of(
            json_values,
            st.fixed_dictionaries({"content": st.one_of(json_values, st.lists(st.one_of(block, json_values)))}),
        ),
        "tool_result_meta": st.one_of(
            json_values, st.lists(st.one_of(json_values, st.fixed_dictionaries({"id": json_values})))
        ),
        "isReplay": json_values,
    },
)


@given(body)
@example({"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": []}]}, "tool_result_meta": 5})
@example({"type": "user", "message": {"content": 7}, "tool_result_meta": [{"id": {}}]})
def test_no_shape_of_a_message_breaks_the_transcript(body: dict[str, Any]) -> None:
    for kind, payload in transcript_lines(OutputMessage(str(body["type"]), str(body.get("subtype") or ""), body)):
        assert kind and payload.isascii()
