"""A benchmark as a BEIR folder, which mteb and ir_datasets read, too.

Beside BEIR's files there are ``excluded.tsv``, ``benchmark.json`` with counts, licence and digest, and ``README.md``,
by whose header Hugging Face's ``datasets``, and so mteb, find the files. It takes files of one format only, so
judgements are written a second time, as JSON lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
import yaml

from patent_embed.benchmark.making import CITING, CLAIM, IN, OUT, TITLE, WRITTEN, Made
from patent_embed.benchmark.reading import EXCLUDED, QRELS_FOLDER
from patent_embed.benchmark.tables import TEST
from patent_embed.folders import folder_at, write_atomic, write_json
from patent_embed.hashing import file_digest, text_digest

ABOUT, CARD = "benchmark.json", "README.md"
FILES = ("corpus.jsonl", "queries.jsonl", QRELS_FOLDER, EXCLUDED, ABOUT, CARD)
SCHEMA_VERSION = 1
NO_LICENCE = "not stated"
_HEADER = ("query-id", "corpus-id", "score")
PARTS = {
    TEST: "all queries",
    f"{TEST}_{TITLE}": "a title asks for its patent",
    f"{TEST}_{WRITTEN}": "a written query asks for its patent",
    f"{TEST}_{CLAIM}": "a first claim asks for its patent",
    f"{TEST}_{CITING}": "title and abstract of a patent ask for what it cites",
    f"{TEST}_{IN}": "the same, of the cited patents those that share a three-character class with the citing one",
    f"{TEST}_{OUT}": "the same, of the cited patents those that share none",
}


def write_beir(folder: Path, name: str, made: Made, licence: str, source: dict[str, Any]) -> dict[str, Any]:
    """Write the folder, and return what its ``benchmark.json`` says.

    Args:
        licence: what others may do with it.
        source: what it was made of, JSON-able.
    """
    folder_at(folder).delete(QRELS_FOLDER)  # parts of an earlier writing would be read as parts of this one
    (folder / QRELS_FOLDER).mkdir(parents=True)
    _write(folder / "corpus.jsonl", map(_json, made.documents))
    _write(folder / "queries.jsonl", map(_json, made.queries))
    for split, rows in made.qrels.items():
        _write(folder / QRELS_FOLDER / f"{split}.tsv", _tabbed([_HEADER, *rows]))
        _write(folder / QRELS_FOLDER / f"{split}.jsonl", (_json(dict(zip(_HEADER, row, strict=True))) for row in rows))
    _write(folder / EXCLUDED, _tabbed([_HEADER[:2], *made.excluded]))
    parts = {
        split: {"about": PARTS[split], "judgements": len(made.qrels[split])} for split in PARTS if split in made.qrels
    }
    about = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "license": licence,
        "digest": digest_of(folder),
        "counts": made.counts,
        "parts": parts,
        "source": source,
    }
    write_json(folder / ABOUT, about)
    write_atomic(folder / CARD, _card(about).encode())
    return about


def digest_of(folder: Path) -> str:
    """SHA-256 over the names and contents of a benchmark's documents, queries, judgements and exclusions."""
    paths = [
        folder / "corpus.jsonl",
        folder / "queries.jsonl",
        folder / EXCLUDED,
        *(folder / QRELS_FOLDER).glob("*.tsv"),
    ]
    names = sorted((path.relative_to(folder).as_posix(), path) for path in paths)
    return text_digest(*(f"{name}\0{file_digest(path)}\n" for name, path in names))


def _tabbed(rows: Sequence[Sequence[object]]) -> Iterable[str]:
    return ("\t".join(map(str, row)) for row in rows)


def _json(line: dict[str, Any]) -> str:
    return orjson.dumps(line).decode()


def _write(path: Path, lines: Iterable[str]) -> None:
    write_atomic(path, "".join(f"{line}\n" for line in lines).encode())


def _card(about: dict[str, Any]) -> str:
    """``README.md``: the header that ``datasets`` reads, and what the parts are."""
    judged = [{"split": split, "path": f"{QRELS_FOLDER}/{split}.jsonl"} for split in about["parts"]]
    single = {name: [{"split": name, "path": f"{name}.jsonl"}] for name in ("corpus", "queries")}
    configs = [
        {"config_name": "default", "data_files": judged},
        *({"config_name": name, "data_files": files} for name, files in single.items()),
    ]
    licence = {"license": "other", "license_name": about["license"]} if about["license"] != NO_LICENCE else {}
    header = yaml.safe_dump({"configs": configs, **licence}, sort_keys=False, allow_unicode=True)
    parts = "\n".join(
        f"| `{split}` | {part['judgements']:,} | {part['about']} |" for split, part in about["parts"].items()
    )
    return (
        f"---\n{header}---\n# {about['name']}\n\n"
        f"{about['counts']['documents']:,} patents, {about['counts']['queries']:,} queries. "
        f"Licence: {about['license']}. SHA-256 of the content: `{about['digest']}`.\n\n"
        f"| part | judgements | what is asked |\n| --- | ---: | --- |\n{parts}\n\n"
        "A query's own family, named in `excluded.tsv`, is no candidate for "
        "what the patent cites: a program that does not read that file finds it there, and its figures are lower.\n"
        f"\n```json\n{json.dumps(about['source'], indent=1, ensure_ascii=False)}\n```\n"
    )
