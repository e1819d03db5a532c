"""Settings of the queries: who writes them, through what, and what is refused."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SecretStr, model_validator

from patent_embed.section import Section


class ApiConfig(Section):
    base_url: str | None = Field(None, description="OpenAI-compatible endpoint; None is the client's own default")
    key: SecretStr | None = Field(None, description="API key; never written anywhere", exclude=True, repr=False)
    model: str | None = Field(None, description="model name at the endpoint; None: queries.llm.model")
    requests_in_flight: int = Field(64, ge=1, le=4096)
    timeout_s: float = Field(60, gt=0, description="of one request")
    retries: int = Field(5, ge=0, description="more tries after 408, 409, 429, 5xx, a time-out or a broken answer")
    max_wait_s: float = Field(
        120, gt=0, description="longest pause before a retry, also when Retry-After asks for more"
    )
    requests_per_minute: int | None = Field(None, ge=1, description="None: no limit")
    max_total_tokens: int | None = Field(None, ge=1, description="no request is sent once this many tokens are used")


class LlmConfig(Section):
    model: str = Field("Qwen/Qwen2.5-7B-Instruct", description="hub id or local folder of the query writer")
    replicas: int = Field(1, ge=1, description="engines")
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs an engine, of one node")
    batch_size: int = Field(256, ge=1, description="prompts handed to an engine at once")
    max_concurrent_batches: int = Field(8, ge=1, description="batches an engine holds, so that it never runs dry")
    max_model_len: int = Field(4096, ge=256, description="tokens of prompt and answer together")
    engine: dict[str, Any] = Field(default_factory=dict, description="further vLLM engine arguments")
    sampling: dict[str, Any] = Field(default_factory=dict, description="further vLLM sampling parameters")
    node_wait_s: float = Field(600, gt=0, description="how long no answer may come after a node is lost")


class RoundTripConfig(Section):
    """A filter that also drops val and test queries which this encoder finds hard: its figures then flatter it."""

    encoder: str | None = Field(None, description="hub id, local folder or 'bundled'; None: no such filter")
    k: int = Field(10, ge=1, description="a query must find its own patent among the first k of its split")


QueryKind = Literal["question", "keywords", "scenario", "claim"]


class QueriesConfig(Section):
    backend: Literal["llm", "api", "rules"] = Field("llm", description="who writes the queries")
    use_cache: bool = Field(True, description="use queries that an earlier run or a cache file already holds")
    cache: str | None = Field(None, description="an llm_queries_cache.json to read; None looks in the data folder")
    min_chars: int = Field(8, ge=1, description="shorter queries are rejected")
    max_chars: int = Field(60, ge=10, description="longer queries are cut at a clause, or rejected; Latin text: x 3")
    queries_per_patent: int = Field(1, ge=1, le=16, description="written by a model; the rules write one")
    kinds: dict[QueryKind, float] = Field(
        {"question": 0.5, "scenario": 0.2, "keywords": 0.15, "claim": 0.15},
        description="mix of what a model is asked for, as weights",
    )
    fallback: Literal["rules", "none"] = Field("rules", description="for a patent whose queries all failed")
    copy_chars: int = Field(12, ge=4, description="a query that lifts more characters in a row is rejected; Latin: x 3")
    temperature: float = Field(0.7, ge=0, le=2)
    top_p: float = Field(0.9, gt=0, le=1)
    max_tokens: int = Field(128, ge=16, description="of one answer")
    max_prompt_chars: int = Field(3000, ge=200, description="of an abstract in a prompt; the rest is left out")
    round_trip: RoundTripConfig = Field(default_factory=RoundTripConfig)
    export_cache: bool = Field(False, description="also write llm_queries_cache.json into the output folder")
    llm: LlmConfig = Field(default_factory=LlmConfig)
    api: ApiConfig = Field(default_factory=ApiConfig)

    @model_validator(mode="after")
    def _kinds_have_weight(self) -> QueriesConfig:
        if any(weight < 0 for weight in self.kinds.values()) or sum(self.kinds.values()) <= 0:
            raise ValueError(f"kinds {self.kinds} must be weights of at least 0, and not all 0")
        return self
