"""What `serve run pipelines.serve:app NAME=VALUE …` makes of its arguments."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from patent_embed.errors import UserError

pytest.importorskip("ray.serve", reason="ray[serve] is not installed")


def test_serve_run_hands_its_arguments_to_the_application(tmp_path: Path) -> None:
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as as_serve_run_does

    from pipelines.serve import app

    output = str(tmp_path / "empty")
    with pytest.raises(UserError, match="holds no finished run"):
        as_serve_run_does(app, {"output": output, "shards": "4", "gpus": "0.5"})
    with pytest.raises(ValidationError, match=r"shards\s+Input should be greater than or equal to 1"):
        as_serve_run_does(app, {"output": output, "shards": "0"})
    with pytest.raises(ValidationError, match=r"shard\s+Extra inputs are not permitted"):
        as_serve_run_does(app, {"output": output, "shard": "4"})
    with pytest.raises(ValidationError, match=r"output\s+Field required"):
        as_serve_run_does(app, {})
