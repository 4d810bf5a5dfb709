"""A fake of the coding CLI that only writes text, as fast as it is read.

Environment (names that Orchestra passes on to an agent):
  ANTHROPIC_BENCH_SAYS  a file, whose last line is the ``result``; or a line, which it repeats until
                        it is stopped
"""

import json
import os
import sys

for line in iter(sys.stdin.buffer.readline, b""):
    message = json.loads(line)
    if message["type"] == "user":
        text = os.environ["ANTHROPIC_BENCH_SAYS"]
        program = "yes" if text.startswith("{") else "cat"
        os.execvp(program, [program, text])
    response = {"subtype": "success", "request_id": message["request_id"], "response": {"commands": []}}
    sys.stdout.write(json.dumps({"type": "control_response", "response": response}) + "\n")
    sys.stdout.flush()
