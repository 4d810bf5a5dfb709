"""Build .venv with an ordinary Python: ``python3 tools/environment.py runtime|dev``.

It uses only the standard library, and a syntax that old versions of Python can parse, so that they
print the error about their version. "dev" contains all packages of "runtime", so a "dev"
environment is also good for "runtime".
"""

import hashlib
import os
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(TOP, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
UV = os.path.join(VENV, "bin", "uv")
FITTING = ((3, 11), (3, 12), (3, 13))
LOCKS = {"runtime": "requirements.txt", "dev": "requirements-dev.txt"}


def main(wanted):
    """Make .venv match the lock file; it takes a fraction of a second if .venv already does."""
    refuse_unfit_python()
    import fcntl  # after the check, because Python on Windows does not have it

    os.chdir(TOP)
    with open(".venv.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # `make run` and `make test` may start together
        if not works([PYTHON, "-c", "import pip, sys; sys.exit(sys.version_info[:2] not in %r)" % (FITTING,)]):
            print_now("Making .venv with Python %s ..." % version())
            run([sys.executable, "-m", "venv", "--clear", VENV])
        installed = stamp("dev") == digest("dev") or (wanted == "runtime" and stamp("runtime") == digest("runtime"))
        if not installed:
            install("dev" if stamp("dev") else wanted)


def refuse_unfit_python():
    """Exit with a clear message if this interpreter has the wrong version or lacks venv."""
    if sys.version_info[:2] not in FITTING:
        others = [name for name in ("python3.13", "python3.12", "python3.11") if works([name, "-c", ""])]
        sys.exit(
            "Orchestra needs Python 3.11, 3.12 or 3.13; %s is %s. Name another one: make run PY=%s"
            % (sys.executable, version(), others[0] if others else "/path/to/python3.12")
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        sys.exit(
            "%s (%s) cannot make virtual environments: its venv package is missing. On Debian and Ubuntu: "
            "`sudo apt-get install python3-venv`; or name another Python: make run PY=/path/to/python3.12"
            % (sys.executable, version())
        )


def install(what):
    """Install exactly the packages of the lock file, from wheels whose hashes are checked."""
    print_now("Installing the %s packages ..." % what)
    if not works([UV, "--version"]):
        pip = [PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
        run(pip + ["--require-hashes", "--only-binary", ":all:", "-r", "requirements-uv.txt"])
    for name in LOCKS:
        forget(name)
    sync = [UV, "pip", "sync", "-q", "--python", PYTHON, "--require-hashes", "--only-binary", ":all:"]
    # uv must use this environment's interpreter and download no other.
    run(sync + [LOCKS[what]], env=dict(os.environ, UV_PYTHON_DOWNLOADS="never"))
    with open(stamp_path(what), "w") as file:
        file.write(digest(what))


def digest(name):
    with open(LOCKS[name], "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def stamp(name):
    """Return the digest of the lock file that was installed last, or "" if none was."""
    try:
        with open(stamp_path(name)) as file:
            return file.read()
    except OSError:
        return ""


def forget(name):
    if os.path.exists(stamp_path(name)):
        os.remove(stamp_path(name))


def stamp_path(name):
    return os.path.join(VENV, "." + name)


def works(command):
    try:
        with open(os.devnull, "w") as nowhere:
            return subprocess.call(command, stdout=nowhere, stderr=nowhere) == 0
    except OSError:
        return False


def run(command, **options):
    code = subprocess.call(command, **options)
    if code:
        sys.exit("This failed with exit code %d: %s" % (code, " ".join(command)))


def version():
    return "%d.%d.%d" % sys.version_info[:3]


def print_now(text):
    print(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
