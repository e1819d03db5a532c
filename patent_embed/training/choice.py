"""Which share of the base model is published with the trained weights, and whether anything is.

How much of a training is trusted follows from what it read: ``SHARE_WRITTEN`` of the base model stays after training on
written queries, ``SHARE_RULED`` after training on rule queries, which are lifted from the abstracts and teach an
encoder to compare words. Both were measured on runs of 100 to 1,800 patents (docs/publishing.md). Validation sets of
such runs are too small to choose a share by, and choosing the best of seven by them would publish luck. What they can
do is refuse: where the base model is shown to be better, on validation queries, on those of them whose main groups the
training has not seen, or on general sentences, more of it is taken. Where that does not help, it stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from patent_embed.evaluation.forgetting import LANGUAGES, Forgetting, compare_general
from patent_embed.evaluation.slices import ENOUGH_FOR_A_SLICE
from patent_embed.training.selection import doubt

if TYPE_CHECKING:  # they need torch, which whoever reads a choice does not
    from patent_embed.training.evidence import Evidence, Measured

SHARE_WRITTEN, SHARE_RULED = 0.2, 0.65
LADDER = (0.35, 0.5, 0.65, 0.8, 0.9)
# General sentences refuse a share at this part of their interval's half width: what is published is embedded again in
# other batches, and must not become "worse" by a last bit.
CAUTION = 0.9


@dataclass(frozen=True)
class Choice:
    """What was decided.

    Attributes:
        share: of the base model in the weights that were made.
        publishes: whether they are better or no worse than the base as far as can be shown.
        tried: the shares that were looked at, and what spoke against each; empty: nothing.
    """

    share: float
    publishes: bool
    tried: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Choice:
        """What ``as_json`` made."""
        return cls(**fields)

    def line(self, *, always: bool = False) -> str:
        """In a sentence. ``always``: what is refused is published all the same."""
        (first, objection), *_ = self.tried.items()
        last, final = list(self.tried.items())[-1]
        if not self.publishes and not always:
            return f"the base model stays: with {last} of it in the weights, tuned is worse on {final}"
        because = f", since with {first} it is worse on {objection}" if objection else ""
        if not self.publishes:
            because = f" as run.publish=always asks for, though tuned is worse on {objection}"
        return f"{self.share:g} of the base model in the published weights{because}"


def choose_share(measured: Callable[[float], Measured], evidence: Evidence, seed: int) -> Choice:
    """The least share of the base model, from where the training's queries let it begin, that nothing speaks against.

    ``measured``: the weights with a share of the base model in them, of which 1 is the base. Where all are refused, the
    choice has the first share and does not publish.
    """
    base, tried = measured(1.0), dict[str, str]()
    for share in shares(evidence.ruled):
        tried[f"{share:g}"] = objection(measured(share), base, evidence, seed)
        if not tried[f"{share:g}"]:
            return Choice(share, True, tried)
    return Choice(shares(evidence.ruled)[0], False, tried)


def shares(ruled: float) -> list[float]:
    """The shares to try, ascending, for a training of which ``ruled`` (0 to 1) of the queries are of rules."""
    first = round(SHARE_WRITTEN + ruled * (SHARE_RULED - SHARE_WRITTEN), 2)
    return [first, *(share for share in LADDER if share > first)]


def objection(ours: Measured, base: Measured, evidence: Evidence, seed: int) -> str:
    """What the base model is better on, with figures; empty where nothing is shown."""
    return next(_objections(ours, base, evidence, seed), "")


def _objections(ours: Measured, base: Measured, evidence: Evidence, seed: int) -> Iterator[str]:
    everything = np.ones(len(evidence.unseen), np.bool_)
    for name, part in (("val", everything), ("val, main groups unseen in training", evidence.unseen)):
        if part is everything or part.sum() >= ENOUGH_FOR_A_SLICE:
            yield from _worse_on(name, part, ours, base, evidence, seed)
    for found in compare_general("tuned", "base", ours.general, base.general, seed=seed):
        if found.difference + CAUTION * (found.high - found.difference) < 0:
            yield f"general sentences{_of(found)}: {found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def _worse_on(
    name: str, part: NDArray[np.bool_], ours: Measured, base: Measured, evidence: Evidence, seed: int
) -> Iterator[str]:
    if not part.any():
        return
    found = doubt(base.values[part], ours.values[part], evidence.asked.query_family[part], seed=seed)
    if found.shown:
        yield f"{name}: nDCG@10 {-found.difference:+.4f}, p = {found.p_value:.3f}, {found.queries:,} queries"


def _of(found: Forgetting) -> str:
    return f" in {LANGUAGES[found.language]}" if found.language in LANGUAGES else ""
