"""Mutated records through every format: nothing is raised, every reject has a reason, nothing takes long.

    python benchmarks/fuzz_records.py --count 100000 --seed 1

Files of every format are made of generated patents, then bytes are changed, cut out, put in, repeated or exchanged
between files, and values of JSON are replaced by others. Printed: how many files and records, the reasons, the slowest
file, and seconds.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import random
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed.data.raw import REASONS
from patent_embed.data.reading import read_file
from patent_embed.data.records import PatentTextParser, Record, RecordParser, TextParser, to_table

ODD_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        10000001.0,
        float("nan"),
        float("inf"),
        10**400,
        "",
        " ",
        "nan",
        "N/A",
        "无",
        "[]",
        "{}",
    ),
    *(
        [],
        {},
        [[]],
        [None],
        {"": None},
        {"zh": "一种装置"},
        {"lang": "zh"},
        [{"code": "G06T3/40", "leaf": False}],
        "[" * 50,
    ),
    *(
        "\ud800",
        "\x00",
        "\ufeff",
        "<p>",
        "&lt;p&gt;",
        "&#x110000;",
        "G06T3/40",
        "G → G06T3/00 → G06T3/40",
        "20211309",
        "CN1A",
    ),
    *(
        {"data": [{"title": 1}]},
        {"hits": {"hits": [{"_source": 1}]}},
        {"columns": [1], "data": [[1]]},
        ["a", {"text": ["b"]}],
    ),
)
LONG = "一种图像放大装置，包括采集模块、插值模块和输出模块，插值模块根据边缘方向选择权重。"


def patent(number: int) -> dict[str, Any]:
    """A valid record."""
    return {
        "publication_number": f"CN{110000000 + number}A",
        "title": {"zh": "一种装置", "en": "A device"} if number % 3 else "一种装置",
        "abstract": [LONG, LONG] if number % 2 else f"<p>{LONG}</p>",
        "classifications": [{"code": "G06T3/40", "tree": ["G06T3/00"]}, "H04N 5/232"],
        "claims": "1. 一种装置。\n2. 如权利要求1所述的装置。",
        "citations": ["US-8024075-B2"],
        "family_id": number,
        "公开日": "2020.01.31",
        "申请人": "甲;乙",
    }


def flat(number: int) -> dict[str, str]:
    """The same for a table."""
    return {
        "公开（公告）号": f"CN{110000000 + number}A",
        "标题": "一种装置",
        "摘要": LONG,
        "IPC": "G06T3/40; H04N5/232",
    }


def table(delimiter: str, encoding: str) -> bytes:
    """A table as text."""
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(flat(0)), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(map(flat, range(4)))
    return sink.getvalue().encode(encoding)


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip archive."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return sink.getvalue()


def parquet() -> bytes:
    """A Parquet file."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([flat(number) for number in range(4)]), sink)
    return sink.getvalue()


XML = """<?xml version="1.0" encoding="UTF-8"?>
<exchange-documents xmlns="http://www.epo.org/exchange"><exchange-document country="CN" doc-number="110000001" kind="A">
<bibliographic-data><classifications-ipcr><classification-ipcr><text>G06T   3/40        20060101AFI</text>
</classification-ipcr></classifications-ipcr><invention-title lang="en">Image scaler &amp; co</invention-title>
</bibliographic-data><abstract lang="en"><p>An image scaling apparatus with <b>weights</b> that follow the edge.</p>
</abstract></exchange-document></exchange-documents>"""
PAGE = f"""<html><table><tr><th>公开号</th><th>标题</th><th>摘要</th><th>IPC</th></tr>
<tr><td>CN110000001A</td><td>一种装置</td><td>{LONG}</td><td>G06T3/40</td></tr></table></html>"""
LABELLED = f"公开号：CN110000001A\n标题：一种装置\n摘要：{LONG}\nIPC：G06T3/40\n"


def originals() -> dict[str, bytes]:
    """File name → a good file of it."""
    records = [patent(number) for number in range(4)]
    lines = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    return {
        "a.json": json.dumps(records[0], ensure_ascii=False).encode(),
        "b.json": json.dumps(records, indent=1).encode(),
        "c.jsonl": lines.encode(),
        "d.jsonl": lines.encode("gb18030"),
        "e.json": lines.encode("utf-16"),
        "f.json": json.dumps({"total": 4, "data": records}, ensure_ascii=False).encode(),
        "g.json": json.dumps({record["publication_number"]: record for record in records}).encode(),
        "h.jsonl.gz": gzip.compress(lines.encode()),
        "i.csv": table(",", "utf-8-sig"),
        "j.tsv": table("\t", "gb18030"),
        "k.zip": zipped({"a.json": json.dumps(records[0]).encode(), "b.csv": table(";", "utf-8")}),
        "l.parquet": parquet(),
        "m.xml": XML.encode(),
        "n.txt": LABELLED.encode(),
        "o.xls": PAGE.encode(),
    }


def mutated(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Changed in one to four places."""
    for _ in range(rng.randint(1, 4)):
        if not content:
            return content
        begin = rng.randrange(len(content))
        end = min(len(content), begin + rng.choice((1, 1, 2, 8, 64, 512)))
        kind = rng.randrange(7)
        if kind == 0:
            content = content[:begin] + rng.randbytes(end - begin) + content[end:]
        elif kind == 1:
            content = content[:begin] + content[end:]
        elif kind == 2:
            content = content[:end] + content[begin:]
        elif kind == 3:
            content = content[:begin]
        elif kind == 4:
            other = rng.choice(others)
            place = rng.randrange(len(other))
            content = content[:begin] + other[place : place + 200] + content[end:]
        elif kind == 5:
            content = (
                content[:begin]
                + rng.choice((b'"', b"{", b"}", b"[", b"]", b"\n", b"\x00", b"<", b"\\", b"\xff"))
                + content[begin:]
            )
        else:
            content = (
                content[:begin]
                + rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"NaN", b"'", b",,,,", b"&#0;"))
                + content[begin:]
            )
    return content


def with_odd_value(record: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One or two values of a record replaced, or a name changed."""
    record = dict(record)
    for _ in range(rng.randint(1, 2)):
        name = rng.choice(list(record))
        if rng.random() < 0.2:
            record[rng.choice(("", "data", "text", "biblio", "摘要", "IPC", "leaf", "lens_id", "title_localized"))] = (
                record.pop(name)
            )
        else:
            record[name] = rng.choice(ODD_VALUES)
    return record


def files(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """(name, content) of mutated files."""
    rng = random.Random(seed)
    good = originals()
    contents = list(good.values())
    for number in range(count):
        if number % 4 == 0:
            odd = with_odd_value(patent(number), rng)
            yield "odd.json", json.dumps(odd, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
        else:
            name = rng.choice(list(good))
            yield name, mutated(good[name], contents, rng)


def check(parser: RecordParser, name: str, content: bytes) -> list[Record]:
    """The records of one file.

    Raises:
        AssertionError: a reject has no reason or detail, or a record no place.
    """
    raws = list(read_file(name, lambda: io.BytesIO(content)))
    records = [record for raw in raws for record in parser.parse_raw(raw)]
    inside = sum(1 for raw in raws for _ in parser.unwrapped(raw))
    assert len(records) == inside, f"{inside} records in, {len(records)} out"
    for record in records:
        assert record.source.startswith(name), record
        assert not record.reason or (record.reason in REASONS and record.detail), record
        assert record.reason or (record.publication_number and record.abstract), record
    to_table(records)  # what a table cannot hold would stop the run
    return records


def main() -> None:
    """Fuzz, and print what came out."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--count", type=int, default=100_000, help="mutated files")
    arguments.add_argument("--seed", type=int, default=1)
    told = arguments.parse_args()
    parsers: tuple[Callable[[], RecordParser], ...] = (RecordParser, PatentTextParser, TextParser)
    reasons: Counter[str] = Counter()
    began, slowest, records = time.perf_counter(), (0.0, "", b""), 0
    for number, (name, content) in enumerate(files(told.count, told.seed)):
        start = time.perf_counter()
        try:
            found = check(parsers[0 if number % 8 else 1 + number // 8 % 2](), name, content)
        except BaseException:
            print(f"file {number} ({name}): {content!r}")
            raise
        slowest = max(slowest, (time.perf_counter() - start, name, content))
        records += len(found)
        reasons.update(record.reason or "usable" for record in found)
    seconds = time.perf_counter() - began
    print(f"{told.count:,} files, {records:,} records, {seconds:.0f} s; slowest {slowest[0]:.2f} s ({slowest[1]})")
    for reason, count in reasons.most_common():
        print(f"{count:>10,}  {reason}")


if __name__ == "__main__":
    main()
