"""`patent-embed serve` on a finished run, as a process: asked over HTTP, judged, killed, and loaded again."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import urllib.request
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import openai
import pyarrow.parquet as pq
import pytest

from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from patent_embed.run_lock import RunLock
from patent_embed.serving.judgements import LOG_NAME, read_judgements
from pipelines.served_run import MAKING, served_run
from tests.conftest import patent, write_json_lines
from tests.e2e.commands import patent_embed_here
from tests.e2e.searching import server

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TOKEN = "0123456789abcdef-of-a-test"
ALL = ["tuned", "base", "bm25", "hybrid"]


@pytest.fixture(scope="module")
def output(finished: tuple[tuple[str, ...], Path, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run, whose own folder other tests look at."""
    return Path(shutil.copytree(finished[1], tmp_path_factory.mktemp("serve") / "out"))


def test_a_run_is_searched_judged_killed_and_served_again(output: Path) -> None:
    queries = [line["query"] for line in _queries(output)]
    with server(output) as running:
        found = running.client.post("/search", json={"query": queries[0], "systems": ALL, "count": 5}).json()
        assert [len(found["systems"][name]) for name in ALL] == [5] * 4
        # What the run measured: the vectors of its queries, searched in those of its patents.
        (step,) = output.glob("steps/embed-tuned-*")
        vectors, asked = np.load(step / "passages.npy"), np.load(step / "queries.npy")
        best = int(np.argmax(vectors @ asked[0]))
        numbers = [each["publication_number"] for each in found["systems"]["tuned"]]
        assert numbers[0] == _numbers(output)[best]

        with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none") as client:
            embedded = client.embeddings.create(model="tuned-query", input=queries[:3])
            assert np.abs(np.array([each.embedding for each in embedded.data]) - asked[:3]).max() < 1e-3
            assert embedded.usage.total_tokens > 3
            with pytest.raises(openai.BadRequestError, match="not served here"):
                client.embeddings.create(model="text-embedding-3-small", input="a")

        # A whole description fits into a link.
        long = quote("一种带滤网的水泵，" * 2000)
        with urllib.request.urlopen(f"{running.url}/?q={long}", timeout=120) as answer:
            assert "the text was read in 16 parts" in answer.read().decode()
        body = {"query": queries[0], "publication_number": numbers[1], "relevant": True, "system": "tuned", "rank": 2}
        assert running.client.post("/judgements", json=body).json() == {"judgements": 1}
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
    (kept,) = read_judgements(output / LOG_NAME).lines
    assert (kept.query, kept.publication_number, kept.relevant) == (queries[0], numbers[1], True)
    # The corpus and its words were indexed once.
    (index,) = output.glob("steps/search-index-*")
    written = (index / "manifest.json").stat().st_mtime_ns
    with server(output) as running:
        assert "judged  1 in" in "".join(running.said)
        assert (index / "manifest.json").stat().st_mtime_ns == written


def test_servers_that_start_at_once_make_one_index(output: Path, tmp_path: Path) -> None:
    out = str(shutil.copytree(output, tmp_path / "out", ignore=shutil.ignore_patterns("search-index-*")))
    made, start = list[str](), threading.Barrier(4)

    def open_it() -> None:
        start.wait()
        made.append(served_run(out).index.file("").joinpath("manifest.json").read_text())

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(set(made)) == 1  # with the seconds that it took
    assert not list(Path(out).glob("*.lock"))


def test_a_server_waits_for_the_one_that_makes_the_index(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(output, tmp_path / "out", ignore=shutil.ignore_patterns("search-index-*")))
    opened = threading.Event()
    with RunLock(folder_at(out), "run"):  # a run beside it is no matter
        with RunLock(folder_at(out), "serve", name=MAKING):
            thread = threading.Thread(target=lambda: (served_run(str(out)), opened.set()))
            thread.start()
            said = ""
            while "waiting for `serve`, process" not in said:
                said += capsys.readouterr().out
            assert not list(out.glob("steps/search-index-*"))
        thread.join()
        assert opened.is_set()
        assert len(list(out.glob("steps/search-index-*"))) == 1
        # With its index, a run is opened whoever holds that lock.
        with RunLock(folder_at(out), "serve", name=MAKING):
            served_run(str(out))


def test_another_corpus_is_not_embedded_beside_a_command_that_writes(output: Path, sample_folder: Path) -> None:
    with RunLock(folder_at(output), "encode"), pytest.raises(UserError, match="in use by `encode`"):
        served_run(str(output), str(sample_folder))
    assert not (output / MAKING).exists()


def test_langchain_embeds_as_the_run_did(output: Path) -> None:
    langchain = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
    queries = [line["query"] for line in _queries(output)]
    (step,) = output.glob("steps/embed-tuned-*")
    (ingest,) = output.glob("steps/ingest-*")
    abstracts = pq.read_table(ingest / "corpus")["abstract"].to_pylist()[:3]
    with server(output) as running:
        about = {"base_url": f"{running.url}/v1", "api_key": "none", "check_embedding_ctx_length": False}
        asked = langchain.OpenAIEmbeddings(model="tuned-query", **about).embed_query(queries[0])
        kept = langchain.OpenAIEmbeddings(model="tuned-document", **about).embed_documents(abstracts)
    assert np.abs(np.array(asked) - np.load(step / "queries.npy")[0]).max() < 1e-3
    assert np.abs(np.array(kept) - np.load(step / "passages.npy")[:3]).max() < 1e-3


def test_a_changed_run_is_loaded_by_a_signal_and_a_broken_one_is_not(output: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(output, tmp_path / "broken"))
    (step,) = broken.glob("steps/embed-tuned-*")
    asked = np.load(step / "queries.npy")
    np.save(step / "queries.npy", asked[::-1].copy())
    with server(output, token=TOKEN) as running:
        os.kill(running.process.pid, signal.SIGHUP)
        running.wait_for("the run was loaded again")
        refused = running.client.post("/reload", json={"output": str(broken)})
        assert refused.status_code == 409
        assert str(tmp_path) not in refused.text
        running.wait_for("reload refused")
        assert running.client.post("/search", json={"query": "水泵"}).status_code == 200
        assert httpx.post(f"{running.url}/reload", json={}).status_code == 401


def test_another_corpus_is_embedded_first(output: Path, tmp_path: Path) -> None:
    others = [patent(f"CN99{n:04d}A", title=f"第{n}种装置") for n in range(30)]
    others[3] |= {"classifications": [], "abstract": "没有分类号的一种用于海水淡化的反渗透膜组件及其制造方法。"}
    others[3] |= {"publication_date": "20170305", "claims": "1. 一种反渗透膜组件。"}
    data = write_json_lines(tmp_path / "others.jsonl", others)
    with server(output, "--data_dir", data) as running:
        found = running.client.post("/search", json={"query": "海水淡化反渗透膜", "systems": ALL, "count": 3}).json()
        assert found["patents"] == 30
        assert found["systems"]["bm25"][0]["publication_number"] == "CN990003A"
        record = running.client.get("/patent", params={"number": "CN990003A"}).json()
        assert (record["publication_date"], record["claims"]) == ("2017-03-05", ["1. 一种反渗透膜组件。"])


def test_what_cannot_be_served_is_said(output: Path, tmp_path: Path) -> None:
    for arguments, said in (
        ((tmp_path,), "holds no finished run"),
        ((output, "--host", "0.0.0.0"), "lets other machines read the patents"),
    ):
        assert said in patent_embed_here("serve", *arguments, check=2).stderr


def _queries(output: Path) -> list[dict[str, str]]:
    (step,) = output.glob("steps/queries-*")
    found: list[dict[str, str]] = pq.read_table(step / "queries.parquet").to_pylist()
    return found


def _numbers(output: Path) -> list[str]:
    (step,) = output.glob("steps/ingest-*")
    numbers: list[str] = pq.read_table(step / "corpus")["publication_number"].to_pylist()
    return numbers
