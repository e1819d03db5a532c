"""Answers to requests, from the store or from a model, each with what was asked next because of it.

The model is a Backend: any function from requests to answers. Nothing here knows how it is reached, nor what is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from patent_embed.queries.asking import Asks, Request, Verdict
from patent_embed.queries.store import Answer, QueryStore

EXAMPLES_A_REASON = 3  # rejected answers that the report shows

# Answers come in pieces of any size; each piece is stored as it comes. A backend may ask at once what ``Asks.after``
# an answer is to be asked, and bring both answers in any order.
Backend = Callable[[Sequence[Request]], Iterable[list[Answer]]]


@dataclass
class Tally:
    """Counts of one run, for the report."""

    asked: int = 0
    stored: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    tokens: Counter[str] = field(default_factory=Counter)

    def reject(self, reason: str, query: str) -> None:
        """Count an answer that cannot be used, and keep it as an example where there are few of its kind."""
        self.rejects[reason] += 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < EXAMPLES_A_REASON:
            shown.append(query[:120])


@dataclass(frozen=True)
class Said:
    """A request, what its answer is worth, and the tokens that it took."""

    request: Request
    verdict: Verdict
    prompt_tokens: int = 0
    output_tokens: int = 0


class _Chains:
    """Requests with what was asked next because of their answers: a chain for each of the first ones, by its key."""

    def __init__(self, asking: Asks, requests: Sequence[Request]) -> None:
        self._asking = asking
        self._waiting = {request.key: (request.key, request) for request in requests}
        self._early: dict[str, Answer] = {}  # to what is only known to be asked by the answer before, which comes later
        self.said: dict[str, list[Said]] = {key: [] for key in self._waiting}

    def add(self, answer: Answer) -> list[str]:
        """Make an answer a part of its chain; the keys of all that became one, none where nobody waits for it yet."""
        root, request = self._waiting.pop(answer.key, ("", None))
        if request is None:
            self._early[answer.key] = answer
            return []
        verdict = self._asking.verdict(request, answer)
        self.said[root].append(Said(request, verdict, answer.prompt_tokens, answer.output_tokens))
        if (after := self._asking.after(request, verdict)) is not None:
            self._waiting[after.key] = (root, after)
            if after.key in self._early:
                return [answer.key, *self.add(self._early.pop(after.key))]
        return [answer.key]

    def waiting(self) -> dict[str, Request]:
        """What is still to be answered, by key."""
        return {key: request for key, (_, request) in self._waiting.items()}


def collect(
    requests: Sequence[Request],
    backend: Backend,
    store: QueryStore,
    tally: Tally,
    asking: Asks,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, list[Said]]:
    """By key of a request what was said to it, and to what was asked next because of that. The last one stands.

    Answers are in the store, or come from the backend and are then stored. They are read as they come, while the model
    works on the next ones.
    """
    chains = _Chains(asking, requests)
    while asking.config.use_cache and (keys := chains.waiting().keys()) and (stored := store.read(keys)):
        tally.stored += sum(len(chains.add(answer)) for answer in stored.values())
    asked: set[str] = set()
    done = extra = 0
    while missing := {key: request for key, request in chains.waiting().items() if key not in asked}:
        asked |= missing.keys()
        for piece in backend(list(missing.values())):
            store.add(piece)
            for answer in piece:
                heard = chains.add(answer)
                done += len(heard)
                extra += sum(key not in asked for key in heard)  # what a backend asked by itself
                tally.tokens.update(prompt=answer.prompt_tokens, output=answer.output_tokens)
            if on_progress is not None:
                on_progress(done, len(asked) + extra)
    # A request without an answer is an answer with an error: no row is lost in silence.
    for lost in chains.waiting():
        chains.add(Answer(lost, error="lost"))
        done += 1
    tally.asked += done
    return chains.said
