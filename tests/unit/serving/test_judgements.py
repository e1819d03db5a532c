from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from patent_embed.errors import UserError
from patent_embed.serving.judgements import (
    Judgement,
    JudgementLog,
    export_judgements,
    qrels,
    query_id,
    query_lines,
    read_judgements,
)
from tests.conftest import ROOT


def test_the_last_word_counts(tmp_path: Path) -> None:
    log = JudgementLog(tmp_path / "log.jsonl")
    for number, relevant in (("A1", True), ("A2", True), ("A1", False), ("A2", None)):
        log.append(Judgement("水泵", number, relevant))
    log.append(Judgement("滤网", "A1", True))
    assert [log.verdict("水泵", "A1"), log.verdict("水泵", "A2"), log.verdict("滤网", "A1")] == [False, None, True]
    assert len(log) == 2

    again = JudgementLog(tmp_path / "log.jsonl")
    assert again.current() == log.current()
    assert len(read_judgements(log.path).lines) == 5


def test_what_returned_survives_a_kill_and_a_torn_line_stays_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    code = f"""
from pathlib import Path
from patent_embed.serving.judgements import Judgement, JudgementLog
log = JudgementLog(Path({str(path)!r}))
for number in range(10_000):
    log.append(Judgement("q", f"P{{number}}", True))
    print(number, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(20)][-1]
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(read_judgements(path).lines)
    assert kept > said

    with path.open("ab") as file:
        file.write(b'{"query": "q", "publicat')
    log = JudgementLog(path)
    assert log.torn == 1
    log.append(Judgement("q", "after", False))
    found = read_judgements(path)
    assert (len(found.lines), found.torn) == (kept + 1, 1)
    assert found.lines[-1].publication_number == "after"


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    logs = [JudgementLog(path) for _ in range(3)]
    for number in range(30):
        logs[number % 3].append(Judgement("q", f"P{number}", True))
    assert len(read_judgements(path).current()) == 30


def test_export_is_what_trec_eval_reads(tmp_path: Path) -> None:
    log = JudgementLog(tmp_path / "log.jsonl")
    log.append(Judgement("带\t滤网的\n水泵", "CN1A", True))
    log.append(Judgement("带\t滤网的\n水泵", "CN2A", False))
    log.append(Judgement("天线", "CN1A", None))
    assert export_judgements(log.path, tmp_path / "out") == 2
    name = query_id("带\t滤网的\n水泵")
    assert (tmp_path / "out" / "qrels.txt").read_text() == f"{name} 0 CN1A 1\n{name} 0 CN2A 0\n"
    assert (tmp_path / "out" / "queries.tsv").read_text() == f"{name}\t带 滤网的 水泵\n"
    pytrec = pytest.importorskip("pytrec_eval")
    measured = pytrec.RelevanceEvaluator(pytrec.parse_qrel(qrels(log.current()).splitlines()), {"recip_rank"}).evaluate(
        {name: {"CN2A": 2.0, "CN1A": 1.0}}
    )
    assert measured[name]["recip_rank"] == 0.5
    assert query_lines([]) == qrels([]) == ""


@pytest.mark.parametrize(
    "content", ["no json\n", '{"query": 1, "publication_number": "a", "relevant": true}\n', "[]\n"]
)
def test_another_file_is_no_log(tmp_path: Path, content: str) -> None:
    (tmp_path / "log.jsonl").write_text(content)
    with pytest.raises(UserError, match="none of the 1 lines"):
        JudgementLog(tmp_path / "log.jsonl")


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="set --judgements"):
        JudgementLog(tmp_path / "file" / "log.jsonl")
