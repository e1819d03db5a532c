"""What a sweep saves: its wall time beside that of the same trials one after the other, each in a process of its own
with its own preparation and all its epochs.

    python benchmarks/tune.py --toy                        # generated patents, a random encoder: minutes on two cores
    python benchmarks/tune.py --work build/tune --num_samples 12 \
        --data_dir patents.jsonl.gz --model_name MODEL_FOLDER --query_backend rules

Options that are not listed below go to pipelines/tune.py, and are the settings of both sides. Three phases, each kept
in ``--work``, so that they can be run by several commands (``--phase sweep``, then ``--phase alone``, ...):

sweep   pipelines/tune.py as a user runs it, from an empty output folder: ingest to tokens once, ASHA, trials at once.
alone   each trial's settings again: ingest to tokens, then training, with neither ASHA nor early stopping. No
        evaluation on either side. ``--alone N`` measures the first N trials only and says so; their mean stands for the
        rest.
test    pipelines/run.py with the sweep's best.yaml, and with the same options and --recommended: nDCG@10 on test.

Prints a table, and one JSON line a phase and one in the end: ``ratio`` is sweep / alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from patent_embed.config.commands import COMMANDS
from patent_embed.config.load import dump_config, load_config
from patent_embed.config.settings import Config
from patent_embed.folders import write_json
from patent_embed.progress.clock import duration
from patent_embed.sweep.space import with_values
from pipelines.cli import add_command_options, config_from
from pipelines.engine import needed_for
from pipelines.job import execute, recipe_of
from pipelines.output_folder import working_in

ROOT = Path(__file__).resolve().parent.parent
PHASES = ("sweep", "alone", "test")


def run(script: str, *arguments: str | Path) -> float:
    """Seconds that a command of this repository took."""
    started = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    subprocess.run([sys.executable, ROOT / script, *map(str, arguments)], check=True, env=environment)
    return time.perf_counter() - started


def trials(work: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(work / "sweep/sweep/results.parquet").to_pylist()
    return found


def sweep(work: Path, options: list[str]) -> dict[str, Any]:
    out = work / "sweep"
    shutil.rmtree(out, ignore_errors=True)
    seconds = run("pipelines/tune.py", *options, "--output_dir", out)
    found = trials(work)
    return {
        "seconds": seconds,
        "trials": len(found),
        "epochs": sum(trial["epochs"] for trial in found),
        "states": {state: sum(t["state"] == state for t in found) for state in sorted({t["state"] for t in found})},
        "best_val_ndcg@10": max(trial["best_val_ndcg@10"] or 0.0 for trial in found),
    }


def alone(work: Path, config: Config, count: int | None) -> dict[str, Any]:
    found = trials(work)
    measured = found[:count]
    seconds = []
    for trial in measured:
        out = work / f"alone-{trial['trial']}"
        shutil.rmtree(out, ignore_errors=True)
        single = with_values(config, {name: value for name, value in trial.items() if name.startswith("training.")})
        single.run.output_dir, single.training.early_stopping_patience = str(out), 0
        settings = work / f"alone-{trial['trial']}.yaml"
        settings.write_text(dump_config(single), encoding="utf-8")
        seconds.append(run("benchmarks/tune.py", "--train", settings))
        shutil.rmtree(out)
    return {
        "seconds": sum(seconds) * len(found) / len(seconds),
        "trials": len(found),
        "measured": len(seconds),
        "epochs": config.training.epochs * len(found),
        "seconds_each": [round(each, 1) for each in seconds],
    }


def test(work: Path, config: Config) -> dict[str, Any]:
    out, settings = work / "sweep", work / "settings.yaml"
    settings.write_text(dump_config(config), encoding="utf-8")
    result: dict[str, Any] = {}
    recommended = ["--config", settings, "--recommended", "--output_dir", out]
    for name, arguments in (("recommended", recommended), ("best", ["--config", out / "sweep/best.yaml"])):
        seconds = run("pipelines/run.py", *arguments)
        systems = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["systems"]
        tuned, base = (systems[each]["test"]["metrics"]["ndcg@10"] for each in ("tuned", "base"))
        result |= {name: tuned, "base": base, f"{name}_seconds": round(seconds, 1)}
    return result


def train_one(settings: Path) -> None:
    """Prepare and train one config: what a trial is without a sweep."""
    config = load_config(overlays=[settings])
    with working_in(config, "benchmark", ()) as output:
        recipe = recipe_of(config, output)
        execute(config, output, needed_for(recipe.trainings[-1], recipe.steps))


def toy(work: Path) -> list[str]:
    """Options of a sweep that two cores do in minutes."""
    from train_throughput import make_model

    from patent_embed.data.sample import write_sample

    data, model = work / "data", work / "model"
    for folder in (data, model):
        shutil.rmtree(folder, ignore_errors=True)
    write_sample(data, 120, seed=7)
    model.mkdir(parents=True)
    make_model(model, "toy")
    small = ["--query_backend", "rules", "--num_samples", "4", "--num_epochs", "3", "--set", "evaluation.bm25=false"]
    return ["--data_dir", str(data), "--model_name", str(model), *small]


def table(rows: dict[str, dict[str, Any]]) -> str:
    lines = [f"{'':30}{'trials':>7}{'epochs':>8}{'time':>15}"]
    for name, label in (("sweep", "sweep"), ("alone", "one after the other")):
        if row := rows.get(name):
            if row.get("measured", row["trials"]) < row["trials"]:
                label += f" ({row['measured']} timed)"
            lines.append(f"{label:30}{row['trials']:>7}{row['epochs']:>8}{duration(row['seconds']):>15}")
    if "sweep" in rows and "alone" in rows:
        lines.append(f"the sweep took {rows['sweep']['seconds'] / rows['alone']['seconds']:.0%} of the time")
    if row := rows.get("test"):
        lines.append(
            "test nDCG@10  " + "  ".join(f"{name} {row[name]:.4f}" for name in ("base", "recommended", "best"))
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--work", type=Path, default=Path("build/tune"), help="where both sides write (build/tune)")
    parser.add_argument("--phase", nargs="+", choices=PHASES, default=PHASES, help="what to do now (all)")
    parser.add_argument("--alone", type=int, metavar="N", help="trials to time alone (all)")
    parser.add_argument("--toy", action="store_true", help="generated patents and a random encoder of two layers")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)  # what the phase alone starts
    args, options = parser.parse_known_args()
    if args.train:
        train_one(args.train)
        return
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if args.toy:
        options = [*toy(work), *options]
    known = argparse.ArgumentParser(allow_abbrev=False)
    add_command_options(known, COMMANDS["run"])
    config = config_from(known.parse_known_args(options)[0], COMMANDS["run"])
    rows = {}
    for phase in PHASES:
        kept = work / f"{phase}.json"
        if phase in args.phase:
            if phase == "sweep":
                row = sweep(work, options)
            else:
                row = alone(work, config, args.alone) if phase == "alone" else test(work, config)
            write_json(kept, row)
        if kept.exists():
            rows[phase] = json.loads(kept.read_text(encoding="utf-8"))
            if phase in args.phase:
                print(json.dumps({"benchmark": "tune", "row": phase, **rows[phase]}), flush=True)
    print("\n" + table(rows), flush=True)
    if "sweep" in rows and "alone" in rows:
        ratio = rows["sweep"]["seconds"] / rows["alone"]["seconds"]
        print(json.dumps({"benchmark": "tune", "row": "ratio", "ratio": round(ratio, 3), "options": options}))


if __name__ == "__main__":
    main()
