"""The process runner, with small shell programs in place of Orchestra's own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestra.logs.file import LogFile
from orchestra.runtime.runner import EXITS_TO_GIVE_UP, Child, Output, Plan, Program
from tests.stack import ROOT, until

PATIENT = 'trap "sleep 0.2; echo {0} stops; exit 0" TERM; echo {0} starts; while :; do sleep 0.05; done'
STUBBORN = 'trap "" TERM; echo {0} starts; while :; do sleep 0.05; done'


def program(name: str, script: str, *, stops: int = 1, grace_s: float = 10) -> Program:
    return Program(name=name, command=["sh", "-c", script.format(name)], stops=stops, grace_s=grace_s)


class Running:
    """A runner as a process, its terminal and its log file."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self._folder = folder

    @property
    def log(self) -> str:
        path = self._folder / "logs" / "api.log"
        return path.read_text() if path.exists() else ""

    @property
    def terminal(self) -> str:
        return (self._folder / "terminal").read_text()

    def wait_for(self, text: str) -> None:
        until(lambda: text in self.log, f"{text!r} in the log")

    def programs(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def running(folder: Path, *programs: Program, **changes: Any) -> Iterator[Running]:
    plan = Plan(
        programs=list(programs),
        directory=str(ROOT),
        log_file=str(folder / "logs" / "api.log"),
        log_days=7,
        log_as_json=changes.get("log_as_json", False),
        banner=changes.get("banner", "welcome"),
        secrets=changes.get("secrets", []),
    )
    reading, writing = os.pipe()
    os.write(writing, json.dumps(asdict(plan)).encode())
    os.close(writing)
    command = [sys.executable, "-m", "orchestra.runtime.runner", str(reading)]
    with (folder / "terminal").open("wb") as terminal:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=changes.get("stdout", terminal), pass_fds=[reading], start_new_session=True
        )
    os.close(reading)
    try:
        yield Running(process, folder)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_goes_in_order_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    order = [program("broker", PATIENT, stops=3), program("door", PATIENT, stops=1), program("work", PATIENT, stops=2)]
    with running(tmp_path, *order) as runner:
        runner.wait_for("work starts")
        left = runner.programs()
        assert runner.stop(number) == 0
        words = [line for line in runner.log.splitlines() if line.endswith("stops")]
        assert words == ["door     | door stops", "work     | work stops", "broker   | broker stops"]
        assert gone(left)


def test_a_program_that_ignores_the_signal_is_killed_with_its_children(tmp_path: Path) -> None:
    script = f"({STUBBORN.format('grandchild')}) & {STUBBORN}"
    with running(tmp_path, program("mule", script, grace_s=0.3)) as runner:
        runner.wait_for("mule starts")
        runner.wait_for("grandchild starts")
        left = runner.programs()
        assert runner.stop() == 0
        assert "mule did not stop in time and was killed" in runner.log
        assert gone(left)


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    with running(tmp_path, program("mule", STUBBORN, grace_s=1000)) as runner:
        runner.wait_for("mule starts")
        runner.process.send_signal(signal.SIGINT)
        runner.wait_for("stopping")
        assert runner.stop() == 0


def test_nothing_outlives_a_runner_that_was_killed(tmp_path: Path) -> None:
    with running(tmp_path, program("one", PATIENT), program("two", PATIENT)) as runner:
        runner.wait_for("two starts")
        left = runner.programs()
        runner.stop(signal.SIGKILL)
        until(lambda: gone(left), "the programs end with their runner")


def test_what_dies_is_started_again(tmp_path: Path) -> None:
    with running(tmp_path, program("cat", "echo cat lives as $$; exec sleep 1000")) as runner:
        runner.wait_for("cat lives")
        first = runner.programs()[-1]
        first.kill()
        runner.wait_for("cat ended by SIGKILL; starting it again in 1 s")
        until(lambda: runner.log.count("cat lives") == 2, "a second life")
        assert runner.stop() == 0


def test_what_keeps_dying_is_given_up_after_five_times_within_a_minute(tmp_path: Path) -> None:
    output = Output(LogFile(tmp_path / "log", days=1), as_json=False)
    child = Child(program("moth", "exit 3"), output)
    waits = []
    for now in range(100, 100 + 10 * EXITS_TO_GIVE_UP, 10):
        child.start()
        until(lambda: not child.is_alive, "it ends by itself")
        if not child.handle_exit(float(now)):
            break
        waits.append(child.start_at - now)
    assert waits == [1.0, 2.0, 4.0, 8.0]
    assert "moth ended with exit code 3; it keeps dying, giving up" in (tmp_path / "log").read_text()


def test_deaths_long_ago_do_not_count(tmp_path: Path) -> None:
    child = Child(program("moth", "exit 3"), Output(LogFile(tmp_path / "log", days=1), as_json=False))
    for now in range(0, 61 * 10, 61):
        child.start()
        until(lambda: not child.is_alive, "it ends by itself")
        assert child.handle_exit(float(now))
        assert child.start_at == now + 1.0


def test_a_runner_that_gives_up_stops_the_others_and_says_so_by_its_exit_code(tmp_path: Path) -> None:
    moth = Program(name="moth", command=["sh", "-c", "exit 1"], stops=1, grace_s=1)
    with running(tmp_path, program("other", PATIENT), moth) as runner:
        runner.wait_for("other starts")
        left = [one for one in runner.programs() if "other" in " ".join(one.cmdline())]
        assert left
        assert runner.process.wait(90) == 1
        assert "moth ended with exit code 1; it keeps dying, giving up" in runner.log
        assert gone(left)


def test_the_banner_reaches_the_terminal_and_no_file(tmp_path: Path) -> None:
    with running(tmp_path, program("one", PATIENT), banner="open /sign-in/abcdef") as runner:
        until(lambda: "open /sign-in/abcdef" in runner.terminal, "the banner")
        runner.stop()
        assert "sign-in" not in runner.log


def test_the_log_names_the_program_leaves_json_alone_and_hides_secrets(tmp_path: Path) -> None:
    script = """
        echo '{{"event": "hello", "level": "info"}}'
        echo 'key sesame-open-please in a line'
        printf 'GET /sign-in/abc_DEF-123 \\033[31mred\\n'
        echo end of {0}
        exec sleep 1000
    """
    with running(tmp_path, program("talker", script), secrets=["sesame-open-please"], log_as_json=True) as runner:
        runner.wait_for("end of talker")
        runner.stop()
        lines = runner.log.splitlines()
    assert '{"event": "hello", "level": "info"}' in lines
    assert "talker   | key *** in a line" in lines
    assert "talker   | GET /sign-in/*** \\x1b[31mred" in lines
    own = [json.loads(line) for line in lines if line.startswith("{") and "runner" in line]
    assert own[-1]["event"].startswith("everything stopped in")


def test_a_terminal_that_nobody_reads_stops_nobody(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i of a long story, longer than any pipe; i=$((i+1)); done"
    script += "; echo told it all; exec sleep 1000"
    with running(tmp_path, program("teller", script), stdout=writing) as runner:
        runner.wait_for("told it all")
        assert runner.log.count("of a long story") == 3000
        assert runner.stop() == 0
    os.close(reading)
    os.close(writing)


def test_the_next_program_waits_until_the_one_before_answers(tmp_path: Path) -> None:
    path = tmp_path / "late.sock"
    serve = (
        f"import socket, time; time.sleep(0.5); s = socket.socket(socket.AF_UNIX); s.bind({str(path)!r}); s.listen()\n"
        "print('listening', flush=True)\n"
        "while True: c = s.accept()[0]; c.recv(99); c.sendall(b'+PONG')"
    )
    late = Program(name="late", command=[sys.executable, "-c", serve], stops=2, grace_s=1, socket=str(path))
    with running(tmp_path, late, program("next", PATIENT)) as runner:
        runner.wait_for("next starts")
        assert runner.log.index("listening") < runner.log.index("next starts")


def test_a_new_day_begins_a_new_file_and_old_days_are_compressed_and_dropped(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    for day in range(1, 8):
        (tmp_path / f"api.log.2020-01-0{day}.gz").write_bytes(b"")
    (tmp_path / "api.log.2020-01-08").write_text("left by a crash\n")
    path.write_text("yesterday\n")
    yesterday = time.time() - 86400
    os.utime(path, (yesterday, yesterday))

    log = LogFile(path, days=7)
    log.write("today")

    name = f"api.log.{time.strftime('%Y-%m-%d', time.gmtime(yesterday))}.gz"
    until(lambda: not (tmp_path / "api.log.2020-01-02.gz").exists(), "the oldest go")
    kept = sorted(found.name for found in tmp_path.iterdir() if not found.name.startswith("."))
    assert kept == ["api.log", *(f"api.log.2020-01-0{day}.gz" for day in range(3, 9)), name]
    assert path.read_text() == "today\n"
    assert subprocess.check_output(["gzip", "-dc", tmp_path / name]) == b"yesterday\n"


def test_a_log_file_that_was_taken_away_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    log = LogFile(path, days=7)
    log.write("one")
    path.unlink()
    log.write("two")
    assert path.read_text() == "two\n"
