"""What a loss is, and which there are.

Every other module of this package holds a loss, and all that concerns it alone: its settings, what they may be
together, its arithmetic, what a sweep varies of it. A new one is a new module here, and nothing else:

* ``training.loss`` takes its name, on the command line as well;
* its settings are settings of ``training`` under their own names, whichever loss is chosen, so that a name means one
  thing (two losses may share one by sharing its field);
* a sweep offers them where the loss is chosen, and a model card tells them.

The settings are read where there is no torch, so a module imports it inside its functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from pydantic import create_model
from pydantic.fields import FieldInfo

from patent_embed.registry import Registry
from patent_embed.section import Section

if TYPE_CHECKING:
    from torch import Tensor

S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Relations:
    """What is known of a batch's right answers and patents where they come from other sources than queries.

    Attributes:
        grade: (m,) above 0, how right the positive of each triplet is; 1 as a patent's own text.
        linked: ``link_keys`` of families that are no negatives of one another, ascending, both ways round.
    """

    grade: np.ndarray
    linked: np.ndarray

    def between(self, families: np.ndarray, others: np.ndarray) -> np.ndarray:
        """(q, c) bool: which of ``families`` (q,) and ``others`` (c,) are linked."""
        keys = link_keys(families[:, None], others[None, :])
        if not len(self.linked):
            return np.zeros(keys.shape, np.bool_)
        place = np.minimum(np.searchsorted(self.linked, keys), len(self.linked) - 1)
        found: np.ndarray = self.linked[place] == keys
        return found


def link_keys(families: np.ndarray, others: np.ndarray) -> np.ndarray:
    """One number for each pair of family numbers, which are below 2**31."""
    keys: np.ndarray = families.astype(np.int64) << 32 | others.astype(np.int64)
    return keys


class Loss(ABC, Generic[S]):
    """A training loss with the settings ``S``, which it alone reads.

    Attributes:
        name: value of ``training.loss``.
        order: where it stands in lists of losses, by this number and then by name.
        settings: the model of its settings; each has a default.
        in_batch: whether the other passages of a batch are negatives of a query, so that it can do without mined ones.
        graded: whether it has ``graded_losses``, so that it can learn from several sources of relevance.
        ranges: what a sweep varies of them unless told otherwise, e.g. ``{"margin": "uniform(0.05, 0.5)"}``. A
            ``learning_rate`` replaces the one that every loss has.
    """

    name: str
    order: int = 100
    settings: type[S]
    in_batch: bool = False
    graded: bool = False
    ranges: Mapping[str, str] = {}

    @abstractmethod
    def losses(self, embeddings: Tensor, triplets: np.ndarray, family: np.ndarray, settings: S) -> Tensor:
        """One value for each item of the global batch, be that a triplet or a query: the caller takes the mean, so that
        the gradient does not depend on how a batch is cut over devices or forward passes.

        Args:
            embeddings: (n, dim), unit length, of the batch's distinct texts; the gradient flows into them.
            triplets: (m, 3) rows of ``embeddings``: query, positive, negative.
            family: (n,) of the patent each text belongs to; texts of one family are no negatives of one another.
        """

    def graded_losses(
        self, embeddings: Tensor, triplets: np.ndarray, family: np.ndarray, relations: Relations, settings: S
    ) -> Tensor:
        """The same for triplets of several sources of relevance: what ``relations`` links are no negatives of one
        another, and a value counts by the grade of its right answer. Asked of losses that are ``graded``."""
        raise NotImplementedError(f"{self.name} knows no grades")

    def check(self, settings: S) -> None:
        """Raises ValueError where the settings, each valid, cannot be trained with. Asked when the loss is chosen."""

    def described(self, settings: S) -> dict[str, Any]:
        """The settings as a model card names them, by label."""
        return settings.model_dump()

    def settings_of(self, training: object) -> S:
        """This loss's settings, out of all those of a training."""
        return self.settings.model_validate({name: getattr(training, name) for name in self.settings.model_fields})


LOSSES: Registry[Loss[Any]] = Registry("patent_embed.losses", Loss, "training.loss")  # type: ignore[type-abstract]


def settings_of_all() -> type[Section]:
    """A section with the settings of every loss, in their order.

    Raises TypeError where two losses mean different things by one name.
    """
    fields: dict[str, FieldInfo] = {}
    for loss in LOSSES:
        for name, field in loss.settings.model_fields.items():
            if repr(fields.setdefault(name, field)) != repr(field):
                raise TypeError(
                    f"the loss {loss.name!r} has a setting {name!r} that is another loss's: share its field"
                )
    given: dict[str, Any] = {name: (field.annotation, field) for name, field in fields.items()}
    return create_model("LossSettings", __base__=Section, **given)
