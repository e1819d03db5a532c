"""What a model folder may hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from patent_embed.encoder.encoder import Encoder
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
