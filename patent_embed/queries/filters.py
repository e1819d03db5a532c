"""What a written query must not be. Each filter has a reason code; the first that applies is the reason."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from patent_embed.config.queries import QueriesConfig
from patent_embed.data.cleaning import detect_language
from patent_embed.data.splits import abstract_key
from patent_embed.queries.prompts import EXAMPLES, chat_messages
from patent_embed.queries.rules import LATIN_FACTOR
from patent_embed.queries.store import CUT
from patent_embed.text import plain

REASONS = (
    *CUT,
    "no_query",
    "empty",
    "too_short",
    "too_long",
    "wrong_language",
    "boilerplate",
    "prompt_repeated",
    "example_copied",
    "title_copied",
    "abstract_copied",
    "near_duplicate",
    "round_trip",
)

_BOILERPLATE = re.compile(
    r"本发明|本实用新型|本申请|[该此这本]件?篇?专利|专利摘要|检索语句|什么是|(?:作为|我是).{0,6}(?:专家|助手|模型)|抱歉|无法提供|"
    r"the (?:present )?(?:invention|patent|abstract)\b|this patent|search query|\bwhat is\b|"
    r"\bas an ai\b|\bi (?:cannot|can't)\b",
    re.IGNORECASE,
)
_TITLE_PRAISE = re.compile(r"^(?:一种|一类|新型|改进的?)+|^(?:an?|the)\s+", re.IGNORECASE)
# Lengths are in Chinese characters, see ``LATIN_FACTOR``. Another value of any of these accepts other queries.
PROMPT_RUN = 10  # characters of the prompt in a row that nobody writes by chance
SHORTEST_TITLE = 5  # a title from this length on may not stand in a query
MOST_MET = 256  # queries that are looked at for one hash: the time is not the square of their number
SAME_FROM = 0.75  # Jaccard similarity of the shingles from which two queries are one


def reject_reason(query: str, title: str, abstract: str, language: str, config: QueriesConfig) -> str:
    """Why one query cannot be used for its patent, or an empty string. Near-duplicates need ``near_duplicates``."""
    factor = LATIN_FACTOR if language == "en" else 1
    text, source = plain(query), plain(abstract)
    if not text:
        return "empty"
    if len(query) < config.min_chars * factor:
        return "too_short"
    if len(query) > config.max_chars * factor:
        return "too_long"
    if language != "other" and detect_language(query) != language:
        return "wrong_language"
    if _BOILERPLATE.search(query):
        return "boilerplate"
    if repeats(query, _prompt_text(), abstract, language):
        return "prompt_repeated"
    subject = plain(_TITLE_PRAISE.sub("", title))
    if len(subject) >= SHORTEST_TITLE * factor and subject in text:
        return "title_copied"
    if any(piece in source for piece in _pieces(text, config.copy_chars * factor + 1)):
        return "abstract_copied"
    return ""


def repeats(query: str, told: str, abstract: str, language: str) -> bool:
    """Whether a query repeats ``PROMPT_RUN`` characters of what its model was ``told``, as ``plain`` gives it, that
    the abstract does not have."""
    run, source = PROMPT_RUN * (LATIN_FACTOR if language == "en" else 1), plain(abstract)
    return any(piece in told and piece not in source for piece in _pieces(plain(query), run))


def near_duplicates(queries: Sequence[str], abstracts: Sequence[str]) -> list[bool]:
    """True where a query says nearly the same as an earlier one of another document.

    The same document published twice (equal abstracts) may be asked for twice. Candidates are found by the four
    smallest hashes of a query's character triples, so two queries alike at 0.75 meet with a probability above 0.99,
    unless ``MOST_MET`` others share such a hash with them: a phrase that is in every query tells none apart.
    """
    documents = [abstract_key(abstract) for abstract in abstracts]
    shingles: list[frozenset[int]] = []
    meeting: dict[tuple[int, int], list[int]] = defaultdict(list)
    found = []
    for i, query in enumerate(queries):
        hashes = _shingles(query)
        mine = frozenset(hashes.tolist())
        shingles.append(mine)
        places = list(enumerate((hashes * _ODD).min(axis=1).tolist())) if mine else []
        rivals = {j for place in places for j in meeting[place]}
        repeated = any(
            documents[j] != documents[i] and len(mine & shingles[j]) >= SAME_FROM * len(mine | shingles[j])
            for j in rivals
        )
        found.append(repeated)
        if not repeated:
            for place in places:
                if len(meeting[place]) < MOST_MET:
                    meeting[place].append(i)
    return found


_ODD = np.array([[0x9E3779B97F4A7C15], [0xC2B2AE3D27D4EB4F], [0x165667B19E3779F9], [0xD6E8FEB86659FD93]], np.uint64)


def _shingles(query: str) -> NDArray[np.uint64]:
    """A hash of each run of three characters: their code points, mixed as in MurmurHash3's finalizer."""
    points = np.frombuffer(plain(query).encode("utf-32-le"), np.uint32).astype(np.uint64)
    runs = points[:-2] | points[1:-1] << np.uint64(21) | points[2:] << np.uint64(42)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        runs = (runs ^ runs >> np.uint64(33)) * np.uint64(factor)
    return np.asarray(runs ^ runs >> np.uint64(33), np.uint64)


def _pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(len(text) - size + 1)]


@lru_cache(maxsize=1)
def _prompt_text() -> str:
    """Everything our prompts say, without what they say about the patent."""
    return "|".join(
        plain(message["content"]) for language in EXAMPLES for message in chat_messages("", "", "claim", language, 0)
    )
