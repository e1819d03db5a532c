"""Columns of code lists."""

from __future__ import annotations

import pyarrow as pa

from patent_embed import ipc
from patent_embed.data.codes import flattened, main_groups

CODES = [["G06T3/4076", "A01B1/00"], [], ["H04L2209/80"], None, ["A01B1/00"]]


def test_each_code_has_its_patent_and_main_group() -> None:
    column = pa.chunked_array([pa.array(part, pa.list_(pa.string())) for part in (CODES[:2], CODES[2:])])
    for codes in (column, pa.concat_tables([pa.table({"codes": column})] * 2)["codes"][5:]):
        owner, code = flattened(codes)
        assert owner.tolist() == [0, 0, 2, 4]
        assert code.to_pylist() == ["G06T3/4076", "A01B1/00", "H04L2209/80", "A01B1/00"]
        assert main_groups(code).to_pylist() == [ipc.main_group(each) for each in code.to_pylist()]
    assert flattened(column[:0])[0].tolist() == []
