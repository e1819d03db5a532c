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


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("G06T-003/40", ["G06T3/40"]),
        ("G06T-0003/40 | H04N-0005/232", ["G06T3/40", "H04N5/232"]),
        ("G06T0003400000", ["G06T3/40"]),  # DOCDB's fixed columns: four digits and six
        ("H04N0005232000;A61K0031419600", ["H04N5/232", "A61K31/4196"]),
        ("G06T   3/40        20060101AFI20190101BHCN", ["G06T3/40"]),
        ("A61K 31/4196 (20060101)", ["A61K31/4196"]),
        ("G06T3／40 G06T5∕00", ["G06T3/40", "G06T5/00"]),
        ("G06T3\\40", ["G06T3/40"]),
        ("G06T3\\/40", ["G06T3/40"]),  # JSON's escape of a slash
        ("Int. Cl.7: G06T 3/40", ["G06T3/40"]),
        ("Int.Cl.⁷G06T3/40", ["G06T3/40"]),
        ("IPC(8): G06T 3/40; CPC-G06T3/4007", ["G06T3/40", "G06T3/4007"]),
        ("H04N  5/225 Z", ["H04N5/225"]),
        ("H01L21/02;H01L21/30,515D", ["H01L21/02", "H01L21/30"]),
        ("G06T340", ["G06T3/40"]),  # three digits can only be one and two
        ("G06F1730", []),  # 17/30 or 1/730
        ("A61K314196", []),
        ("C12R1:19", []),  # an indexing code of the old IPC
        ("G06T1234567890123", []),
    ],
)
def test_spellings(text: str, codes: list[str]) -> None:
    assert ipc.find_codes(text) == codes
    assert list(ipc.leaf_codes(text)) == codes


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("B → B25 → B25B → B25B21/00 → B25B21/004", ["B25B21/004"]),
        ("G → G06T3/00 → G06T3/40; H → H04N5/00(2006.01) → H04N5/232", ["G06T3/40", "H04N5/232"]),
        ("G → G06T3/00 → G06T3/40, H → H04N5/00 → H04N5/232", ["G06T3/40", "H04N5/232"]),
        ("G > G06 > G06T > G06T3/00 > G06T3/40", ["G06T3/40"]),
        ("G06T3/00 -> G06T3/40 H04N5/00 -> H04N5/232", ["G06T3/40", "H04N5/232"]),
        ("G; G06; G06T; G06T3/00; G06T3/40; G06T3/4007; H; H04; H04N; H04N5/232", ["G06T3/4007", "H04N5/232"]),
        ("['G', 'G06', 'G06T', 'G06T3/00', 'G06T3/40']", ["G06T3/40"]),
        ("G; G06; G06T; G06T3/00; G06T3/40; G06T5/00", ["G06T3/40", "G06T5/00"]),  # no step of that path
        ("G06T3/40; G06T3/4007", ["G06T3/40", "G06T3/4007"]),  # a list, in which both are codes
        ("G06T3/40/H04N5/232", ["G06T3/40", "H04N5/232"]),
        ("", []),
    ],
)
def test_only_the_end_of_a_path_is_a_code(text: str, codes: list[str]) -> None:
    assert list(ipc.leaf_codes(text)) == codes


@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    assert set(ipc.leaf_codes(text)) <= set(ipc.find_codes(text))


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
