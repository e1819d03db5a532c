"""What a model folder may hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from patent_embed.config.model import ModelConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.export import export_model
from patent_embed.encoder.model_folder import NamedPrompts, read_sentence_transformer_files
from patent_embed.errors import UserError


def test_unknown_module_and_pooling_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "dense")
    modules = json.loads((folder / "modules.json").read_text())
    extra = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps([*modules, extra]))
    with pytest.raises(UserError, match="Dense"):
        Encoder.load(folder)
    folder = shutil.copytree(tiny_model, tmp_path / "max")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(UserError, match="'max'"):
        Encoder.load(folder)


def test_modules_in_another_order_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    extra = {"idx": 9, "name": "9", "path": "9_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps([modules[0], extra, modules[1]]))
    with pytest.raises(UserError, match=r"Dense' after Transformer; supported are"):
        read_sentence_transformer_files(folder)


INSTRUCTION = "Instruct: 查找\nQuery:"


@pytest.mark.parametrize(
    ("texts", "default", "expected"),
    [
        ({}, None, {}),
        ({"query": "", "document": ""}, None, {}),
        ({"query": INSTRUCTION, "document": ""}, None, {"query": INSTRUCTION, "passage": ""}),
        ({"query": INSTRUCTION}, "query", {"query": INSTRUCTION}),
        ({"search_query": "q: ", "search_document": "d: "}, None, {"query": "q: ", "passage": "d: "}),
        ({"retrieval.query": "q: ", "retrieval.passage": "d: "}, None, {"query": "q: ", "passage": "d: "}),
        ({"passage": "p", "document": "d", "corpus": "c"}, None, {"passage": "p"}),
        # A default that is for neither stands before what has none of its own, as in SentenceTransformer.encode.
        ({"any": "x: "}, "any", {"query": "x: ", "passage": "x: "}),
        ({"any": "x: ", "query": "", "document": ""}, "any", {"query": "x: ", "passage": "x: "}),
        ({"any": "x: ", "query": "q: "}, "any", {"query": "q: ", "passage": "x: "}),
        ({"other": "x: "}, None, {}),
    ],
)
def test_prompts_by_kind(texts: dict[str, str], default: str | None, expected: dict[str, str]) -> None:
    assert NamedPrompts(texts, default).by_kind() == expected


def test_prompts_for_other_tasks_stay(tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    path = folder / "config_sentence_transformers.json"
    prompts = {"query": INSTRUCTION, "search_query": "old", "Clustering": "c: "}
    path.write_text(json.dumps({"prompts": prompts, "default_prompt_name": "Clustering"}))
    encoder = Encoder.load(folder, ModelConfig(query_prompt="新"))
    out = export_model(encoder, tmp_path / "out")
    written = json.loads((out / path.name).read_text())
    assert written["prompts"] == {
        "query": "新", "passage": "c: ", "document": "c: ", "search_query": "新", "Clustering": "c: "
    }  # fmt: skip
    assert written["default_prompt_name"] == "Clustering"
    assert Encoder.load(out).prompts == encoder.prompts
