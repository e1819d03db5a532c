"""Any models on one test set: that of a finished run, or one made from a data folder as a run would."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

from patent_embed.encoder.hub import resolve_model
from patent_embed.errors import UserError
from patent_embed.hashing import folder_digest
from patent_embed.progress.clock import duration
from patent_embed.progress.terminal import say
from pipelines import publish
from pipelines.pipeline import TABLES, Pipeline, Plan, Stage
from pipelines.steps.evaluate import load_result

_BM25 = "bm25"


@dataclass
class Comparison(Pipeline):
    """``models`` (hub ids or folders) measured on the queries of val and test; the first one is the baseline.

    ``of_run``: on those of the run that the output folder holds, without its data folder.
    """

    models: Sequence[str] = ()
    of_run: bool = False

    def stages(self) -> list[Stage]:
        plan, names = Plan(), self._names()
        if self.of_run:
            found = publish.open_run(self.config.run.output_dir)
            if found is None:
                raise UserError(
                    f"{self.config.run.output_dir!r} holds no finished run, so there is no test set to compare on; set "
                    "--output_dir to the folder of one, or --data_dir to patents"
                )
            _, steps = found
            given = {name: steps[name] for name in TABLES}
            self.artifacts.update(given)
            self.reused.update(given)
            plan = Plan(given)
            self._add_bm25(plan)
        else:
            self._add_data(plan)
        for name, model in zip(names, self.models, strict=True):
            folder = resolve_model(model, trust_remote_code=self.config.model.trust_remote_code).resolve()
            digest = folder_digest(folder)
            self._add_embedding(plan, name, partial(self._shared_model, folder, digest), digest)
            self._add_evaluation(plan, name)
        return list(plan.stages.values())

    def _names(self) -> list[str]:
        """What the models are called: the last part of their names where that tells them apart."""
        short, full = ([_plain(name) for name in names] for names in ([Path(m).name for m in self.models], self.models))
        if len(set(full)) < max(2, len(full)):
            raise UserError(f"{list(self.models)} are not two or more different models; name each once")
        return short if len({*short, _BM25}) > len(short) else full

    def _publish(self, started: float) -> None:
        names = self._names()
        measured = [_BM25, *names] if f"evaluate-{_BM25}" in self.artifacts else names
        results = [load_result(name, self.artifacts[f"evaluate-{name}"]) for name in measured]
        pairs = [(later, earlier) for earlier, later in combinations(names, 2)]
        compared = [("test", *pair) for pair in (*pairs, *((name, _BM25) for name in names))]
        compared += [("val", *pair) for pair in pairs]
        report = publish.make_report(self.config, self.artifacts, self.reused, results, compared)
        name = f"compare/{'-'.join(names)}"
        (self.out / name).mkdir(parents=True, exist_ok=True)
        publish.write_report(self.out / name, replace(report, title="Retrieval compared: " + ", ".join(names)))
        publish.say_results(report)
        say(f"done in {duration(time.time() - started)}")
        say(f"report  {self.config.run.output_dir.rstrip('/')}/{name}/report.html")
        if self.remote is not None:
            self.remote.put(self.out / name, name)
            shutil.rmtree(self.out)


def _plain(name: str) -> str:
    """A name that can be part of a folder's."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.")
