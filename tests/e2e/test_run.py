"""The command as a user runs it: a real run with a tiny model, then what depends on it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from patent_embed.artifacts import open_artifact
from patent_embed.folders import folder_at
from patent_embed.hashing import folder_digest
from patent_embed.ownership import MARKER
from patent_embed.run_lock import RunLock
from tests.conftest import patent, write_json_lines
from tests.e2e.commands import SETTINGS, begin_from, patent_embed_here, run, run_here
from tests.e2e.conftest import SECRET

pytestmark = pytest.mark.ray


def test_the_output_folder_is_complete(finished) -> None:
    _, out, _ = finished
    names = {path.name for path in out.iterdir()}
    assert names == {
        *("steps", "model", "adapter", "metrics.json", "report.md", "report.html", "run_summary.json"),
        *("config.yaml", "progress.jsonl", "tensorboard", MARKER),
    }
    summary = json.loads((out / "run_summary.json").read_text())
    rows = {name: step["rows"] for name, step in summary["steps"].items()}
    assert rows["ingest"]["records"] == rows["ingest"]["patents"] == sum(rows["splits"].values()) == 120
    assert set(summary["steps"]) == {
        *("ingest", "splits", "queries", "negatives", "negatives-scored", "tokens", "train", "choose"),
        *(f"{step}-{system}" for step in ("embed", "evaluate") for system in ("base", "tuned")),
        "evaluate-bm25",
    }
    for folder in (out / "steps").iterdir():
        open_artifact(folder)  # whole, with every file as its manifest says
    metrics = json.loads((out / "metrics.json").read_text())
    assert "NaN" not in json.dumps(metrics)
    assert {"section", "subclass", "main-group size", "query kind"} <= {part["dimension"] for part in metrics["slices"]}
    assert [part["language"] for part in metrics["forgetting"]] == ["all", "zh", "en"]


def test_the_report_page_has_every_part_of_a_run(finished) -> None:
    _, out, _ = finished
    page = (out / "report.html").read_text()
    parts = ("results", "slices", "changes", "scores", "map", "general", "training", "data", "time", "settings")
    assert [part for part in parts if f'<section id="{part}">' in page] == list(parts)
    assert "training loss by optimizer step" in page
    assert re.search(r"train · [\d.,]+ triplets/s", page)
    assert "https://" not in page


def test_the_terminal_is_readable(finished) -> None:
    _, _, done = finished
    assert "[1/13] ingest" in done.stdout
    assert "nDCG@10" in done.stdout
    assert "triplets/s" in done.stdout
    assert "\r" not in done.stdout
    paths = ("data ", "output ", "report ", "model ")
    assert [line for line in done.stdout.splitlines() if len(line) > 80 and not line.startswith(paths)] == []
    assert done.stderr == ""


def test_every_step_of_training_is_logged(finished) -> None:
    _, out, _ = finished
    events = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    steps = [e for e in events if e["event"] == "step"]
    assert [e["step"] for e in steps] == list(range(1, steps[-1]["steps"] + 1))
    assert set(steps[0]) >= {"epoch", "loss", "lr", "triplets_per_s", "eta_s"}


def test_no_secret_is_written(finished) -> None:
    _, out, done = finished
    assert SECRET not in done.stdout + done.stderr
    for path in out.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_the_model_is_an_ordinary_sentence_transformer(finished) -> None:
    from sentence_transformers import SentenceTransformer

    _, out, _ = finished
    corpus = open_artifact(next((out / "steps").glob("ingest-*"))).table("corpus")
    served = SentenceTransformer(str(out / "model"), device="cpu").encode(
        corpus["abstract"].to_pylist()[:20], prompt_name="passage", normalize_embeddings=True
    )
    embedded = np.load(next((out / "steps").glob("embed-tuned-*")) / "passages.npy")[:20]
    # The pipeline embeds in bf16 where the machine has it; the exact comparison is a unit test of the export.
    assert (served * embedded).sum(axis=1).min() > 0.999


def test_the_snippets_of_the_model_card_run(finished, tmp_path: Path) -> None:
    _, out, _ = finished
    card = (out / "model" / "README.md").read_text()
    header = yaml.safe_load(card.split("---")[1])
    assert header["library_name"] == "sentence-transformers"
    snippets = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(snippets) == 2
    scores = []
    for number, code in enumerate(snippets):
        namespace: dict[str, object] = {}
        code = code.replace("path/to/patent-embed", str(out / "model"))
        exec(compile(code, f"snippet {number}", "exec"), namespace)
        scores.append(np.asarray(namespace["scores"], dtype=np.float32))
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_a_second_run_reuses_everything(finished) -> None:
    arguments, out, _ = finished
    before = (out / "metrics.json").read_bytes()
    done = run_here(*arguments)
    assert done.stdout.count("reused") == 13
    assert (out / "metrics.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_models_are_compared_on_the_test_set_of_a_run(finished, tiny_model: Path, tmp_path: Path) -> None:
    _, out, _ = finished
    shutil.copytree(out, tmp_path / "moved")  # to where the run's relative paths lead nowhere
    third = shutil.copytree(tiny_model, tmp_path / "third")
    models = (tiny_model, tmp_path / "moved/model", third)
    done = patent_embed_here("compare", *models, "--output_dir", tmp_path / "moved")
    (folder,) = (tmp_path / "moved" / "compare").iterdir()
    found = json.loads((folder / "metrics.json").read_text())
    of_run = json.loads((out / "metrics.json").read_text())
    base, tuned, copy = (name for name in found["systems"] if name != "bm25")
    assert found["systems"]["bm25"] == of_run["systems"]["bm25"]
    assert found["systems"][base] == found["systems"][copy] == of_run["systems"]["base"]
    pairs = {(each["system"], each["baseline"]) for each in found["comparisons"] if each["split"] == "test"}
    assert {(tuned, base), (copy, base)} <= pairs
    for split in ("val", "test"):
        ours, theirs = found["systems"][tuned][split]["metrics"], of_run["systems"]["tuned"][split]["metrics"]
        assert ours == pytest.approx(theirs, abs=1e-3)
    first, of_run_first = found["comparisons"][0], of_run["comparisons"][0]
    assert (first["system"], first["baseline"], first["split"]) == (tuned, base, "test")
    assert first["difference"] == pytest.approx(of_run_first["difference"], abs=1e-3)
    assert (folder / "report.md").read_text().startswith("# Retrieval compared")
    page = (folder / "report.html").read_text()
    assert f"{tuned} against {base}, test" in page
    assert "patents as " + base + " places them" in page
    assert f"on test nDCG@10: {first['baseline_mean']:.4f}" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_a_run_is_exported_with_what_each_format_costs(finished) -> None:
    from sentence_transformers import SentenceTransformer

    _, out, _ = finished
    onnx = [] if importlib.util.find_spec("onnxscript") is None else ["onnx-int8"]
    patent_embed_here("export", out, "--format", "fp16", *onnx)
    for name in ("fp16", *onnx):
        figures = json.loads((out / "export" / name / "export.json").read_text())
        assert figures["documents"] == figures["documents_in_corpus"] == 120
        assert figures["cosine_min"] > 0.99
        assert figures["relative_loss"] <= 0.005
        assert figures["fp32_ndcg@10"] > 0
        assert f"## This folder: {name}" in (out / "export" / name / "README.md").read_text()
    model = SentenceTransformer(str(out / "export" / "fp16"), device="cpu")
    assert model.encode_query(["一种装置"]).shape == (1, 32)


@pytest.mark.slow
def test_a_format_that_loses_too_much_is_refused(finished, tmp_path: Path) -> None:
    _, out, _ = finished
    shutil.copytree(out, tmp_path / "run", ignore=shutil.ignore_patterns("export"))
    weights = tmp_path / "run" / "model" / "model.safetensors"
    state = load_file(weights)
    state["encoder.layer.1.output.LayerNorm.weight"] *= 1e6  # more than 16 bits hold; in fp32 it cancels out
    state["encoder.layer.1.output.LayerNorm.bias"] *= 1e6
    save_file(state, weights, metadata={"format": "pt"})
    done = patent_embed_here("export", tmp_path / "run", "--format", "fp16", check=2)
    assert "is not the model that the summary beside it tells of" in done.stderr
    summary = json.loads((tmp_path / "run" / "run_summary.json").read_text())
    summary["published"]["model"] = folder_digest(weights.parent)
    (tmp_path / "run" / "run_summary.json").write_text(json.dumps(summary))
    done = patent_embed_here("export", tmp_path / "run", "--format", "fp16", "onnx", check=2)
    assert "fp16 loses" in done.stderr
    assert "onnx loses" not in done.stderr
    assert {path.name for path in (tmp_path / "run" / "export").iterdir()} == {"onnx"}
    patent_embed_here("export", tmp_path / "run", "--format", "fp16", "--force")
    assert json.loads((tmp_path / "run" / "export" / "fp16" / "export.json").read_text())["forced"] is True


@pytest.mark.slow
def test_queries_of_the_tuned_model_search_the_index_of_the_base(finished, tiny_model: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    _, out, _ = finished
    done = patent_embed_here("adapt", tiny_model, out / "model", "--output_dir", out, "--force")
    (made,) = (out / "adapt").iterdir()
    figures = json.loads((made / "adapt.json").read_text())
    assert figures["kept"] == pytest.approx(figures["ndcg@10"]["adapted"] / figures["ndcg@10"]["new"])
    assert figures["fitted_on"] > 50
    assert f"{figures['ndcg@10']['adapted']:.4f}" in done.stdout
    assert SentenceTransformer(str(made), device="cpu").encode_query(["一种装置"]).shape == (1, 32)
    blind = tmp_path / "blind"
    shutil.copytree(out / "model", blind)
    state = load_file(blind / "model.safetensors")
    state["embeddings.word_embeddings.weight"] *= 0
    save_file(state, blind / "model.safetensors", metadata={"format": "pt"})
    done = patent_embed_here("adapt", blind, out / "model", "--output_dir", out, check=2)
    assert "re-encode" in done.stderr
    assert len(list((out / "adapt").iterdir())) == 1


def test_a_changed_setting_runs_only_what_depends_on_it(finished) -> None:
    arguments, _, _ = finished

    def rerun(*changes: str) -> set[str]:
        plan = run_here(*arguments, *changes, "--plan").stdout
        assert max(map(len, plan.splitlines()[1:])) <= 80
        return set(re.findall(r"(?m)^ +\d+  (\S+)-[0-9a-f]+ +run\b", plan))

    published = {"choose", "embed-tuned", "evaluate-tuned"}
    trained = {"train", *published}
    assert rerun() == set()
    assert rerun("--set", "run.publish=auto") == set()
    assert rerun("--set", "training.base_share=0.3") == trained - {"choose"}
    assert rerun("--margin", "0.2") == trained
    assert rerun("--set", "training.log_every=3", "--num_workers", "2") == set()
    assert rerun("--set", "evaluation.distributed=true") == set()
    assert rerun("--set", "training.validate_epochs=false") == {"tokens", *trained}
    assert rerun("--set", "negatives.scoring.pool=8") == {"negatives-scored", "tokens", *trained}
    assert rerun("--set", "negatives.scoring.enabled=false") == {"tokens", *trained}
    assert rerun("--set", "negatives.rounds=2") == {
        *("negatives-scored-1", "tokens-1", "train-1", "embed-round-1", "negatives-scored", "tokens"),
        *trained,
    }
    seeded = run_here(*arguments, "--seed", "7", "--plan").stdout
    assert seeded.count(" reuse ") == 1  # ingest
    assert "120 patents" in seeded


def copied(finished, tmp_path: Path) -> tuple[tuple[str, ...], Path]:
    """Arguments and output folder of a copy of the finished run, whose own folder other tests read."""
    out = Path(shutil.copytree(finished[1], tmp_path / "out"))
    return tuple(str(out) if each == os.path.relpath(finished[1]) else each for each in finished[0]), out


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_test_only_measures_what_is_there(finished, tmp_path: Path) -> None:
    arguments, out = copied(finished, tmp_path)
    before = json.loads((out / "metrics.json").read_text())
    lock, files = RunLock(folder_at(out), "run"), {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert "is in use by `run`" in run_here(*arguments, check=2).stderr
    run_here(*arguments, "--test_only", "--no_use_cache")  # everything anew, which would remove the run's steps
    assert {path: path.read_bytes() for path in files} == files | {out / MARKER: (out / MARKER).read_bytes()}
    assert json.loads((out / "test_only" / "metrics.json").read_text())["systems"].keys() == before["systems"].keys()
    assert not list(out.glob("beside-*"))
    lock.release()
    shutil.rmtree(out / "test_only")

    done = run_here(*arguments, "--test_only")
    assert "train" not in [line.split()[1] for line in done.stdout.splitlines() if line.startswith("[")]
    after = json.loads((out / "metrics.json").read_text())
    assert after["systems"] == before["systems"]
    page = (out / "report.html").read_text()
    assert '<section id="slices">' in page
    assert '<section id="training">' not in page


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_a_tuned_model_is_measured_without_its_base(finished, tmp_path: Path) -> None:
    arguments, out = copied(finished, tmp_path)
    before = json.loads((out / "metrics.json").read_text())
    done = run_here(*arguments, "--test_only", "--model_name", "not_here")
    assert "measured alone" in done.stderr
    after = json.loads((out / "metrics.json").read_text())
    assert after["systems"] == {name: before["systems"][name] for name in ("bm25", "tuned")}
    page = (out / "report.html").read_text()
    assert "tuned against bm25, test" in page
    assert '<section id="general">' not in page  # BM25 has no opinion on general sentences


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_two_rounds_of_hard_negatives_mined_on_ray_data_and_the_mean_of_two_trainings(
    finished, tmp_path: Path, sample_folder: Path, tiny_model: Path
) -> None:
    begin_from(finished, tmp_path, "negatives*", "tokens*")
    arguments = (
        *("--data_dir", sample_folder, "--output_dir", tmp_path, "--model_name", tiny_model, *SETTINGS),
        *("--num_epochs", "2", "--batch_size", "64"),
        *("--negative_strategy", "hard", "--set", "negatives.rounds=2", "--set", "negatives.distributed=true"),
        *("--set", "training.soup_size=2", "--set", "training.base_share=0"),
    )
    done = run_here(*arguments)
    assert "tuned" in done.stdout
    assert "mean weights of 2 trainings" in done.stdout
    (unscored,), (first,), (second,) = (
        list((tmp_path / "steps").glob(f"{name}-????????"))
        for name in ("negatives", "negatives-scored-1", "negatives-scored")
    )
    (here,) = (finished[1] / "steps").glob("negatives-????????")
    assert open_artifact(unscored).table("negatives") == open_artifact(here).table("negatives")
    tables = [open_artifact(folder).table("negatives") for folder in (first, second)]
    assert all(table["score"].null_count == 0 for table in tables)
    assert tables[0] != tables[1]  # the tuned encoder scores anew
    members = [next((tmp_path / "steps").glob(f"train-seed-{seed}-*")) / "model" for seed in (42, 43)]
    first, second, mean = (load_file(folder / "model.safetensors") for folder in (*members, tmp_path / "model"))
    name = "encoder.layer.1.output.dense.weight"
    assert not np.array_equal(first[name], second[name])
    np.testing.assert_allclose(mean[name], (first[name] + second[name]) / 2, atol=1e-7)

    # A named checkpoint is for the first training that is left; the other one starts anew.
    begun = [folder.parent for folder in members]
    for folder in (*begun, next((tmp_path / "steps").glob("train-????????"))):
        (folder / "manifest.json").unlink()
    checkpoint = next(begun[0].glob("attempt-*/epoch-0001"))
    again = run_here(*arguments, "--resume", checkpoint)
    assert again.stdout.count("before training") == 1
    np.testing.assert_array_equal(load_file(tmp_path / "model" / "model.safetensors")[name], mean[name])


@pytest.mark.usefixtures("ray_here")
def test_a_model_that_is_worse_is_not_published(
    finished, tmp_path: Path, sample_folder: Path, tiny_model: Path
) -> None:
    """A learning rate that destroys the weights: the base stays with code 3, until it is asked for all the same."""
    begin_from(finished, tmp_path)
    arguments = (
        *("--data_dir", sample_folder, "--output_dir", tmp_path, "--model_name", tiny_model, *SETTINGS),
        *("--no_use_lora", "--learning_rate", "0.5", "--num_epochs", "1", "--batch_size", "64"),
    )
    done = run_here(*arguments, "--set", "run.publish=auto", check=3)
    (line,) = done.stderr.splitlines()
    assert re.match(r"patent-embed: the base model stays: with 0\.9 of it in the weights, tuned is worse on \w+", line)
    assert line.endswith("; --set run.publish=always publishes it all the same")
    assert not (tmp_path / "model").exists()
    assert "model   " not in done.stdout
    assert "tuned" in json.loads((tmp_path / "metrics.json").read_text())["systems"]
    again = run_here(*arguments)
    assert again.stdout.count("reused") == 13
    weights = load_file(tmp_path / "model" / "model.safetensors")["encoder.layer.1.output.dense.weight"]
    (chosen,) = (tmp_path / "steps").glob("choose-*")
    np.testing.assert_array_equal(
        weights, load_file(chosen / "model" / "model.safetensors")["encoder.layer.1.output.dense.weight"]
    )


@pytest.mark.usefixtures("ray_here")
def test_too_little_data_stops_with_advice(tmp_path: Path, tiny_model: Path) -> None:
    common = ("--output_dir", tmp_path / "out", "--model_name", tiny_model, *SETTINGS)
    one = write_json_lines(tmp_path / "one.jsonl", [patent("CN1A")])
    done = run_here("--data_dir", one, *common, check=2)
    assert "at least two in one main group" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("not a patent")
    all_of_one_subgroup = [patent(f"CN{i}A") for i in range(9)]
    same = write_json_lines(tmp_path / "data" / "same.jsonl", all_of_one_subgroup)
    done = run_here("--data_dir", same.parent, *common, check=2)
    assert "1 files of other kinds passed over" in done.stdout
    assert "no patent can get a negative" in done.stderr


@pytest.mark.usefixtures("ray_here")
def test_workers_are_as_urgent_as_the_run() -> None:
    """At the niceness that Ray gives them unless told otherwise, other work of the machine would leave them nothing."""
    import ray

    niceness = ray.remote(lambda: os.nice(0))
    assert ray.get(niceness.remote()) == os.nice(0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--margin", "9"), "margin 9 cannot be reached"),
        (("--set", "training.typo=1"), "there is no such setting"),
        (("--model_name", "no_such_folder"), "bundled"),
        (("--set", "model.name=/nowhere/model"), "bundled"),
    ],
)
def test_mistakes_end_with_one_line_and_no_traceback(sample_folder, tmp_path, tiny_model, arguments, says) -> None:
    base = ("--data_dir", sample_folder, "--output_dir", tmp_path, "--model_name", tiny_model, *SETTINGS)
    done = run_here(*base, *arguments, check=2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_the_program_ends_with_code_2_for_a_mistake(tmp_path: Path) -> None:
    done = run("--data_dir", "/nowhere", "--output_dir", tmp_path, check=2)
    assert done.stderr.splitlines()[-1].startswith("patent-embed: error: data_dir '/nowhere' does not exist")
