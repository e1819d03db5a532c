"""The files that make a transformers folder a SentenceTransformer folder: read here, written here, nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from patent_embed.config.model import Kind
from patent_embed.errors import UserError

Pooling = Literal["mean", "cls", "lasttoken"]

_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
# Names of the passage prompt in published models, ours first.
_PASSAGE_NAMES = ("passage", "document", "corpus")


@dataclass(frozen=True)
class SentenceTransformerFiles:
    """What the files say.

    Attributes:
        transformer: folder with config, weights and tokenizer.
        pooling: None where the folder is a plain transformers folder.
        prompts: only those that the files give.
        max_seq_length: tokens, None where not given.
        lower_case: texts are lower-cased before tokenization.
    """

    transformer: Path
    pooling: Pooling | None
    prompts: dict[Kind, str]
    max_seq_length: int | None
    lower_case: bool


def read_sentence_transformer_files(folder: Path) -> SentenceTransformerFiles:
    """Read a SentenceTransformer or plain transformers folder.

    Raises UserError for a module that is not known here: left out, it would change every embedding without a word.
    """
    if not (folder / "modules.json").is_file():
        return SentenceTransformerFiles(folder, None, {}, None, False)
    transformer, pooling = folder, None
    for module in json.loads((folder / "modules.json").read_text(encoding="utf-8")):
        kind, path = module["type"].rpartition(".")[2], folder / module["path"]
        if kind == "Transformer":
            transformer = path
        elif kind == "Pooling":
            pooling = _read_pooling(path / "config.json", _read_json(transformer / "config.json").get("hidden_size"))
        elif kind != "Normalize":
            raise UserError(
                f"model {str(folder)!r} has a module of type {module['type']!r}; only Transformer, Pooling and "
                "Normalize are supported; choose a model without it"
            )
    settings = _read_json(transformer / "sentence_bert_config.json")
    prompts = _read_json(folder / "config_sentence_transformers.json").get("prompts") or {}
    passage = next((prompts[name] for name in _PASSAGE_NAMES if name in prompts), None)
    found: dict[Kind, str | None] = {"query": prompts.get("query"), "passage": passage}
    return SentenceTransformerFiles(
        transformer=transformer,
        pooling=pooling,
        # Two empty prompts are what the library writes when nobody has set any.
        prompts={kind: text for kind, text in found.items() if text is not None} if any(found.values()) else {},
        max_seq_length=settings.get("max_seq_length"),
        lower_case=bool(settings.get("do_lower_case")),
    )


def _read_pooling(path: Path, width: object) -> Pooling:
    config = _read_json(path)
    told = config.get("word_embedding_dimension") or config.get("embedding_dimension") or width
    if isinstance(width, int) and told != width:
        raise UserError(
            f"{path} pools {told} numbers a token, the model has {width}: they do not belong together; fetch the model "
            "again, or name another"
        )
    mode = config.get("pooling_mode") or [name for key, name in _LEGACY_POOLING.items() if config.get(key)]
    mode = mode[0] if isinstance(mode, list) and len(mode) == 1 else mode
    if mode not in get_args(Pooling) or config.get("include_prompt") is False:
        raise UserError(
            f"{path} asks for pooling {mode!r}, include_prompt {config.get('include_prompt', True)}; "
            f"supported are {', '.join(get_args(Pooling))} over all tokens; choose another model"
        )
    return cast(Pooling, mode)


def write_sentence_transformer_files(
    folder: Path, dim: int, pooling: Pooling, prompts: Mapping[Kind, str], max_seq_length: int
) -> None:
    """Make a transformers folder a SentenceTransformer folder that normalises its output.

    The type names and pooling keys are the long-standing ones, which every version of the library reads.
    modules.json is written last: with it the folder is whole.
    """
    modules = []
    for number, (name, path) in enumerate(
        (("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize"))
    ):
        (folder / path).mkdir(exist_ok=True)
        modules.append(
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
        )
    modes = {key: name == pooling for key, name in _LEGACY_POOLING.items()}
    _write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": dim, **modes})
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_seq_length, "do_lower_case": False})
    _write_json(
        folder / "config_sentence_transformers.json",
        {
            "prompts": {
                "query": prompts["query"],
                "passage": prompts["passage"],
                "document": prompts["passage"],  # the name that encode_document() looks for
            },
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )
    _write_json(folder / "modules.json", modules)


def _read_json(path: Path) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
