"""A user's mistake: exit code 2 and what is wrong in a few words, whatever the mistake; never a traceback."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import re
from pathlib import Path

import pytest

from pipelines.cli import main

# (the value of --set, what is said of it)
SETTINGS = {
    # of another kind
    "training.epochs=many": "training.epochs",
    "training.epochs=1.5": "training.epochs",
    "training.epochs=[1]": "training.epochs",
    "training.epochs={a: 1}": "training.epochs",
    "training.epochs=null": "training.epochs",
    "training.epochs=2020-01-01": "training.epochs",
    "training.epochs=!!binary aGk=": "training.epochs",
    "training.learning_rate=fast": "training.learning_rate",
    "training.use_lora=perhaps": "training.use_lora",
    "training.lora=16": "training.lora: is a section",
    "training=16": "training: is a section",
    "training=[epochs]": "training: is a section",
    "training.lora.r.x=1": "training.lora.r",
    "training.trackers=wandbx": "training.trackers",
    "training.matryoshka_dims=64": "training.matryoshka_dims",
    "training.matryoshka_dims=[]": "training.matryoshka_dims",
    "training.matryoshka_dims=[0]": "matryoshka_dims [0]",
    "training.matryoshka_dims=[[64]]": "training.matryoshka_dims.0",
    "training.loss=hinge": "training.loss",
    "queries.kinds=[question]": "queries.kinds",
    "queries.kinds={riddle: 1}": "queries.kinds.riddle",
    "queries.kinds={question: -1}": "weights",
    "queries.kinds={question: 0}": "weights",
    "queries.kinds={}": "weights",
    "queries.llm.engine=fast": "queries.llm.engine",
    "queries.backend=oracle": "queries.backend",
    "run.grows_to=4": "run.grows_to",
    "run.grows_to=[{cpus: 0, count: 1}]": "run.grows_to.0.cpus",
    "run.log_level=LOUD": "run.log_level",
    "tune.space=margin": "tune.space",
    "tune.space={margin: 0.3}": "tune.space.margin",
    # no YAML, or more of it than meant
    "training.epochs=[1": "not YAML",
    "training.epochs=*x": "not YAML",
    "training.epochs=!!python/object/apply:os.system [true]": "not YAML",
    "training.epochs=" + "[" * 3000: "nested too deeply",
    "training.epochs=2020-13-45": "not YAML",
    "training.epochs": "is not section.key=value",
    "=3": "is not section.key=value",
    "": "is not section.key=value",
    "training.epohcs=3": "there is no such setting",
    "training..epochs=3": "there is no such setting",
    "trainig.epochs=3": "there is no such setting",
    # numbers that are none, or too large
    "run.seed=-1": "run.seed",
    "run.seed=18446744073709551616": "64 bits",
    "run.seed=1e400": "run.seed",
    "run.seed=nan": "run.seed",
    "data.max_samples=99999999999999999999": "64 bits",
    "data.max_samples=1": "data.max_samples",
    "training.batch_size=-99999999999999999999": "training.batch_size",
    "training.learning_rate=.nan": "training.learning_rate",
    "training.learning_rate=.inf": "training.learning_rate",
    "training.weight_decay=.inf": "training.weight_decay",
    "training.max_grad_norm=.inf": "training.max_grad_norm",
    "training.early_stopping_threshold=.nan": "training.early_stopping_threshold",
    "training.margin=.nan": "training.margin",
    "training.temperature=0": "training.temperature",
    "queries.api.timeout_s=.inf": "queries.api.timeout_s",
    "queries.api.max_wait_s=.nan": "queries.api.max_wait_s",
    "queries.llm.node_wait_s=0": "queries.llm.node_wait_s",
    "queries.temperature=.nan": "queries.temperature",
    "queries.kinds={question: .nan}": "queries.kinds.question",
    "queries.kinds={question: .inf}": "queries.kinds.question",
    "queries.llm.sampling={top_k: 1, min_p: .nan}": "finite",
    "queries.llm.engine={a: [99999999999999999999]}": "64 bits",
    # the least above the most, shares that are none
    "queries.min_chars=61": "above max_chars",
    "data.min_abstract_chars=20001": "above max_abstract_chars",
    "splits.train=0.9": "must be 1",
    "splits.test=0": "splits.test",
    "negatives.shares.random=0.5": "must be 1",
    "negatives.scoring.skip_hardest=32": "skip_hardest 32",
    "negatives.per_positive=65": "negatives.per_positive",
    "training.lora.dropout=1": "training.lora.dropout",
    'tune.space.margin="uniform(0.5, 0.1)"': "no two values",
    "tune.space.margin=\"uniform(0.1, __import__('os'))\"": "no range",
    'tune.space.learning_rate="uniform(0.1, 5)"': "learning_rate",
    'tune.space.epochs="randint(0, 5)"': "epochs",
    "tune.space.margin=" + "-" * 50_000 + "1": "no range",
    "tune.space.margin=" + "(" * 50_000: "no range",
    'tune.space.margin="uniform(0.1, 1e999)"': "finite",
    'tune.space.margin="uniform({1}, 3)"': "no range",
    'tune.space.epochs="randint(1, 99999999999999999999)"': "64 bits",
    "tune.space.lora.target_modules=choice({'query'}, null)": "no range",
    # texts that are none, addresses that are none
    "data.data_dir=\0": "NUL",
    "model.query_prompt=\ud800": "surrogate",
    "run.output_dir=\udcff": "surrogate",
    "queries.api.base_url=localhost:8000": "no address",
    "queries.api.base_url=http://": "no address",
    "queries.api.base_url=http://host:99999/v1": "no address",
    "queries.api.base_url=http://host:port/v1": "no address",
    "queries.api.base_url=http://[::1/v1": "no address",
    "queries.api.base_url=ftp://host/v1": "no address",
    "queries.api.base_url=http://a b/v1": "no address",
    "queries.api.base_url=https://user:secret@host/v1": "password",
    "data.data_dir=ftp://host/patents": "in no store",
    "run.output_dir=/dev/null/x": "/dev/null",
    "data.data_dir=" + "x" * 5000: "name a shorter path",
    "run.resume=nowhere": "not a whole checkpoint",
    "model.name=no such model": "neither an existing folder nor a hub id",
    "queries.cache=nowhere.json": "is not a file",
}
_TWICE = "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in itertools.pairwise("abcdefghijklmnop"))
BOMB = f"a: &a [x]\n{_TWICE}"  # 65,536 texts, if it were written out
YAML = {
    "a list": ("- 1\n", "holds a list"),
    "a number": ("3\n", "holds a int"),
    "a text": ("training\n", "holds a str"),
    "a date": ("2020-01-01\n", "holds a date"),
    "no YAML": ("training: [1\n", "is not YAML"),
    "a tab": ("training:\n\tepochs: 3\n", "tab"),
    "an alias of itself": ("training: &a\n  lora: *a\n", "training"),
    "code": ("training: !!python/object/apply:os.system [true]\n", "is not YAML"),
    "two documents": ("training: {}\n---\ntraining: {}\n", "is not YAML"),
    "a section that is none": ("training: 3\n", "training: is a section"),
    "a section that is a list": ("training:\n- epochs: 3\n", "training: is a section"),
    "names that are no texts": ("1: 2\n", "1: Keys should be strings"),
    "a key that is null": ("null: 2\n", "Keys should be strings"),
    "no section": ("epochs: 3\n", "epochs: there is no such setting"),
    "a NUL": ("training: {loss: \0}\n", "may not be there"),
    "a bomb": (BOMB, "there is no such setting"),
}


@pytest.fixture(scope="module")
def patents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patents")
    assert main(["sample", str(folder), "--count", "12", "--layout", "jsonl"]) == 0
    return folder


def refused(*arguments: object) -> str:
    """What a command says that ends with exit code 2, without argparse's usage."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(map(str, arguments)))
        except SystemExit as stop:
            code = stop.code
    said = err.getvalue()
    assert code == 2, (code, out.getvalue(), said)
    assert "Traceback" not in said
    usage, *messages = re.split(r"(?m)^patent-embed(?: \w+)?: error: ", said)
    (message,) = messages
    assert not usage or usage.startswith("usage:")
    assert len(message) < 3000
    assert all(line.startswith("  ") for line in message.splitlines()[1:]), said  # one line, or one a setting
    return message


def run(patents: Path, out: Path | str, *arguments: object) -> str:
    common = ("--data_dir", patents, "--output_dir", out, "--query_backend", "rules", "--model_name", "bundled")
    command = "tune" if any("tune." in str(each) for each in arguments) else "run"
    return refused(command, *common, *arguments)


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings(setting: str, patents: Path, tmp_path: Path) -> None:
    resume = [] if setting.startswith(("run.resume", "queries.cache", "run.output_dir")) else ["--plan"]
    said = run(patents, tmp_path, *resume, "--set", setting)
    assert SETTINGS[setting] in said


@pytest.mark.parametrize("kind", YAML)
def test_yaml(kind: str, patents: Path, tmp_path: Path) -> None:
    content, expected = YAML[kind]
    path = tmp_path / "overlay.yaml"
    path.write_text(content)
    assert expected in run(patents, tmp_path / "out", "--plan", "--config", path)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config", "nowhere.yaml"], "cannot be read"),
        (["--config", "/"], "cannot be read"),
        (["--config", "x" * 5000], "4,096"),
        (["--batch_size", "many"], "invalid int value"),
        (["--learning_rate", ""], "invalid float value"),
        (["--learning_rate", "nan"], "learning_rate"),
        (["--seed", "99999999999999999999999"], "64 bits"),
        (["--preset", "bset"], "invalid choice"),
        (["--preset", "best", "--recommended"], "two recipes"),
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--llm_api_kye", "0123456789abcdef"], "unrecognized arguments: --llm_api_kye\n"),
        (["0123456789abcdef"], "unrecognized arguments: 1"),
        (["--resume", "/"], "not a whole checkpoint"),
        (["--test_only", "--model_name", "/nowhere"], "/nowhere"),
    ],
)
def test_options(arguments: list[str], expected: str, patents: Path, tmp_path: Path) -> None:
    plan = [] if "--resume" in arguments else ["--plan"]
    assert expected in run(patents, tmp_path, *plan, *arguments)


@pytest.mark.parametrize("plan", [[], ["--plan"]])
def test_output_folders_that_are_none(plan: list[str], patents: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    assert "file" in run(patents, tmp_path / "file" / "deeper", *plan)
    assert "loop" in run(patents, tmp_path / "loop" / "deeper", *plan)
    assert ("File name too long" if plan else "name a shorter path") in run(patents, tmp_path / ("x" * 300), *plan)
    assert "File name too long" in run(patents, tmp_path / ("x" * 300) / "deeper", "--plan")


@pytest.mark.parametrize("plan", [[], ["--plan"]])
def test_an_output_folder_that_cannot_be_written(plan: list[str], patents: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "file" in run(patents, tmp_path / "file", *plan)
    assert "/proc" in run(patents, "/proc/here", *plan)  # read-only for root, too
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_sweeps_plan_for_a_folder_that_cannot_be_written(patents: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "cannot be written" in run(patents, tmp_path / "file", "--plan", "--set", "tune.num_samples=2")


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"steps": []}', '{"steps": {}, "config": {"run": 3}}',
                                     '{"steps": {"ingest": {"folder": "../../etc"}}, "config": {}}', "\udcff",
                                     '{"steps": {"ingest": {"folder": "ingest-0"}}, "config": {}}'])  # fmt: skip
def test_summaries_that_are_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "run_summary.json").write_bytes(os.fsencode(content))
    assert str(tmp_path) in refused("export", tmp_path, "--format", "fp16")


@pytest.mark.parametrize("name", ["manifest.json"])
@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"step": 1}', "[" * 100_000, "\udcff"])
def test_manifests_that_are_none(name: str, content: str, patents: Path, tmp_path: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    command = ["run", "--plan", "--data_dir", patents, "--output_dir", tmp_path, "--query_backend", "rules"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert main([*map(str, command), "--model_name", "bundled"]) == 0
    step = next(word for word in out.getvalue().split() if word.startswith("ingest-"))
    (tmp_path / "steps" / step).mkdir(parents=True)
    (tmp_path / "steps" / step / name).write_bytes(os.fsencode(content))
    assert step in run(patents, tmp_path, "--plan")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["sample", "OUT", "--count", "-1"], "at least 1"),
        (["sample", "OUT", "--count", "0"], "at least 1"),
        (["sample", "OUT", "--seed", "-1"], "at least 0"),
        (["sample", "OUT", "--seed", "99999999999999999999"], "64 bits"),
        (["sample", "/dev/null/x", "--count", "1"], "a file stands where a folder is needed"),
        (["adapt", "bundled", "OUT/model", "--output_dir", "OUT/nowhere"], "holds no finished run"),
        (["adapt", "bundled", "bundled"], "not two or more different models"),
        (["inspect", "OUT/nowhere"], "does not exist"),
        (["inspect", "OUT"], "holds no .json"),
        (["inspect", "OUT", "--limit", "0"], "at least 1"),
        (["inspect", "s3://user:secret@bucket/x"], "password"),
        (["inspect", "x" * 5000], "name a shorter path"),
        (["export", "OUT", "--format", "fp8"], "invalid choice"),
        (["export", "OUT/nowhere", "--format", "fp16"], "nowhere"),
        (["encode", "--data_dir", "OUT", "--id_column", "id"], "--text_column"),
        (["compare", "--output_dir", "OUT"], "MODEL"),
        (["serve", "OUT", "--port", "99999"], "65535"),
        (["serve", "OUT", "--port", "-1"], "at least 0"),
        (["serve", "OUT", "--port", "http"], "invalid int value"),
        (["rnu"], "invalid choice"),
        ([], "required"),
    ],
)
def test_other_commands(command: list[str], expected: str, tmp_path: Path) -> None:
    assert expected in refused(*(each.replace("OUT", str(tmp_path)) for each in command))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("OPENAI_BASE_URL", "localhost:8000", "OPENAI_BASE_URL"),
        ("OPENAI_BASE_URL", "https://user:secret@host/v1", "OPENAI_BASE_URL"),
    ],
)
def test_the_environment(
    name: str, value: str, expected: str, patents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    said = run(patents, tmp_path, "--plan")
    assert expected in said
    assert "secret" not in said


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_place_that_cannot_be_used_while_a_command_runs(
    code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), str(tmp_path / "x"))

    monkeypatch.setattr("patent_embed.data.sample.write_sample", fail)
    assert f"{str(tmp_path / 'x')!r} cannot be used: {os.strerror(code)}; " in refused("sample", tmp_path)


def test_there_are_enough_of_them() -> None:
    assert len(SETTINGS) + len(YAML) >= 80
