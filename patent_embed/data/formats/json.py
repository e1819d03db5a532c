"""JSON as it comes: one document, JSON lines, concatenated or comma-separated objects; told by content, not by suffix.

A document is tried first. Where that fails, the text is lines of which most are values of their own (a torn line costs
only itself), or values one after the other. What strict readers refuse and people write (NaN, control characters in
strings, a comma at the end of a line, Python's quotes) is read.
"""

from __future__ import annotations

import ast
import io
import itertools
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, ClassVar, cast

import orjson

from patent_embed.data.encodings import SAMPLE_BYTES, LineDecoder, decode, sniff
from patent_embed.data.formats.base import Format
from patent_embed.data.raw import RawRecord, rejected

_LINES_FROM = 64 << 20  # bytes from which a file is not read as one document where its lines are values
_CHUNK = 1 << 20
_LOOKED_AT = 50  # lines that tell
_LONGEST_LOOKED_AT = 8 << 20
_BEGINS = re.compile(rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?\s*(?:\{\s*[\"'}]|\[\s*(?:[\[{\"\]]|-?\d))")
_MOST_BROKEN = 200  # values one after the other, after which the rest is one reject: it is no JSON
_DEEPEST_LIST = 3  # lists in lists of records
_LINE_SUFFIXES = (".jsonl", ".ndjson", ".jsonlines", ".jl", ".ldjson")
_WIDE = ("utf-16", "utf-32")
_RESUMES = re.compile(r"\n\s*[\[,]?\s*(?=\{)")
_COMMA_AT_END = re.compile(
    r"(\"(?:[^\"\\]|\\.)*\")|,(?=\s*[}\]])", re.DOTALL
)  # after a last element; strings are left alone
_BETWEEN = re.compile(r"[\s,\x1e\ufeff]*")


class Json(Format):
    """JSON in any of its layouts."""

    name: ClassVar[str] = "json"
    order: ClassVar[int] = 10
    suffixes: ClassVar[tuple[str, ...]] = (".json", *_LINE_SUFFIXES)

    def recognises(self, name: str, head: bytes) -> bool:
        """By the brackets at the beginning."""
        if b"\x00" in head[:16]:  # UTF-16 or UTF-32
            head = head[:4096].replace(b"\x00", b"")
        return _BEGINS.match(head) is not None

    def read(self, file: BinaryIO, source: str) -> Iterator[RawRecord]:
        """The records: objects, or the elements of lists of them."""
        content, broken = _beginning(file)
        if broken is not None:
            whole_lines = content[: content.rfind(b"\n") + 1]
            if are_values(whole_lines.split(b"\n")):
                yield from _of_content(whole_lines, source)
            raise broken
        if len(content) < _LINES_FROM:
            yield from _of_content(content, source)
            return
        encoding = sniff(content[:SAMPLE_BYTES], cut=True) or ""
        file.seek(0)
        lines: Iterator[bytes] = iter(file)
        text = io.TextIOWrapper(file, encoding, "replace", newline="\n") if encoding.startswith(_WIDE) else None
        if text is not None:
            lines = (b"\xff" if "\ufffd" in line else line.encode("utf-8", "replace") for line in text)
        first = list(itertools.islice(lines, _LOOKED_AT))
        by_lines = are_values(first)
        if by_lines:
            yield from _of_lines(itertools.chain(first, lines), source, "" if text is None else encoding)
        if text is not None:
            text.detach()
        if not by_lines:
            file.seek(0)
            yield from _of_content(file.read(), source)


def _beginning(file: BinaryIO) -> tuple[bytes, Exception | None]:
    """All of a file, or its first bytes where it is large; and what broke off the reading of a damaged one."""
    reader = cast(io.BufferedIOBase, file)
    chunks, size = list[bytes](), 0
    try:
        while size < _LINES_FROM and (chunk := reader.read1(_CHUNK)):
            chunks.append(chunk)
            size += len(chunk)
    except (OSError, EOFError, zlib.error) as error:
        return b"".join(chunks), error
    return b"".join(chunks), None


def _of_content(content: bytes, source: str) -> Iterator[RawRecord]:
    """The records of a whole file in memory."""
    by_lines = source.lower().removesuffix(".gz").endswith(_LINE_SUFFIXES)
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        yield from _of_no_document(content, source, by_lines)
        return
    place = f"{source}:{_first_line(content)}" if by_lines and not isinstance(document, list) else source
    yield from _of_value(document, place, "utf-8")


def _first_line(content: bytes) -> int:
    return content[: len(content) - len(content.lstrip())].count(b"\n") + 1


def _of_value(value: Any, source: str, encoding: str, depth: int = 0) -> Iterator[RawRecord]:
    if isinstance(value, list):
        for position, item in enumerate(value):
            if isinstance(item, list) and item and isinstance(item[0], dict) and depth < _DEEPEST_LIST:
                yield from _of_value(item, f"{source}[{position}]", encoding, depth + 1)
            else:
                yield RawRecord(f"{source}[{position}]", item, encoding=encoding)
    else:
        yield RawRecord(source, value, encoding=encoding)


def _of_no_document(content: bytes, source: str, by_lines: bool) -> Iterator[RawRecord]:
    """The records of what is no document in UTF-8: another encoding, lines, several values, or broken."""
    if not content.strip(b"\xef\xbb\xbf \t\r\n"):
        if not by_lines:
            yield rejected(source, "invalid_json", "the file is empty")
        return
    decoded = decode(content)
    if decoded is not None and (decoded.encoding != "utf-8" or content.startswith(b"\xef\xbb\xbf")):
        try:
            yield from _of_value(orjson.loads(decoded.text), source, decoded.encoding)
            return
        except orjson.JSONDecodeError:
            content = decoded.text.encode("utf-8", "replace")
    lines = content.split(b"\n")
    if are_values(lines):
        yield from _of_lines(lines, source, "" if decoded is None else decoded.encoding)
    elif decoded is None:
        yield rejected(source, "bad_encoding", f"no known encoding is sure, starts with {content[:8]!r}")
    else:
        yield from _of_values(decoded.text, source, decoded.encoding)


def are_values(lines: list[bytes]) -> bool:
    """Whether at least half of the first lines are objects or lists by themselves."""
    looked_at = values = size = 0
    for line in lines:
        if not (bare := line.strip(b"\xef\xbb\xbf \t\r\n\x1e")) or bare in (b"[", b"]", b","):
            continue
        size += len(line)
        looked_at += 1
        if bare[:1] in b"{[" and not line[:1].isspace() and _may_be_a_value(bare):
            values += 1
        elif len(bare) == 1:
            return False  # a bracket alone: the value goes on in the next line
        if looked_at == _LOOKED_AT or size > _LONGEST_LOOKED_AT:
            break
    return values > 0 and 2 * values >= looked_at


def _may_be_a_value(line: bytes) -> bool:
    """Whether a line is a value, in whatever encoding its texts are."""
    if _line_value(line) is not None:
        return True
    return not line.isascii() and _line_value(line.decode("latin-1").encode()) is not None


def _line_value(line: bytes) -> Any:
    """The value of a line, which may be an element of a list; None where it is none."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        bare = line.strip(b", \t")
    if bare.startswith(b"{'") and bare.endswith(b"}"):  # Python's
        try:
            return _lenient(bare.decode())
        except ValueError:
            return None
    for attempt in dict.fromkeys((bare, bare.removeprefix(b"["), bare.removesuffix(b"]"))):
        if attempt.startswith(b"{"):
            try:
                return orjson.loads(attempt)
            except orjson.JSONDecodeError:
                continue
    return None


def _of_lines(lines: Iterable[bytes], source: str, encoding: str) -> Iterator[RawRecord]:
    """The records of lines, numbered from 1."""
    decoder = LineDecoder()
    for number, line in enumerate(lines, start=1):
        yield from of_line(line, f"{source}:{number}", encoding, decoder)


def of_line(line: bytes, source: str, encoding: str, decoder: LineDecoder) -> Iterator[RawRecord]:
    """The record of one line; a line that is a list has several, one that is blank or a bracket none.

    Args:
        encoding: in which the file was, where the line is no longer in it; else empty.
        decoder: knows the encodings of the lines before.
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _of_odd_line(line, source, encoding, decoder)
    return _of_value(value, source, encoding or "utf-8")


def _of_odd_line(line: bytes, source: str, encoding: str, decoder: LineDecoder) -> Iterator[RawRecord]:
    bare = line.strip(b"\xef\xbb\xbf \t\r\n\x1e")
    if not bare or bare in (b"[", b"]", b",", b"],", b"[]"):
        return
    text = decoder.decode(bare)
    if text is None:
        yield rejected(source, "bad_encoding", f"no known encoding is sure, starts with {bare[:8]!r}")
        return
    value = _line_value(text.encode("utf-8", "replace"))
    if value is None:
        try:
            value = _lenient(text.strip(", \t"))
        except ValueError as error:
            yield rejected(source, "invalid_json", f"{error}; starts with {text[:40]!r}")
            return
    yield from _of_value(value, source, encoding or decoder.encoding)


def _lenient(text: str) -> Any:
    """NaN, huge numbers, control characters in strings; a Python literal.

    Raises:
        ValueError: it is none of these.
    """
    try:
        return json.loads(text, strict=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        if not text.startswith(("{'", "[{'")):
            raise
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise ValueError("neither JSON nor a Python literal") from None


def _of_values(text: str, source: str, encoding: str) -> Iterator[RawRecord]:
    """Values one after the other, each over any number of lines. A broken one ends before the next ``{`` of a line."""
    decoder = json.JSONDecoder(strict=False)
    text = _COMMA_AT_END.sub(r"\1", text)
    place, line, found = _skip(text, 0), 1 + text.count("\n", 0, _skip(text, 0)), 0
    broken = 0  # one after the other
    while place < len(text):
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            broken += 1
            resumes = _RESUMES.search(text, place + 1) if broken < _MOST_BROKEN else None
            end = resumes.end() if resumes is not None else len(text)
            detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            whole = found == 0 and end == len(text)
            yield rejected(source if whole else f"{source}:{line}", "invalid_json", detail)
        else:
            broken = 0
            following = _skip(text, end)
            whole = found == 0 and following == len(text)
            yield from _of_value(value, source if whole else f"{source}:{line}", encoding)
        found += 1
        following = _skip(text, end)
        line += text.count("\n", place, following)
        place = following


def _skip(text: str, place: int) -> int:
    match = _BETWEEN.match(text, place)
    return match.end() if match is not None else place


JSON = Json()
