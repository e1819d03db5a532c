"""Shared fixtures: generated data, a store, and the real patents where they lie beside the repository."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from pipelines import exit_without_teardown
from tests.tiny_model import write_tiny_model

ROOT = Path(__file__).resolve().parent.parent

if importlib.util.find_spec("triton") is not None and importlib.util.find_spec("vllm") is None:  # vLLM reads it, too
    import torch

    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"  # read when kernels are defined


# A busy machine is no failure: no test is judged by its time.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

_status = 1


class _RunsTogether(LoadFileScheduling):
    """A file's tests go to one process, and all tests of whole runs to one: they share a finished run and a Ray."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "tests/e2e" if file.startswith("tests/e2e/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _RunsTogether:
    return _RunsTogether(config, log)


def pytest_sessionstart() -> None:
    exit_without_teardown(lambda: _status)


def pytest_sessionfinish(exitstatus: int) -> None:
    global _status
    _status = int(exitstatus)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real patents for tests; not part of the repository."""
    folder = Path(os.environ.get("PATENT_EMBED_SHARED") or ROOT.parent / "shared") / "data"
    if not folder.is_dir():
        pytest.skip(f"no real patents at {folder} (set PATENT_EMBED_SHARED)")
    return folder


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a bucket in an S3-compatible server on loopback, which this and child processes reach."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_REGION": "us-east-1"}
    variables |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        fs.FileSystem.from_uri("s3://bucket?allow_bucket_creation=true")[0].create_dir("bucket")
        yield "s3://bucket"
    server.stop()


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 generated patents, one JSON file each."""
    from patent_embed.data.sample import write_sample

    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, 120, seed=7)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with random weights and a character vocabulary, as a SentenceTransformer folder."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


def patent(number: str, **changes: object) -> dict[str, object]:
    """A valid record in the pipeline's layout, with ``changes``."""
    record: dict[str, object] = {
        "publication_number": number,
        "title": f"一种测试装置{number}",
        "abstract": f"一种编号为{number}的测试装置，包括壳体、支架和转轴，能够减小振动并便于拆卸维护。",
        "classifications": [{"code": "G06T3/40"}],
    }
    return record | changes


def write_json_lines(path: Path, records: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are named by their number: those of an archive hold the time, and two workers would see other tests."""
    return f"{argname}_of_{len(val)}_bytes" if isinstance(val, bytes) else None
