"""The work of a step as a task of a worker: the driver holds none of what it reads and makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from patent_embed.artifacts import Artifact, Outcome, open_artifact
from patent_embed.errors import UserError
from patent_embed.folders import Folder

_HERE_ROWS = 50_000  # of a step's largest input: a worker does not start before so many are done


@dataclass(frozen=True)
class Workplace:
    """What the work of a step is given that may be done on any machine.

    Attributes:
        folder: to write the result into.
        place: the same folder as workers on any node reach it.
        inputs: the artifacts among the step's inputs.
    """

    folder: Path
    place: Folder
    inputs: Mapping[str, Artifact]

    def table(self, key: str, name: str = "", *columns: str) -> Any:
        """The table of an input that is named like it, or ``name`` of it; only some ``columns`` where any are named."""
        return self.inputs[key].table(name or key, *columns)


Work = Callable[[Workplace], Outcome]


def by_a_worker(work: Work) -> Work:
    """``work``, done in a task where an input has more than ``_HERE_ROWS`` rows.

    ``work`` travels: it must hold no secret, and nothing that Ray cannot send.
    """

    def anywhere(here: Workplace) -> Outcome:
        if (
            max((rows for each in here.inputs.values() for rows in each.manifest.rows.values()), default=0)
            <= _HERE_ROWS
        ):
            return work(here)
        addresses = {key: artifact.address for key, artifact in here.inputs.items()}
        task: Any = ray.remote(_do)
        found: Outcome | UserError | OSError = ray.get(task.remote(work, here.place, addresses))
        if isinstance(found, Exception):
            raise found
        return found

    return anywhere


def _do(work: Work, place: Folder, addresses: Mapping[str, str]) -> Outcome | UserError | OSError:
    """A task. What another try would not mend comes back as a value: raised, it would be tried again."""
    folder = place.workspace(f"{place.name}-task")
    try:
        outcome = work(Workplace(folder, place, {key: open_artifact(each) for key, each in addresses.items()}))
        place.put(folder)
    except (UserError, OSError) as error:
        return error
    finally:
        place.leave(folder)
    return outcome
