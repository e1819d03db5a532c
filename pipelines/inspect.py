"""``patent-embed inspect``: what would be read of a folder, before anything runs. Plain Python, without Ray."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping

from patent_embed.config.data import DataConfig
from patent_embed.data.inputs import PatentFiles, find_input
from patent_embed.data.parsers import parser_of
from patent_embed.data.records import Record
from patent_embed.data.survey import Survey, advice, read_all
from patent_embed.progress.terminal import WIDTH, say
from patent_embed.text import columns, cut, visible

_SHOWN_UNUSED = 30  # names of fields, the most frequent ones
_JSON = ("publication_number", "title", "abstract", "codes", "reason", "source")
_WHOLE = ("publication_number", "title", "abstract")


def run(config: DataConfig, *, json_lines: bool = False, limit: int | None = None) -> None:
    """Read ``config.data_dir``, and print what was found.

    Args:
        json_lines: print one JSON object a record, and nothing else.
        limit: records of each file that are looked at, at most; None: all.
    """
    found, parser = find_input(config.data_dir), parser_of(config)
    records = read_all(parser, found, limit)
    try:
        if json_lines:
            ascii_only = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")
            for _, record in records:
                found_in = {name: getattr(record, name) for name in _JSON}
                print(visible(json.dumps(found_in, ensure_ascii=ascii_only)))
        else:
            survey = Survey(parser.names)
            for names, record in records:
                survey.add(names, record)
            say("\n".join(table(found, survey)))
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough; what is left of the buffer has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def table(found: PatentFiles, survey: Survey) -> list[str]:
    """What ``inspect`` shows, line by line."""
    rejected = survey.reasons.total()
    lines = [f"{len(found.files):,} files in {found.root}", *found.notes()]
    lines += [f"{survey.records:,} records: {survey.records - rejected:,} patents, {rejected:,} rejected"]
    lines += [f"{survey.repeated:,} patents have the number of an earlier one"] if survey.repeated else []
    counts = {"format": survey.layouts, "encoding": survey.encodings, "language": survey.languages}
    lines.append("")
    for name, each in counts.items():
        lines += _beside(name, 10, counted(each))
    if survey.reasons:
        lines += ["", "rejected, with the first of each reason"]
        lines += [line for reason, count in survey.reasons.most_common() for line in _reject(survey, reason, count)]
    for number, record in enumerate(survey.examples, start=1):
        lines += ["", f"as it is read, {number}: {record.source}", *_whole(record)]
    return lines + _unused(survey)


def counted(counts: Mapping[str, int]) -> str:
    """``csv 200, json 60``, the most frequent first; what has no name is left out."""
    return ", ".join(f"{name} {count:,}" for name, count in Counter(counts).most_common() if name)


def _reject(survey: Survey, reason: str, count: int) -> list[str]:
    first = survey.rejects[reason]
    return [f"{count:10,}  {reason}", *_wrapped(f"{first.source}: {first.detail}".rstrip(": "), 12)]


def _whole(record: Record) -> list[str]:
    shown = {name: getattr(record, name) for name in _WHOLE}
    shown |= {"codes": ", ".join(record.codes), "indexing codes": ", ".join(record.indexing_codes)}
    shown |= {
        "claims": f"{len(record.claims):,}, {sum(map(len, record.claims)):,} characters" if record.claims else "",
        "description": f"{len(record.description):,} characters" if record.description else "",
        "citations": ", ".join(_cited(record)),
        "family": record.family_id or "",
        "published": record.publication_date or "",
        "applicants": "; ".join(record.applicants or ()),
        "read as": ", ".join(filter(None, (record.layout, record.encoding, record.language))),
    }
    return [line for name, text in shown.items() for line in _beside(f"  {name}", 22, text)]


def _cited(record: Record) -> Iterator[str]:
    """``CN1A``, and with a category ``CN1A (X)``."""
    numbers = record.citations or ()
    for number, category in zip(numbers, record.citation_categories or [""] * len(numbers), strict=True):
        yield f"{number} ({category})" if category else number


def _unused(survey: Survey) -> list[str]:
    counts, near = survey.unused()
    lines = ["", "fields that are there and not used"] if counts else []
    lines += [
        f"{count:10,}  {cut(' '.join(name.split()), WIDTH - 12)}" for name, count in counts.most_common(_SHOWN_UNUSED)
    ]
    if (more := len(counts) - _SHOWN_UNUSED) > 0:
        lines.append(f"{'':10}  and {more:,} others")
    return lines + (["", *advice(near)] if near else [])


def _beside(name: str, width: int, text: str) -> list[str]:
    """A name, and its text in lines beside it; nothing where there is no text."""
    if not text:
        return []
    first, *more = _wrapped(text, width)
    return [f"{name:{width}}{first.lstrip()}", *more]


_PIECE = re.compile(r"[!-~]+\s*|.")  # a word of ASCII, or one character


def _wrapped(text: str, indent: int) -> list[str]:
    """A text in lines of the terminal's width, cut where a column is full: Chinese has no blanks to break at."""
    room, lines, line = WIDTH - indent - 1, list[str](), ""
    for word in _PIECE.findall(text):
        if line and columns(line + word.rstrip()) > room:
            lines.append(line.rstrip())
            line = ""
        line += word
    return [" " * indent + each for each in [*lines, line.rstrip()]]
