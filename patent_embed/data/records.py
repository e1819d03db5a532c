"""Patent records as they are found: bytes of a file to patents, and to rejects with a reason.

Nothing here raises for bad data: a file, line or record that cannot be used becomes a row with its reason.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, ClassVar

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed import ipc
from patent_embed.data.cleaning import SURROGATE, clean_abstract, clean_text, decode, detect_language
from patent_embed.data.schemas import RECORDS

SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet")
QUERY_CACHE_NAME = "llm_queries_cache.json"

# The field names of the pipeline's layout come first; the others are those of common exports.
FIELD_NAMES: dict[str, tuple[str, ...]] = {
    "publication_number": ("publication_number", "patent_number", "公开（公告）号", "公开(公告)号", "公开号", "申请号"),
    "title": ("title", "title_text", "invention_title", "名称", "专利名称", "标题", "发明名称"),
    "abstract": ("abstract", "abstract_text", "摘要"),
    "classifications": (
        *("classifications", "classification", "ipc_codes", "cpc_codes", "ipc_code", "cpc_code", "ipc", "cpc"),
        *("IPC", "CPC", "分类号", "IPC分类号", "主分类号"),
    ),
}
REASONS = (
    "unreadable_file",
    "bad_encoding",
    "invalid_json",
    "not_an_object",
    "missing_publication_number",
    "missing_title",
    "missing_abstract",
    "abstract_too_short",
    "missing_classifications",
    "no_full_code",
    "only_indexing_codes",
    "duplicate_publication_number",
    "missing_id",
    "missing_text",
    "duplicate_id",
)


@dataclass
class Record:
    """One parsed record.

    Attributes:
        source: file, and line or place in it.
        reason: empty for a usable patent, otherwise one of ``REASONS``, with its ``detail`` for people.
        cut_chars: by how many characters the abstract was too long.
    """

    source: str
    publication_number: str = ""
    title: str = ""
    abstract: str = ""
    codes: list[str] = field(default_factory=list)
    indexing_codes: list[str] = field(default_factory=list)
    language: str = ""
    reason: str = ""
    detail: str = ""
    cut_chars: int = 0

    def reject(self, reason: str, detail: str = "") -> Record:
        """This record as one that cannot be used; ``reason`` is one of ``REASONS``, ``detail`` is for people."""
        self.reason, self.detail = reason, detail[:200]
        return self


@dataclass(frozen=True)
class RecordParser:
    """Turns files into records.

    Args:
        min_abstract_chars: shorter abstracts are rejected.
        max_abstract_chars: longer abstracts are cut; ``cut_chars`` says by how much.
    """

    min_abstract_chars: int = 20
    max_abstract_chars: int = 20_000
    duplicate_reason: ClassVar[str] = "duplicate_publication_number"

    def parse_file(self, path: Path, name: str, opened: Callable[[], BinaryIO] | None = None) -> Iterator[Record]:
        """All records of one file, rejects included.

        ``name`` is what ``source`` calls the file; ``opened`` opens it where it is not on this machine.
        """
        try:
            raw = opened() if opened is not None else path.open("rb")
            if path.suffix == ".parquet":
                with raw:
                    yield from self._parse_parquet(raw, name)
                return
            with raw, gzip.open(raw) if path.suffix == ".gz" else raw as file:
                if path.name.removesuffix(".gz").endswith(".jsonl"):
                    for number, line in enumerate(file, start=1):
                        if line.strip():
                            yield from self.parse_document(line, f"{name}:{number}")
                    return
                content = file.read()
        except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
            yield Record(name).reject("unreadable_file", f"{type(error).__name__}: {error}")
            return
        yield from self.parse_document(content, name)

    def parse_document(self, content: bytes, source: str) -> Iterator[Record]:
        """The records of one JSON document: an object, or a list of objects."""
        text = decode(content)
        if text is None:
            yield Record(source).reject("bad_encoding", f"neither UTF-8 nor GB18030, starts with {content[:8]!r}")
            return
        try:
            document = _load_json(text)
        except ValueError as error:
            yield Record(source).reject("invalid_json", str(error))
            return
        if isinstance(document, list):
            for position, item in enumerate(document):
                yield self.parse_record(item, f"{source}[{position}]")
        else:
            yield self.parse_record(document, source)

    def parse_record(self, raw: Any, source: str) -> Record:
        """One record from one decoded JSON value."""
        record = Record(source)
        if not isinstance(raw, dict):
            return record.reject("not_an_object", f"a JSON {type(raw).__name__}")
        record.publication_number = clean_text(_text_field(raw, "publication_number")).replace(" ", "")
        record.title = clean_text(_text_field(raw, "title"))
        record.abstract = clean_abstract(_text_field(raw, "abstract"))
        for name in ("publication_number", "title", "abstract"):
            if not getattr(record, name):
                return record.reject(f"missing_{name}")
        if len(record.abstract) < self.min_abstract_chars:
            return record.reject("abstract_too_short", f"{len(record.abstract)} characters")
        if len(record.abstract) > self.max_abstract_chars:
            record.cut_chars = len(record.abstract) - self.max_abstract_chars
            record.abstract = record.abstract[: self.max_abstract_chars]
        text = _classification_text(_field(raw, "classifications"))
        if not text.strip():
            return record.reject("missing_classifications")
        codes = ipc.find_codes(text)
        record.codes = [code for code in codes if not ipc.is_indexing(code)]
        record.indexing_codes = [code for code in codes if ipc.is_indexing(code)]
        if not record.codes:
            return record.reject("only_indexing_codes" if codes else "no_full_code", text.strip())
        record.language = detect_language(record.abstract)
        return record

    def _parse_parquet(self, raw: BinaryIO, name: str) -> Iterator[Record]:
        row = 0
        with pq.ParquetFile(raw) as file:
            for batch in file.iter_batches(batch_size=10_000):
                for raw in batch.to_pylist():
                    yield self.parse_record(raw, f"{name}[{row}]")
                    row += 1


@dataclass(frozen=True)
class PatentTextParser(RecordParser):
    """Patents to be embedded: the same, but a classification is not needed."""

    def parse_record(self, raw: Any, source: str) -> Record:
        """One record from one decoded JSON value, with or without a code."""
        record = super().parse_record(raw, source)
        if record.reason in ("missing_classifications", "no_full_code", "only_indexing_codes"):
            record.reason = record.detail = ""
            record.language = detect_language(record.abstract)
        return record


@dataclass(frozen=True)
class TextParser(RecordParser):
    """Any texts: a column of Parquet files, or a field of JSON objects. They become the ``abstract`` of records.

    Args:
        text_column: holds the text, which stays as it is.
        id_column: holds a name of the text, unique in the corpus; None: it is named by its file and place there.
    """

    text_column: str = "text"
    id_column: str | None = None
    duplicate_reason: ClassVar[str] = "duplicate_id"

    def parse_record(self, raw: Any, source: str) -> Record:
        """One record from one decoded JSON object, whose text is its ``abstract``."""
        record = Record(source)
        if not isinstance(raw, dict):
            return record.reject("not_an_object", f"a JSON {type(raw).__name__}")
        name = source if self.id_column is None else raw.get(self.id_column)
        if not isinstance(name, str | int) or name == "":
            return record.reject("missing_id", f"nothing in {self.id_column!r} among {sorted(raw)}")
        record.publication_number = SURROGATE.sub("", str(name))
        text = raw.get(self.text_column)
        if not isinstance(text, str) or not text.strip():
            return record.reject("missing_text", f"no text in {self.text_column!r} among {sorted(raw)}")
        record.abstract = SURROGATE.sub("", text)[: self.max_abstract_chars]
        record.cut_chars = max(0, len(text) - self.max_abstract_chars)
        return record


def to_table(records: list[Record]) -> pa.Table:
    """Records as a table of ``RECORDS``."""
    return pa.Table.from_pylist([asdict(record) for record in records], schema=RECORDS)


def list_files(root: Path) -> tuple[list[Path], int]:
    """Patent files below ``root`` (or ``root`` itself), sorted, and the number of other files that were passed over.

    Passed over: other suffixes, hidden files, and the ``processed`` folder where query caches usually lie; a query
    cache is neither used here nor counted.
    """
    if root.is_file():
        return ([root], 0) if root.name.endswith(SUFFIXES) else ([], 1)
    files = [path for path in root.rglob("*") if path.is_file() and path.name != QUERY_CACHE_NAME]
    found = select_files(path.relative_to(root).as_posix() for path in files)
    return sorted(root / name for name in found), len(files) - len(found)


def select_files(names: Iterable[str]) -> set[str]:
    """Those of the names below a data root that are patent files."""
    return {
        name
        for name in names
        if name.endswith(SUFFIXES)
        and PurePosixPath(name).name != QUERY_CACHE_NAME
        and "processed" not in PurePosixPath(name).parts[:-1]
        and not any(part.startswith(".") for part in PurePosixPath(name).parts)
    }


def _load_json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            return json.loads(text, strict=False)  # also NaN, huge integers and raw control characters in strings
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _field(raw: dict[str, Any], name: str) -> Any:
    """The first field of that meaning that holds something, under any of its names."""
    for key in FIELD_NAMES[name]:
        value = raw.get(key)
        if value not in (None, "", [], {}):
            return value
    return None


def _text_field(raw: dict[str, Any], name: str) -> str:
    """A text field: a string, a number, or language-tagged versions, of which Chinese is preferred."""
    value = _field(raw, name)
    versions = value if isinstance(value, list) else [value]
    texts = []
    for version in versions:
        if isinstance(version, dict):
            language = str(version.get("lang") or version.get("language") or "").lower()
            texts.append((language in ("cn", "zh", "zh-cn", "chinese"), version.get("text")))
        else:
            texts.append((False, version))
    usable = [(chinese, text) for chinese, text in texts if isinstance(text, str | int) and not isinstance(text, bool)]
    return str(max(usable, key=lambda pair: pair[0])[1]) if usable else ""


def _classification_text(value: Any) -> str:
    """All codes in one string, whatever holds them: objects with ``code``, strings, or lists of either."""
    if isinstance(value, str):
        return value.rpartition("→")[2]  # a path through the hierarchy ends in the code itself
    if isinstance(value, dict):
        for key in ("code", "symbol", "leaf_code", "ipc", "cpc"):
            if isinstance(value.get(key), str) and value[key]:
                return _classification_text(value[key])
        return ";".join(_classification_text(child) for child in value.values() if isinstance(child, list | dict))
    if isinstance(value, list):
        return ";".join(_classification_text(item) for item in value)
    return ""
