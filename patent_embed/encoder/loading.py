"""A model's folder to a transformers model and its tokenizer, with nothing in them that the folder does not hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from patent_embed.encoder import packing
from patent_embed.errors import UserError

_NAMED = 3  # of the weights that are missing


class Loaded(NamedTuple):
    """A transformers model and its tokenizer.

    Attributes:
        packs: the model reads texts in one row without padding; False: its attention is its own, or one of
            transformers' that does what packed attention does not, and it needs padded batches.
    """

    model: nn.Module
    tokenizer: Any
    packs: bool


def load_transformer(folder: Path, inside: Path, *, trust_remote_code: bool) -> Loaded:
    """The model in fp32, for packed attention where it can compute it, and its tokenizer.

    Args:
        folder: the model's, for messages.
        inside: where its weights, settings and tokenizer are.

    Raises:
        UserError: they are not there, are torn, or do not fit together; or the architecture is not supported.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    packing.register()
    try:
        model, found = _weights(AutoModel, inside, trust_remote_code, packing.ATTENTION)
        packs = packing.keeps_texts_apart(model)
        if not packs:
            model, found = _weights(AutoModel, inside, trust_remote_code, None)
        tokenizer = AutoTokenizer.from_pretrained(inside, trust_remote_code=trust_remote_code)
    except ValueError as error:
        kind = _model_type(AutoConfig, inside, trust_remote_code)
        raise UserError(
            f"model {str(folder)!r} ({kind}) cannot be loaded: {_line(error)}; choose an architecture of "
            "docs/encoders.md"
        ) from None
    except MemoryError:
        raise
    # Whatever a folder holds, transformers raises what its parsers raise: a dozen kinds, none of them documented.
    except Exception as error:  # noqa: BLE001
        raise UserError(
            f"model {str(folder)!r} cannot be loaded ({type(error).__name__}: {_line(error)}); fetch it again, or name "
            "another"
        ) from None
    _require_whole(folder, model, tokenizer, found)
    return Loaded(model, tokenizer, packs)


def _weights(cls: Any, inside: Path, trust_remote_code: bool, attention: str | None) -> tuple[Any, dict[str, Any]]:
    """The model with the named ``attention``, None: what transformers chooses; and what loading found."""
    model, found = cls.from_pretrained(
        inside,
        dtype=torch.float32,
        attn_implementation=attention,
        trust_remote_code=trust_remote_code,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # which are looked for later
    )
    return model, found


def _require_whole(folder: Path, model: Any, tokenizer: Any, found: dict[str, Any]) -> None:
    """Nothing was filled with random numbers, and every token has an embedding."""
    # The pooler reads the first token only, and no pooling here uses it: many folders come without one.
    missing = sorted(name for name in found["missing_keys"] if "pooler" not in name.split("."))
    odd = sorted(str(name) for name, *_ in found["mismatched_keys"] if "pooler" not in str(name).split("."))
    for names, fault in ((missing, "are missing"), (odd, "have other dimensions than its config.json says")):
        if names:
            some = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
            raise UserError(
                f"model {str(folder)!r} is not whole: {len(names)} of its weights {fault} ({some}), and would be "
                "random numbers; fetch it again, or name another"
            )
    rows = model.get_input_embeddings().num_embeddings
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if not 0 <= highest < rows:
        raise UserError(
            f"model {str(folder)!r} has embeddings of {rows:,} tokens, its tokenizer gives ids up to {highest:,}: they "
            "do not belong together; fetch the model again, or name another"
        )


def _model_type(config: Any, inside: Path, trust_remote_code: bool) -> str:
    try:
        return str(config.from_pretrained(inside, trust_remote_code=trust_remote_code).model_type)
    except (ValueError, OSError):
        return "of no known type"


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
