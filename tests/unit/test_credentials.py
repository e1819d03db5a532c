"""No credential passes: neither into the settings nor onto the terminal; and what is none stays as it is."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from patent_embed.config.load import explain, load_config
from patent_embed.config.settings import Config
from patent_embed.credentials import credential_in, is_secret_name, redacted
from patent_embed.errors import UserError

SECRET = "hunter2hunter2hunter2"
ADDRESSES = [
    f"https://user:{SECRET}@host/v1",
    f"https://{SECRET}@host/v1",
    f"https://user:{SECRET}@@host/v1",
    f"https://user:{SECRET}/x@host/v1",
    f"https://host/v1?api-key={SECRET}",
    f"https://host/v1?api-version=2&apiKey={SECRET}&x=1",
    f"https://host/v1?API%2DKEY={SECRET}",
    f"https://host/container?sv=2024&sig={SECRET}",
    f"s3://AKIA0:{SECRET}@bucket/x",
    f"s3://bucket/x?secret_key={SECRET}",
    f"s3://bucket/x?X-Amz-Signature={SECRET}",
    f"s3://bucket/x?endpoint_override=https%3A%2F%2Fuser:{SECRET}%40host",
    f"abfs://box@account.dfs.core.windows.net/x?client_secret={SECRET}",
    f"hdfs://user:{SECRET}@namenode:8020/x",
    "sk-proj-" + SECRET,
    "hf_" + "aB3" * 10,
]
HARMLESS = [
    "https://host:8000/v1?api-version=2024-06",
    "s3://bucket/a/b@2x.json?region=eu-west-1&scheme=http",
    "abfs://box@account.dfs.core.windows.net/x",
    "hdfs://hadoop@namenode:8020/x",
    "BAAI/bge-base-zh-v1.5",
    "/data/user:x@host/patents",
    "risk-based-assessment-of-things",
    "runs/sk-learn-experiments-on-patents",
    "task-4b2e9f0c1d7a6e5b",
    "query: ",
    "a=b&c=d?key",
]
SETTINGS = ["data.data_dir", "run.output_dir", "run.resume", "queries.api.base_url", "queries.cache", "model.name"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_credentials_are_found_and_redacted(address: str) -> None:
    assert credential_in(address)
    for text in (redacted(f"cannot reach {address!r}, really"), credential_in(address)):
        assert SECRET not in text
        assert "aB3" not in text
    assert credential_in({"x": [{"y": address}]})


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_credential_stays(text: str) -> None:
    assert credential_in(text) == ""
    assert redacted(text) == text


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_takes_one(setting: str, address: str) -> None:
    with pytest.raises(UserError, match=setting.rpartition(".")[2]) as caught:
        load_config(settings=[f"{setting}={address}"])
    assert SECRET not in str(caught.value)


def test_an_assignment_takes_none_either() -> None:
    config = Config()
    with pytest.raises(ValidationError) as caught:
        config.queries.api.base_url = ADDRESSES[0]
    assert SECRET not in explain(caught.value)


@pytest.mark.parametrize(
    "setting",
    [
        f"queries.llm.engine={{hf_token: {SECRET}}}",
        f"queries.llm.engine={{hf_overrides: {{a: [{{api_key: {SECRET}}}]}}}}",
        f"queries.llm.sampling={{password: {SECRET}}}",
        f"queries.api={SECRET}",
        f"queries={SECRET}",
        f"queries.api=[{SECRET}]",
        f"queries.api.key=[{SECRET}]",
        f"queries.api.key={{a: {SECRET}}}",
        f"queries.api.kye={SECRET}",
        f"queries.api.key:{SECRET}",
        f"queries.api.key {SECRET}",
        f"queries.api.key.x={SECRET}",
        f"queries.api.timeout_s=sk-{SECRET}",
    ],
)
def test_a_mistyped_key_is_not_shown(setting: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(settings=[setting])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["hf_token", "apiKey", "x-api-key", "Authorization", "SECRET", "secret_access_key"])
def test_names_of_credentials(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["eos_token", "max_tokens", "tokenizer", "key_value_cache", "monkey", "", "sign"])
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)


def test_a_real_engine_setting_passes() -> None:
    engine = "queries.llm.engine={gpu_memory_utilization: 0.8, hf_token: true, tokenizer: a/b, kv_cache_dtype: fp8}"
    assert load_config(settings=[engine]).queries.llm.engine["hf_token"] is True
