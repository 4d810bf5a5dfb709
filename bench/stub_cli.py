"""A fake of the coding CLI that requests permission for the same call repeatedly, as fast as it is
answered.

It implements enough of the stream-json protocol for a supervisor, with the standard library alone
so that it starts quickly. It records when it sent each request and when it had read each answer
(CLOCK_MONOTONIC, which all processes of a Linux host share).

Environment (names that Orchestra passes on to an agent):
  ANTHROPIC_BENCH_FOLDER  where it writes ``ready-<pid>`` and ``marks-<pid>``, and whose file
                          ``gate`` it locks: the bench holds the lock until all CLIs are ready, so
                          that they start together
  ANTHROPIC_BENCH_ASKS    the number of requests
  ANTHROPIC_BENCH_ANSWER  the expected answer; default: allow
"""

import fcntl
import json
import os
import sys
import time

FOLDER = os.environ["ANTHROPIC_BENCH_FOLDER"]
ASKS = int(os.environ["ANTHROPIC_BENCH_ASKS"])
ANSWER = os.environ.get("ANTHROPIC_BENCH_ANSWER", "allow")
PID = os.getpid()
ARGUMENTS = {"command": "git push origin main", "description": "push the branch", "timeout": 120000}


def send(**message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def path(name):
    return os.path.join(FOLDER, name)


def start_with_the_others():
    with open(path(f"ready-{PID}"), "w"):
        pass
    with open(path("gate")) as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)


def ask(number):
    """Request permission for the call with this number; return its tool use id and the time of the
    request.
    """
    tool_use_id = f"toolu_{PID}_{number}"
    hook = {"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": ARGUMENTS, "tool_use_id": tool_use_id}
    request = {"subtype": "hook_callback", "callback_id": "orch_0", "input": hook, "tool_use_id": tool_use_id}
    asked_at = time.monotonic()
    send(type="control_request", request_id=f"ask-{PID}-{number}", request=request)
    return tool_use_id, asked_at


def main():
    marks = {}
    asked = None
    for line in iter(sys.stdin.buffer.readline, b""):
        read_at = time.monotonic()
        message = json.loads(line)
        if message["type"] == "control_request":
            response = {"subtype": "success", "request_id": message["request_id"], "response": {"commands": []}}
            send(type="control_response", response=response)
            continue
        if message["type"] == "user":
            send(type="system", subtype="init", session_id="", model="stub", cwd=os.getcwd(), tools=["Bash"])
            start_with_the_others()
        else:
            decision = message["response"]["response"]["hookSpecificOutput"]["permissionDecision"]
            assert decision == ANSWER, message
            marks[asked[0]] = (asked[1], read_at)
        if len(marks) < ASKS:
            asked = ask(len(marks))
            continue
        with open(path(f"marks-{PID}"), "w") as file:
            json.dump(marks, file)
        send(
            type="result", subtype="success", is_error=False, terminal_reason="completed", result="done",
            num_turns=1, session_id="", total_cost_usd=0.0, usage={},
        )  # fmt: skip


main()
