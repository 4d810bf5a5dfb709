"""Real child processes: nothing blocks, nothing leaks, everything ends."""

import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sessions_app.supervisor.cli.process import STDERR_KEPT, CliProcess
from sessions_app.supervisor.dispatcher import WakePipe

GUARD_S = 60.0  # far beyond anything that works
MB = 1024 * 1024

Spawn = Callable[..., CliProcess]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Start a Python script as a child; what is still there at the end is killed."""
    started: list[CliProcess] = []

    def start(script: str, *, env: dict[str, str] | None = None) -> CliProcess:
        command = [sys.executable, "-I", "-S", "-c", script]
        process = CliProcess.spawn(command, env or {"PATH": os.environ["PATH"]}, str(tmp_path))
        started.append(process)
        return process

    yield start
    for process in started:
        close(process)


def close(process: CliProcess) -> int:
    """End it and give back everything it holds; again is fine."""
    if process._selector.get_map() is None:
        return process.child.returncode
    return process.end()


def read_all(process: CliProcess, until: Callable[[bytes], bool] = lambda _: False) -> bytes:
    """Everything on stdout until it is closed and the child has ended, or ``until`` says so."""
    out, end = bytearray(), time.monotonic() + GUARD_S
    while time.monotonic() < end:
        events = process.wait(1.0)
        out += events.output
        if (events.is_stdout_closed and events.has_exited) or until(bytes(out)):
            return bytes(out)
    raise AssertionError(f"no end in {GUARD_S} s; {len(out)} bytes so far")


def gone(pid: int) -> bool:
    end = time.monotonic() + GUARD_S
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_much_data_goes_both_ways_at_once_without_a_deadlock(spawn: Spawn) -> None:
    process = spawn("import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)")
    data = os.urandom(5 * MB)
    process.write(data)
    process.close_input()
    assert read_all(process) == data
    assert close(process) == 0


def test_a_child_that_talks_much_before_it_listens_blocks_nobody(spawn: Spawn) -> None:
    process = spawn(
        "import sys; sys.stdout.buffer.write(b'x' * 5_000_000); sys.stdout.flush(); print(len(sys.stdin.buffer.read()))"
    )
    process.write(b"y" * 5_000_000)
    process.close_input()
    assert read_all(process).endswith(b"x5000000\n")


def test_writes_arrive_in_order_and_stdin_closes_after_the_last(spawn: Spawn) -> None:
    process = spawn("import sys; [print(line.strip()) for line in sys.stdin]; print('end')")
    for number in range(1000):
        process.write(f"{number}\n".encode())
    process.close_input()
    process.write(b"too late\n")
    assert read_all(process).decode().split() == [*map(str, range(1000)), "end"]


def test_writing_to_a_child_that_is_gone_is_no_error(spawn: Spawn) -> None:
    process = spawn("pass")
    read_all(process)
    process.write(b"x" * MB)
    process.close_input()
    process.write(b"y")
    assert close(process) == 0


def test_a_child_that_closes_its_stdin_makes_no_loop_spin(spawn: Spawn) -> None:
    process = spawn("import os, time; os.close(0); print('closed', flush=True); time.sleep(60)")
    read_all(process, lambda out: b"closed" in out)
    process.write(b"x" * MB)
    rounds, end = 0, time.monotonic() + 0.5
    while time.monotonic() < end:
        process.wait(0.1)
        rounds += 1
    assert rounds < 50


@pytest.mark.parametrize(
    ("script", "code"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -9), ("pass", 0)]
)
def test_the_end_shows_at_once_with_its_exit_code(spawn: Spawn, script: str, code: int) -> None:
    process = spawn(script)
    events = process.wait(GUARD_S)
    while not events.has_exited:
        events = process.wait(GUARD_S)
    assert close(process) == code


def test_a_child_that_is_gone_makes_no_loop_spin(spawn: Spawn) -> None:
    process = spawn("pass")
    read_all(process)
    began = time.monotonic()
    for _ in range(10):
        process.wait(0.1)
    assert time.monotonic() - began > 0.5  # the ends of its pipes and its own may wake it once each, nothing does twice


def test_a_child_that_ignores_term_is_ended_by_kill(spawn: Spawn) -> None:
    process = spawn(
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    read_all(process, lambda out: b"deaf" in out)
    process.signal(hard=False)
    assert not process.wait(0.3).has_exited
    process.signal(hard=True)
    while not process.wait(1.0).has_exited:
        pass
    assert close(process) == -signal.SIGKILL


def test_ending_kills_the_whole_group(spawn: Spawn) -> None:
    process = spawn(
        "import subprocess, sys, time; c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(c.pid, flush=True); time.sleep(600)"
    )
    grandchild = int(read_all(process, lambda out: out.endswith(b"\n")))
    assert close(process) == -signal.SIGKILL
    assert gone(grandchild)


def test_a_grandchild_that_holds_stdout_open_hides_neither_the_end_nor_the_output(spawn: Spawn) -> None:
    process = spawn(
        "import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
        " start_new_session=True); print(c.pid, flush=True)"
    )
    out = bytearray()
    while True:
        events = process.wait(GUARD_S)
        out += events.output
        if events.has_exited:
            break
    out += process.wait(0.1).output
    events = process.wait(0.1)
    assert events.has_exited and not events.is_stdout_closed
    assert close(process) == 0
    os.kill(int(out), signal.SIGKILL)


def test_stderr_is_kept_up_to_its_end_and_blocks_nobody(spawn: Spawn) -> None:
    process = spawn("import sys; sys.stderr.write('x' * 3_000_000 + 'the end'); print('done')")
    assert read_all(process) == b"done\n"
    close(process)
    assert process.stderr().endswith("the end")
    assert len(process.stderr()) <= STDERR_KEPT


def test_a_flood_on_stderr_does_not_keep_a_wait_from_returning(spawn: Spawn) -> None:
    process = spawn("import os\nprint('on', flush=True)\nwhile True: os.write(2, b'x' * 65536)")
    returned = threading.Event()

    def wait_often() -> None:
        for _ in range(20):
            process.wait(0.01)
        returned.set()

    threading.Thread(target=wait_often, daemon=True).start()
    assert returned.wait(GUARD_S)
    ended = threading.Event()

    def end() -> None:
        close(process)
        ended.set()

    threading.Thread(target=end, daemon=True).start()
    assert ended.wait(GUARD_S)


def test_invalid_text_on_stderr_is_shown_as_well_as_it_can_be(spawn: Spawn) -> None:
    process = spawn("import os; os.write(2, b'bad \\xff\\xfe bytes')")
    read_all(process)
    assert process.stderr().startswith("bad \ufffd")


def test_while_reading_is_paused_the_child_waits_and_nothing_is_lost(spawn: Spawn) -> None:
    process = spawn("import os\nfor i in range(100): os.write(1, b'x' * 65536); os.write(2, b'.')\nos.write(1, b'end')")
    process.pause_reading(True)
    process.pause_reading(True)
    for _ in range(5):
        assert process.wait(0.1).output == b""
    assert len(process.stderr()) < 100  # it did not get far
    process.pause_reading(False)
    assert len(read_all(process)) == 100 * 65536 + 3


def test_a_watched_pipe_wakes_a_wait_from_any_thread_and_once_for_many_writers(spawn: Spawn) -> None:
    process = spawn("import time; time.sleep(600)")
    wake_pipe = WakePipe()
    process.watch(wake_pipe.read_fd)
    for _ in range(3):
        threads = [threading.Thread(target=wake_pipe.wake) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert process.wait(GUARD_S).is_woken
        wake_pipe.drain()
        assert not process.wait(0.05).is_woken
    wake_pipe.close()


def test_a_wake_pipe_never_blocks_and_may_be_used_after_it_was_closed() -> None:
    wake_pipe = WakePipe()
    for _ in range(100_000):  # far more than a pipe holds
        wake_pipe.wake()
    wake_pipe.drain()
    wake_pipe.close()
    wake_pipe.wake()


def test_fifty_children_leave_no_descriptor_no_thread_and_no_zombie_behind(spawn: Spawn) -> None:
    me = psutil.Process()
    close(spawn("print('warm')"))
    gc.collect()
    before, threads = me.num_fds(), me.num_threads()
    for number in range(50):
        process = spawn("import sys; print(1); sys.stdin.read()")
        if number % 2:
            process.write(b"x")
            process.wait(0.01)
        close(process)
    assert me.num_fds() <= before
    assert me.num_threads() <= threads
    assert not [child for child in me.children() if child.status() == psutil.STATUS_ZOMBIE]


def test_a_child_gets_exactly_the_environment_and_a_umask_session_and_group_of_its_own(
    spawn: Spawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRA_SECRET_KEY", "canary")
    mask = os.umask(0o077)
    try:
        process = spawn(
            "import json, os; open('made', 'w').close();"
            "print(json.dumps([dict(os.environ), os.getpid(), os.getpgrp(), os.getsid(0), os.getcwd(),"
            " os.listdir('/proc/self/fd')]))",
            env={"ONLY": "this"},
        )
        env, pid, group, session, directory, descriptors = json.loads(read_all(process))
    finally:
        os.umask(mask)
    assert {name: value for name, value in env.items() if name != "LC_CTYPE"} == {
        "ONLY": "this"
    }  # Python adds LC_CTYPE
    assert pid == group == session == process.pid
    assert directory == str(tmp_path)
    assert len(descriptors) <= 4  # the three pipes, and the listing itself
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(("program", "directory"), [("/no/such/program", "."), (sys.executable, "/no/such/folder")])
def test_a_program_or_directory_that_is_not_there_is_an_os_error_and_leaks_nothing(
    program: str, directory: str
) -> None:
    before = psutil.Process().num_fds()
    with pytest.raises(OSError):
        CliProcess.spawn([program, "-c", "pass"], {}, directory)
    gc.collect()
    assert psutil.Process().num_fds() <= before


def test_a_closed_wake_pipe_writes_to_no_other_file() -> None:
    """The lowest free number is given out again: here to the next pipe, elsewhere to a stdin."""
    late = WakePipe()
    late.close()
    other = WakePipe()
    assert other.read_fd == late.read_fd
    late.wake()
    with pytest.raises(BlockingIOError):
        os.read(other.read_fd, 1)
    other.close()
