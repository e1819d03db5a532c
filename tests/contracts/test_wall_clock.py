"""The clock on the wall jumps: no duration, deadline or time-out is measured by it."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.conftest import ROOT

# Where an age is what is asked for. Each of these is right, or only slow, when the clock jumps.
AGES = {
    "patent_embed/run_lock.py": "of a lock of another machine; it is watched before it is believed",
    "patent_embed/queries/answers.py": "Retry-After may be a date; what it asks for is bounded",
    "pipelines/output_folder.py": "of a folder without a lock; a young one stays for the next run",
}


READS = {"time.time()", "time.time_ns()", "datetime.now()", "datetime.now(UTC)"}


def measured(code: str) -> list[int]:
    """Lines that subtract, add or compare a time on the wall, or a name that one was given to."""
    tree = ast.parse(code)
    times = READS | {
        ast.unparse(target)
        for each in ast.walk(tree)
        if isinstance(each, ast.Assign) and ast.unparse(each.value) in READS
        for target in each.targets
    }
    found = set()
    for each in ast.walk(tree):
        sides: list[ast.expr] = []
        if isinstance(each, ast.BinOp) and isinstance(each.op, ast.Sub | ast.Add):
            sides = [each.left, each.right]
        elif isinstance(each, ast.Compare):
            sides = [each.left, *each.comparators]
        if any(ast.unparse(side) in times for side in sides):
            found.add(sides[0].lineno)
    return sorted(found)


def test_what_measures_is_seen() -> None:
    lines = ["self.s = time.time()", "x = time.monotonic() - y", "print(now - self.s)", "while time.time() < end: pass"]
    assert measured("\n".join(lines)) == [3, 4]
    assert measured("print(time.time())\ns = time.monotonic()\nx = y - s\nz = {'time': time.time()} | y") == []


def test_no_duration_is_measured_by_the_clock_on_the_wall() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("patent_embed", "pipelines")
        for path in Path(ROOT / package).rglob("*.py")
        if measured(path.read_text(encoding="utf-8"))
    }
    assert found == set(AGES)
