"""Settings of the queries: who writes them, through what, and what is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from patent_embed.config.judge import JudgeConfig
from patent_embed.config.mix import MixConfig, OverlapConfig
from patent_embed.credentials import redacted
from patent_embed.section import Cli, Role, Section, UserPath

QueryKind = Literal["question", "keywords", "scenario", "claim"]


class ApiConfig(Section):
    """The OpenAI-compatible endpoint of ``backend: api``."""

    base_url: Annotated[str | None, Cli("llm_base_url")] = Field(
        None,
        description="address of the OpenAI-compatible endpoint; None: OPENAI_BASE_URL, else the client's own default",
    )
    key: Annotated[SecretStr | None, Cli("llm_api_key"), Role.LOGISTICS] = Field(
        None, description="API key; None: OPENAI_API_KEY; never written anywhere", exclude=True, repr=False
    )
    model: str | None = Field(None, description="name of the model at the endpoint; None: queries.llm.model")
    requests_in_flight: Annotated[int, Role.LOGISTICS] = Field(
        64, ge=1, le=4096, description="requests that wait for an answer at the same time"
    )
    timeout_s: Annotated[float, Role.LOGISTICS] = Field(
        60, gt=0, description="seconds after which one request counts as failed"
    )
    retries: Annotated[int, Role.LOGISTICS] = Field(
        5, ge=0, description="more tries after 408, 409, 429, 5xx, a time-out or a broken answer"
    )
    max_wait_s: Annotated[float, Role.LOGISTICS] = Field(
        120, gt=0, description="longest pause in seconds before a retry, also when Retry-After asks for more"
    )
    requests_per_minute: Annotated[int | None, Role.LOGISTICS] = Field(
        None, ge=1, description="requests a minute, at most; None: no limit"
    )
    max_total_tokens: Annotated[int | None, Role.LOGISTICS] = Field(
        None, ge=1, description="no request is sent once this many tokens are used; None: no limit"
    )
    batch: Annotated[bool, Role.LOGISTICS] = Field(
        False, description="use the endpoint's Batch API: answers within a day, mostly for half the price"
    )
    batch_poll_s: Annotated[float, Role.LOGISTICS] = Field(
        30, gt=0, description="seconds between looks at batches that are not answered yet"
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="further parameters of each request, as the endpoint names them, e.g. reasoning_effort",
    )

    @model_validator(mode="after")
    def _a_batch_has_no_such_limit(self) -> ApiConfig:
        if self.batch and self.max_total_tokens is not None:
            raise ValueError(
                f"max_total_tokens {self.max_total_tokens} cannot stop a batch, which is paid for as it is submitted; "
                "leave it out, or set batch to false and data.max_samples lower"
            )
        return self

    @field_validator("extra_body")
    @classmethod
    def _leaves_the_question(cls, body: dict[str, Any]) -> dict[str, Any]:
        if ours := sorted({"model", "messages", "n", "tools"} & body.keys()):
            raise ValueError(
                f"extra_body holds {', '.join(ours)}, which say what is asked: answers would be kept under another "
                "question; set queries.api.model for the model, and leave the others out"
            )
        return body

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        if url is not None:
            try:
                parts = urlsplit(url)
                well = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            except ValueError:  # of the port, or of brackets
                well = False
            if not well or any(character.isspace() for character in url):
                raise ValueError(
                    f"base_url {redacted(url)!r} is no address of an endpoint; write it as https://HOST:PORT/v1"
                )
        return url


class LlmConfig(Section):
    """The vLLM engines of ``backend: llm``."""

    model: Annotated[str, UserPath, Cli("llm_model", "query-writing model, local or at the endpoint")] = Field(
        "Qwen/Qwen2.5-7B-Instruct", description="hub id or local folder of the model that writes the queries"
    )
    replicas: Annotated[int, Role.LOGISTICS] = Field(1, ge=1, description="engines that run at the same time")
    tensor_parallel_size: Annotated[int, Role.LOGISTICS] = Field(
        1, ge=1, description="GPUs of one node that an engine is spread over"
    )
    batch_size: Annotated[int, Role.LOGISTICS] = Field(
        256, ge=1, description="prompts that are handed to an engine at once"
    )
    max_concurrent_batches: Annotated[int, Role.LOGISTICS] = Field(
        8, ge=1, description="batches that an engine holds, so that it never runs dry"
    )
    max_model_len: Annotated[int, Role.LOGISTICS] = Field(
        4096, ge=256, description="tokens of prompt and answer together, at most"
    )
    engine: Annotated[dict[str, Any], Role.LOGISTICS] = Field(
        default_factory=dict, description="further vLLM engine arguments"
    )
    sampling: dict[str, Any] = Field(default_factory=dict, description="further vLLM sampling parameters")
    node_wait_s: Annotated[float, Role.LOGISTICS] = Field(
        600, gt=0, description="seconds without any answer, after a node is lost, until the run stops"
    )


class RoundTripConfig(Section):
    """A filter that asks whether a query finds its own patent.

    It also drops val and test queries which this encoder finds hard: its figures then flatter it."""

    encoder: Annotated[str | None, UserPath, Role.LOGISTICS] = Field(
        None, description="encoder that looks for the patents: hub id, local folder or 'bundled'; None: no such filter"
    )
    k: int = Field(10, ge=1, description="a query must find its own patent among the first k of its split")


class QueriesConfig(Section):
    """Who writes the queries, what they are like, and what is refused."""

    backend: Annotated[
        Literal["llm", "api", "rules"],
        Cli("query_backend"),
        Cli("use_api_llm", "same as --query_backend api", value="api"),
    ] = Field(
        "llm",
        description="who writes the queries: vLLM engines on Ray (llm), an OpenAI-compatible endpoint (api), or rules "
        "without a model",
    )
    # Not in a digest as such: what was written without the cache is another artifact, marked as fresh.
    use_cache: Annotated[bool, Cli("no_query_cache", "write every query anew", value=False)] = Field(
        True, description="use queries that an earlier run or a cache file already holds"
    )
    cache: Annotated[str | None, UserPath, Role.LOGISTICS] = Field(
        None, description="an llm_queries_cache.json to read; None: the one in the data folder, where there is one"
    )
    judgements: Annotated[str | None, UserPath, Role.LOGISTICS] = Field(
        None,
        description="a log of judgements that serve wrote: what was judged relevant is trained and measured on as a "
        "query, what was judged not relevant becomes its negative; None: no judgements",
    )
    log: Annotated[str | None, UserPath, Role.LOGISTICS] = Field(
        None,
        description="a real log of queries with the patents that were clicked or cited for them, as JSON lines, CSV or "
        "TSV: they are trained and measured on, with or without a model's queries; None: no log",
    )
    min_chars: int = Field(
        8, ge=1, description="queries with fewer characters are rejected; Latin text: three times as many"
    )
    max_chars: int = Field(
        60,
        ge=10,
        description="queries with more characters are cut at a clause, or rejected; Latin text: three times as many",
    )
    queries_per_patent: int = Field(
        1, ge=1, le=16, description="queries that a model writes for each patent; the rules write one"
    )
    kinds: dict[QueryKind, float] = Field(
        {"question": 0.5, "scenario": 0.2, "keywords": 0.15, "claim": 0.15},
        description="mix of what a model is asked for, as weights",
    )
    fallback: Literal["rules", "none"] = Field(
        "rules", description="for a patent whose queries all failed: a query by rules, or none"
    )
    copy_chars: int = Field(
        12,
        ge=4,
        description="a query that lifts more characters in a row from its abstract is rejected; Latin text: three "
        "times as many",
    )
    temperature: float = Field(
        0.7, ge=0, le=2, description="sampling temperature of the model; 0: always the likeliest"
    )
    top_p: float = Field(
        0.9, gt=0, le=1, description="the model chooses among the likeliest tokens that together have this probability"
    )
    max_tokens: int = Field(128, ge=16, description="tokens of one answer, at most")
    max_tokens_again: int = Field(
        2048,
        ge=16,
        description="tokens of an answer that is asked for again because max_tokens cut it short, as models that think "
        "need; at least twice max_tokens are given",
    )
    max_prompt_chars: int = Field(
        3000, ge=200, description="characters of an abstract in a prompt; the rest is left out"
    )
    examples: Annotated[str | None, UserPath, Role.LOGISTICS] = Field(
        None,
        description="a file with queries of your own, one a line: a model imitates their style and length, and copies "
        "none; None: no such examples",
    )
    mix: MixConfig = Field(default_factory=MixConfig)
    overlap: OverlapConfig = Field(default_factory=OverlapConfig)
    round_trip: RoundTripConfig = Field(default_factory=RoundTripConfig)
    judge: JudgeConfig = Field(default_factory=JudgeConfig)
    export_cache: Annotated[bool, Role.LOGISTICS] = Field(
        False, description="also write llm_queries_cache.json into the output folder"
    )
    llm: LlmConfig = Field(default_factory=LlmConfig)
    api: ApiConfig = Field(default_factory=ApiConfig)

    @model_validator(mode="after")
    def _some_query_will_do(self) -> QueriesConfig:
        if any(weight < 0 for weight in self.kinds.values()) or sum(self.kinds.values()) <= 0:
            raise ValueError(f"kinds {self.kinds} must be weights of at least 0, and not all 0")
        if self.min_chars > self.max_chars:
            raise ValueError(
                f"min_chars {self.min_chars} is above max_chars {self.max_chars}: no query would do; set it below"
            )
        if self.judge.enabled and self.backend == "rules":
            raise ValueError(
                "judge.enabled is true and backend is 'rules': there is no model that could grade; set backend to llm "
                "or api, or leave the judge out"
            )
        return self
