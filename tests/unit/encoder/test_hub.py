"""Where a model's folder comes from, and what only looks like one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from patent_embed.encoder.hub import resolve_model
from patent_embed.errors import UserError


def test_resolve_local_and_wrong_names(tiny_model: Path, tmp_path: Path) -> None:
    assert resolve_model(str(tiny_model)) == tiny_model
    with pytest.raises(UserError, match=r"neither modules\.json nor config\.json"):
        resolve_model(str(tmp_path))
    for name in ("./no/such", "bert", "a/b/c"):
        with pytest.raises(UserError, match="neither an existing folder nor a hub id"):
            resolve_model(name)


@pytest.mark.parametrize("settings", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_unreachable_hubs_are_named(settings: dict[str, str], tmp_path: Path) -> None:
    code = """if 1:
        from patent_embed.encoder.hub import resolve_model
        from patent_embed.errors import UserError
        try: resolve_model("some-org/some-model")
        except UserError as error: print(error)"""
    environment = {"PATH": "/usr/bin", "HF_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path), **settings}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment, check=True
    )
    for word in ("'some-org/some-model'", "Local folder", "Hugging Face hub", "ModelScope", "--model_name bundled"):
        assert word in done.stdout
