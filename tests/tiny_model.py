"""An encoder that is made in a second."""

from __future__ import annotations

from pathlib import Path


def write_tiny_model(folder: Path, width: int = 32) -> Path:
    """Write a BERT of two layers with random weights and a character vocabulary below ``folder``; the
    SentenceTransformer folder is returned. ``width``: numbers of a vector, half of them of a head."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    han = [bytes([row + 0xA0, cell + 0xA0]).decode("gb2312") for row in range(16, 56) for cell in range(1, 90)]
    marks = [*"0123456789abcdefghijklmnopqrstuvwxyz", *"，。、；：（）？！%/.,-"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *marks, *(f"##{m}" for m in marks), *han]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
    )
    BertModel(config).save_pretrained(folder / "bert")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    transformer = Transformer(str(folder / "bert"), max_seq_length=128)
    model = SentenceTransformer(
        modules=[transformer, Pooling(width, "mean")], prompts={"query": "问", "passage": ""}, device="cpu"
    )
    model.save(str(folder / "model"))
    return folder / "model"
