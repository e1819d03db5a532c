"""Exit codes and last lines of commands, and what help costs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from patent_embed.errors import UserError
from pipelines.cli import main
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("error", "code", "last_line"),
    [
        (UserError("set x"), 2, "patent-embed: error: set x"),
        (KeyboardInterrupt(), 130, "patent-embed: interrupted; the same command goes on, with --resume also inside"),
        (ValueError("first\nlast"), 1, "patent-embed: failed: ValueError: last"),
        (ValueError(), 1, "patent-embed: failed: ValueError: "),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    last_line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("patent_embed.data.sample.write_sample", fail)
    assert main(["sample", str(tmp_path)]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[-1].startswith(last_line)
    assert ("Traceback" in shown.err) == (code == 1)


def test_sample(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["sample", str(tmp_path), "--count", "3", "--layout", "jsonl", "--seed", "2"]) == 0
    assert capsys.readouterr().out == f"3 generated patents and queries for them in {tmp_path}\n"
    assert len((tmp_path / "patents.jsonl").read_text(encoding="utf-8").splitlines()) == 3


def test_help_and_mistakes_load_no_heavy_library() -> None:
    code = (
        "import sys\nfrom pipelines.cli import main\n"
        "assert main(['run', '--set', 'training.epochs=0']) == 2\n"
        "print(sorted({'torch', 'ray', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_a_terminal_without_chinese_ends_no_command(tmp_path: Path) -> None:
    code = "import sys\nfrom pipelines.cli import program\nprogram(['sample', sys.argv[1], '--count', '1'])"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "专利"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\\u4e13\\u5229\n")
