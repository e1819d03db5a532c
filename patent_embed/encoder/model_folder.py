"""The files that make a transformers folder a SentenceTransformer folder: read here, written here, nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
# Names of the prompts in published models, ours first.
_PROMPT_NAMES: dict[Kind, tuple[str, ...]] = {
    "query": ("query", "search_query", "retrieval.query"),
    "passage": ("passage", "document", "corpus", "search_document", "retrieval.passage"),
}


@dataclass(frozen=True)
class NamedPrompts:
    """Prompts of a folder by name, and the name of that which texts get for which none is named."""

    texts: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None

    def by_kind(self) -> dict[Kind, str]:
        """What the folder puts before a query and a passage.

        A default prompt that is for neither by its name, such as an instruction, stands before whatever has none of
        its own: so does ``SentenceTransformer.encode``.
        """
        found = {
            kind: next((self.texts[name] for name in names if name in self.texts), None)
            for kind, names in _PROMPT_NAMES.items()
        }
        # Two empty prompts are what the library writes when nobody has set any.
        given = {kind: text for kind, text in found.items() if text is not None} if any(found.values()) else {}
        if self.default is not None and self.default in self.texts and _kind_of(self.default) is None:
            given = dict.fromkeys(_PROMPT_NAMES, self.texts[self.default]) | given
        return given

    def beside(self, prompts: Mapping[Kind, str]) -> dict[str, str]:
        """The same names, with ``prompts`` for queries and passages."""
        kinds = {name: _kind_of(name) for name in self.texts}
        return {name: text if (kind := kinds[name]) is None else prompts[kind] for name, text in self.texts.items()}


def _kind_of(prompt: str) -> Kind | None:
    return next((kind for kind, names in _PROMPT_NAMES.items() if prompt in names), None)


@dataclass(frozen=True)
class Dense:
    """A linear layer on the pooled vector, and an activation.

    Attributes:
        path: its folder, below the model's.
        wide, narrow: numbers that it takes and gives.
        activation: the class of its activation, None where not given.
    """

    path: str
    wide: int
    narrow: int
    activation: str | None = None


@dataclass(frozen=True)
class SentenceTransformerFiles:
    """What the files say.

    Attributes:
        transformer: folder with config, weights and tokenizer.
        pooling: None where the folder is a plain transformers folder.
        prompts: only those that the files give.
        max_seq_length: tokens, None where not given.
        lower_case: texts are lower-cased before tokenization.
        dense: layers between pooling and the end.
        dim: numbers of an embedding, None where not given.
        named_prompts: all prompts of the folder, those for queries and passages included.
    """

    transformer: Path
    pooling: Pooling | None
    prompts: dict[Kind, str]
    max_seq_length: int | None
    lower_case: bool
    dense: tuple[Dense, ...] = ()
    dim: int | None = None
    named_prompts: NamedPrompts = NamedPrompts()


def read_sentence_transformer_files(folder: Path) -> SentenceTransformerFiles:
    """Read a SentenceTransformer or plain transformers folder.

    Raises UserError for a module that is not known here: left out, it would change every embedding without a word.
    """
    if not (folder / "modules.json").is_file():
        return SentenceTransformerFiles(folder, None, {}, None, False)
    transformer, pooling, dim, dense = folder, None, None, list[Dense]()
    seen = ""
    for module in json.loads((folder / "modules.json").read_text(encoding="utf-8")):
        kind, path = module["type"].rpartition(".")[2], folder / module["path"]
        if kind == "Transformer":
            transformer = path
        elif kind == "Pooling":
            pooling, dim = _read_pooling(
                path / "config.json", _read_json(transformer / "config.json").get("hidden_size")
            )
        elif kind == "Dense" and seen in ("Pooling", "Dense"):
            dense.append(_read_dense(module["path"], path / "config.json", dim))
            dim = dense[-1].narrow
        elif kind != "Normalize":
            raise UserError(
                f"model {str(folder)!r} has a module of type {module['type']!r} after {seen or 'nothing'}; supported "
                "are Transformer, Pooling, Dense layers and Normalize, in this order; choose a model without it"
            )
        seen = kind
    settings = _read_json(transformer / "sentence_bert_config.json")
    about = _read_json(folder / "config_sentence_transformers.json")
    named = NamedPrompts(about.get("prompts") or {}, about.get("default_prompt_name"))
    return SentenceTransformerFiles(
        transformer=transformer,
        pooling=pooling,
        prompts=named.by_kind(),
        max_seq_length=settings.get("max_seq_length"),
        lower_case=bool(settings.get("do_lower_case")),
        dense=tuple(dense),
        dim=dim,
        named_prompts=named,
    )


def _read_dense(name: str, path: Path, width: int | None) -> Dense:
    config = _read_json(path)
    wide, narrow = config.get("in_features"), config.get("out_features")
    if not isinstance(wide, int) or not isinstance(narrow, int) or width not in (None, wide):
        raise UserError(
            f"{path} takes {wide} numbers and gives {narrow}, what comes before it gives {width}: they do not belong "
            "together; fetch the model again, or name another"
        )
    return Dense(name, wide, narrow, config.get("activation_function"))


def _read_pooling(path: Path, width: object) -> tuple[Pooling, int | None]:
    """How tokens are pooled, and numbers of a pooled vector."""
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
    return cast(Pooling, mode), told if isinstance(told, int) else None


def write_sentence_transformer_files(
    folder: Path,
    width: int,
    pooling: Pooling,
    prompts: Mapping[Kind, str],
    max_seq_length: int,
    *,
    dense: Sequence[Dense] = (),
    named: NamedPrompts | None = None,
) -> None:
    """Make a transformers folder a SentenceTransformer folder that normalises its output.

    The type names and pooling keys are the long-standing ones, which every version of the library reads.
    modules.json is written last: with it the folder is whole.

    Args:
        width: numbers of a token.
        dense: the layers that stand in ``folder`` already.
        named: of the model that this one was made from: its prompts for other tasks stay.
    """
    modules = []
    names = ["Transformer", "Pooling", *("Dense" for _ in dense), "Normalize"]
    for number, name in enumerate(names):
        path = f"{number}_{name}" if number else ""
        (folder / path).mkdir(exist_ok=True)
        modules.append(
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
        )
    others = {} if named is None else named.beside(prompts)
    modes = {key: name == pooling for key, name in _LEGACY_POOLING.items()}
    _write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **modes})
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_seq_length, "do_lower_case": False})
    _write_json(
        folder / "config_sentence_transformers.json",
        {
            "prompts": {
                "query": prompts["query"],
                "passage": prompts["passage"],
                "document": prompts["passage"],  # the name that encode_document() looks for
                **others,
            },
            "default_prompt_name": named.default if named is not None and named.default in others else None,
            "similarity_fn_name": "cosine",
        },
    )
    _write_json(folder / "modules.json", modules)


def _read_json(path: Path) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
