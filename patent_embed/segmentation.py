"""Chinese word segmentation, quiet and loaded once."""

from __future__ import annotations

import logging
import warnings
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jieba


@cache
def segmenter() -> jieba.Tokenizer:
    """jieba with its own dictionary."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba imports pkg_resources, which warns that it is deprecated
        import jieba

    jieba.setLogLevel(logging.WARNING)
    return jieba.Tokenizer()


def words(text: str) -> list[str]:
    """The words of a text, in lower case, without punctuation and white space."""
    return [word for word in segmenter().cut(text.lower()) if any(map(str.isalnum, word))]
