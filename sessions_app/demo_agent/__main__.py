"""Entry point: ``python -I -S __main__.py``.

It uses only the standard library and the modules of this folder.
"""

import os
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # isolated mode (-I) does not add it

from sessions_app.demo_agent import STATE_VARIABLE, VERSION
from sessions_app.demo_agent.cli_side import Cli, Profile
from sessions_app.demo_agent.options import BadUsage, Options
from sessions_app.demo_agent.script import reply
from sessions_app.demo_agent.tools import run_tool

STREAM_PAUSE_S = 0.03


def main() -> int:
    try:
        options = Options.parse(sys.argv[1:])
    except BadUsage as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.wants_version:
        sys.stdout.write(f"{VERSION} (Orchestra demo agent)\n")
        return 0
    state = os.environ.get(STATE_VARIABLE) or Path(tempfile.gettempdir()) / f"orchestra-demo-{os.getuid()}"
    profile = Profile(model="demo", version=f"{VERSION} (Orchestra demo agent)", stream_pause_s=STREAM_PAUSE_S)
    return Cli(profile=profile, options=options, state_dir=Path(state), reply=reply, execute=run_tool).run()


if __name__ == "__main__":
    raise SystemExit(main())
