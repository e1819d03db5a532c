import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed import ipc


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("G06T3/4076", ["G06T3/4076"]),
        ("G06T 3/4076", ["G06T3/4076"]),
        ("G06T3/40(2006.01)I", ["G06T3/40"]),
        ("Ｇ０６Ｔ３／４０（２００６．０１）Ｉ", ["G06T3/40"]),
        ("G06F017/60", ["G06F17/60"]),
        ("G06F0017/60", ["G06F17/60"]),
        ("g06t3/40", ["G06T3/40"]),
        ("E01C5/08(2006.01)I;E01C7/14(2006.01)I;E01C5/08(2006.01)I", ["E01C5/08", "E01C7/14"]),
        ("H04M1/21,G06F9/445", ["H04M1/21", "G06F9/445"]),
        ("['C01B3/042', 'Y02P20/134']", ["C01B3/042", "Y02P20/134"]),
        ("B → B25 → B25B → B25B21/00 → B25B21/004", ["B25B21/00", "B25B21/004"]),
        ("A61K31/4390", ["A61K31/439"]),  # a trailing zero past the second digit is padding
        ("A61K31/00", ["A61K31/00"]),
        ("C12Y101/01001", ["C12Y101/01001"]),
        ("H01M", []),
        ("G06T3", []),
        ("21-01-C0293", []),  # a Locarno class of a design
        ("09-01-B0367", []),
        ("CN201220281304.6", []),
        ("I06T3/40", []),  # there is no section I
        ("G00T3/40", []),
        ("G06T0/40", []),
        ("", []),
    ],
)
def test_find_codes(text: str, codes: list[str]) -> None:
    assert ipc.find_codes(text) == codes


def test_hierarchy() -> None:
    code = "G06T3/4076"
    assert (ipc.section(code), ipc.subclass(code), ipc.main_group(code)) == ("G", "G06T", "G06T3")
    assert ipc.main_group("A61B17/32") == "A61B17"  # not a fixed number of characters


@pytest.mark.parametrize(("code", "indexing"), [("Y02P20/134", True), ("H04L2209/80", True), ("C12Y101/01", False)])
def test_indexing_codes(code: str, indexing: bool) -> None:
    assert ipc.is_indexing(code) is indexing


def test_normalize_code_needs_exactly_one() -> None:
    assert ipc.normalize_code("G06T 3/40") == "G06T3/40"
    assert ipc.normalize_code("G06T3/40;G06T5/00") is None
    assert ipc.normalize_code("nothing") is None


@given(
    st.sampled_from("ABCDEFGHY"),
    st.integers(1, 99),
    st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    st.integers(1, 9999),
    st.integers(0, 99),
)
def test_normal_form_is_a_fixed_point(section: str, class_number: int, letter: str, group: int, sub: int) -> None:
    code = f"{section}{class_number:02d}{letter}{group}/{sub:02d}"
    assert ipc.find_codes(code) == [code]
    assert ipc.find_codes(f"x, {section}{class_number:02d}{letter} {group:04d}/{sub:02d} (2006.01) I") == [code]
