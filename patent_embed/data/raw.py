"""A record as a format yields it, before anything is known of its meaning, and the reasons for rejecting one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

REASONS = (
    "unreadable_file",
    "archive_too_large",
    "bad_encoding",
    "invalid_json",
    "invalid_xml",
    "torn_row",
    "not_an_object",
    "missing_publication_number",
    "missing_title",
    "missing_abstract",
    "placeholder_abstract",
    "abstract_too_short",
    "missing_classifications",
    "no_full_code",
    "only_indexing_codes",
    "duplicate_publication_number",
    "missing_id",
    "missing_text",
    "duplicate_id",
)


@dataclass(slots=True)
class RawRecord:
    """One record of a file: its fields, or why there are none.

    Attributes:
        source: the file and the place in it: ``a.jsonl:12`` (line, from 1), ``a.json[3]`` (element, from 0),
            ``a.zip!inner.xml[2]`` (a file in an archive), ``a.xlsx!Sheet1:5`` (row of a sheet, from 1).
        fields: name → value as the file has them: texts, numbers, lists, objects, None, bytes, dates. XML formats hand
            out the canonical names of ``patent_embed.data.fields``. What is no mapping becomes a ``not_an_object``.
        reason: empty, or one of ``REASONS``: the record could not be read, ``fields`` means nothing.
        detail: what people should know of the reject.
        format: name of the format that read it. ``patent_embed.data.reading`` sets it, a format need not.
        encoding: of the text, where the format had to find it out ("utf-8", "gb18030", ...); else empty.
    """

    source: str
    fields: Any = None
    reason: str = ""
    detail: str = ""
    format: str = ""
    encoding: str = ""


def rejected(source: str, reason: str, detail: str) -> RawRecord:
    """A record, or a file, that cannot be read; ``reason`` is one of ``REASONS``."""
    return RawRecord(source, None, reason, detail)
