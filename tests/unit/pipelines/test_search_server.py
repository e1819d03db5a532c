"""Who may ask a server, and where judgements go."""

from __future__ import annotations

from pathlib import Path

import pytest

from patent_embed.config.commands import ServeArguments
from patent_embed.errors import UserError
from pipelines.search_server import judgement_log, limits_of


@pytest.mark.parametrize(
    ("host", "token", "said"),
    [
        ("127.0.0.1", "", None),
        ("::1", "", None),
        ("localhost", "", None),
        ("0.0.0.0", "", "lets other machines read"),
        ("192.0.2.7", "", "lets other machines read"),
        ("0.0.0.0", "fifteen letters", "has 15 characters"),
        ("127.0.0.1", "short", "has 5 characters"),
        ("0.0.0.0", "sixteen letters.", None),
    ],
)
def test_other_machines_need_a_token(host: str, token: str, said: str | None) -> None:
    arguments = ServeArguments(output_dir="out", host=host, max_requests=7)
    if said is None:
        limits = limits_of(arguments, token)
        assert (limits.token, limits.requests) == (token, 7)
    else:
        with pytest.raises(UserError, match=said) as error:
            limits_of(arguments, token)
        assert not token or token not in str(error.value)


def test_judgements_go_beside_the_run_or_where_it_is_said(
    tmp_path: Path, s3: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, path in (
        (ServeArguments(output_dir=str(tmp_path)), tmp_path / "judgements.jsonl"),
        (ServeArguments(output_dir=f"{s3}/out", judgements=tmp_path / "j" / "log"), tmp_path / "j" / "log"),
    ):
        log = judgement_log(arguments)
        assert log is not None
        assert log.path == path
        log.close()
    assert judgement_log(ServeArguments(output_dir=f"{s3}/out")) is None
    assert "no judgements are taken" in capsys.readouterr().out
