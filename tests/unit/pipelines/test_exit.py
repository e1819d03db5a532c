"""A program ends with its own exit code and output, and without the teardown in which native threads crash."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

# A line for each thing that happens after the program's last own line; a module's objects go only in a teardown.
SCRIPT = """
import atexit, sys, threading, time
from pipelines import cli

class Late:
    def __del__(self):
        print("torn down")

def body(argv):
    global late
    late = Late()
    atexit.register(print, "exit handler")
    threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
    {body}

cli.main = body
sys.exit(cli.program([]))
"""


@pytest.mark.parametrize(
    ("body", "code"),
    [("return 0", 0), ("return 130", 130), ("sys.exit()", 0), ("sys.exit(2)", 2), ("sys.exit('no')", 1), ("1 / 0", 1)],
)
def test_exit_codes(body: str, code: int) -> None:
    command = [sys.executable, "-c", SCRIPT.format(body=body)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert done.stdout == "thread\nexit handler\n"
    assert ("ZeroDivisionError" in done.stderr) == ("/" in body)


def test_without_it_objects_are_torn_down() -> None:
    script = SCRIPT.format(body="return 0").replace("cli.program([])", "body([])")
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "thread\nexit handler\ntorn down\n"


@pytest.mark.parametrize(("body", "code"), [("print('x'); return 0", 120), ("print('x'); return 2", 2)])
def test_lost_output_is_no_success(body: str, code: int) -> None:
    # -E: not PYTHONUNBUFFERED, with which the text would be written, and lost, at once.
    command = [sys.executable, "-E", "-c", SCRIPT.format(body=body)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout
    child.stdout.close()
    assert child.wait(timeout=60) == code
