"""A model's folder to a transformers model and its tokenizer, with nothing in them that the folder does not hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from patent_embed.encoder import packing
from patent_embed.errors import UserError

_NAMED = 3  # of the weights that are missing


def load_transformer(folder: Path, inside: Path, *, trust_remote_code: bool) -> tuple[nn.Module, Any]:
    """The model in fp32 for packed attention, and its tokenizer.

    Args:
        folder: the model's, for messages.
        inside: where its weights, settings and tokenizer are.

    Raises:
        UserError: they are not there, are torn, or do not fit together; or the architecture is not supported.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    packing.register()
    try:
        model, found = AutoModel.from_pretrained(
            inside,
            dtype=torch.float32,
            attn_implementation=packing.ATTENTION,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # which are looked for below
        )
        tokenizer = AutoTokenizer.from_pretrained(inside, trust_remote_code=trust_remote_code)
    except ValueError as error:
        kind = _model_type(AutoConfig, inside, trust_remote_code)
        raise UserError(
            f"model {str(folder)!r} ({kind}) cannot be loaded for packed attention: {_line(error)}; "
            "choose a BERT, RoBERTa or decoder model that transformers itself implements"
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
    return model, tokenizer


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
