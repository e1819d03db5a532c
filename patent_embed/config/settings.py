"""Every setting, once: one pydantic model a step, with its default, bounds and meaning.

The command line (``OPTIONS``), YAML overlays and ``--set section.key=value`` all end in these models, so a value
is checked in one place and a typo is an error with the path of the key in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

NegativeStrategy = Literal[
    "optimized_mixed", "same_group_priority", "same_subclass_different_group", "mixed", "random", "hard"
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class DataConfig(_Section):
    data_dir: str = Field("data/embedding/微调数据-5753", description="folder or file with the patents")
    max_samples: int | None = Field(None, ge=2, description="use this many patents, chosen by a seeded hash of the id")
    min_abstract_chars: int = Field(20, ge=1, description="shorter abstracts are rejected")
    max_abstract_chars: int = Field(20_000, ge=100, description="longer abstracts are cut, and counted")


class SplitsConfig(_Section):
    train: float = Field(0.7, gt=0, lt=1)
    val: float = Field(0.15, gt=0, lt=1)
    test: float = Field(0.15, gt=0, lt=1)

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitsConfig:
        if abs(self.train + self.val + self.test - 1) > 1e-9:
            raise ValueError(f"train + val + test is {self.train + self.val + self.test:g}, must be 1")
        return self


class ApiConfig(_Section):
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


class LlmConfig(_Section):
    model: str = Field("Qwen/Qwen2.5-7B-Instruct", description="hub id or local folder of the query writer")
    replicas: int = Field(1, ge=1, description="engines")
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs an engine, of one node")
    batch_size: int = Field(256, ge=1, description="prompts handed to an engine at once")
    max_concurrent_batches: int = Field(8, ge=1, description="batches an engine holds, so that it never runs dry")
    max_model_len: int = Field(4096, ge=256, description="tokens of prompt and answer together")
    engine: dict[str, Any] = Field(default_factory=dict, description="further vLLM engine arguments")
    sampling: dict[str, Any] = Field(default_factory=dict, description="further vLLM sampling parameters")
    node_wait_s: float = Field(600, gt=0, description="how long no answer may come after a node is lost")


class RoundTripConfig(_Section):
    """A filter that also drops val and test queries which this encoder finds hard: its figures then flatter it."""

    encoder: str | None = Field(None, description="hub id, local folder or 'bundled'; None: no such filter")
    k: int = Field(10, ge=1, description="a query must find its own patent among the first k of its split")


QueryKind = Literal["question", "keywords", "scenario", "claim"]


class QueriesConfig(_Section):
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


class RungShares(_Section):
    """Share of an anchor's negatives that each rung is asked for; what a rung lacks, the next ones give."""

    same_main_group: float = Field(0.6, ge=0, le=1)
    same_subclass: float = Field(0.3, ge=0, le=1)
    random: float = Field(0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _sum_to_one(self) -> RungShares:
        total = self.same_main_group + self.same_subclass + self.random
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares sum to {total:g}, must be 1")
        return self


class ScoringConfig(_Section):
    """How candidates are judged where their scores are known. The ratio is that of NV-Retriever (arXiv 2407.15831)."""

    enabled: bool = Field(True, description="score and filter the training negatives with the base encoder")
    pool: int = Field(32, ge=1, le=1024, description="candidates of a rung that are scored, for each anchor")
    max_ratio: float | None = Field(
        0.95, gt=0, le=1, description="refuse a candidate that scores above this share of the positive's score"
    )
    max_score: float | None = Field(None, gt=-1, le=1, description="refuse a candidate that scores above this")
    skip_hardest: int = Field(0, ge=0, description="pass over this many of the hardest that are left")
    take_within: int | None = Field(
        None, ge=1, description="take none that is easier than the first this many that are left; None: any"
    )

    @model_validator(mode="after")
    def _something_is_left(self) -> ScoringConfig:
        last = min(self.pool, self.take_within or self.pool)
        if self.skip_hardest >= last:
            raise ValueError(
                f"skip_hardest {self.skip_hardest} passes over all {last} candidates that may be taken; "
                "set it below pool and take_within"
            )
        return self


class NegativesConfig(_Section):
    strategy: NegativeStrategy = "optimized_mixed"
    per_positive: int = Field(3, ge=1, le=64, description="negatives an anchor")
    shares: RungShares = Field(
        default_factory=RungShares, description="optimized_mixed: quota a rung; mixed: chance of a rung for a slot"
    )
    scoring: ScoringConfig = Field(default_factory=ScoringConfig)
    rounds: int = Field(1, ge=1, le=5, description="2: train, mine again with the tuned encoder, train anew; and so on")
    distributed: bool = Field(
        False, description="mine by Ray Data instead of in one process, which is faster up to tens of millions"
    )

    @model_validator(mode="after")
    def _rounds_need_scores(self) -> NegativesConfig:
        if self.rounds > 1 and not self.scoring.enabled and self.strategy != "hard":
            raise ValueError(
                f"rounds {self.rounds} would mine the same negatives again: without scores they do not depend on the "
                "encoder; set negatives.scoring.enabled=true"
            )
        return self


class ModelConfig(_Section):
    name: str = Field("BAAI/bge-base-zh-v1.5", description="hub id, local folder, or 'bundled'")
    max_seq_length: int = Field(512, ge=16, description="longer texts are cut; never above what the model can read")
    query_prompt: str | None = Field(None, description="None: the model's own")
    passage_prompt: str | None = Field(None, description="None: the model's own")
    trust_remote_code: bool = Field(False, description="run code that comes with a model; only for sources you trust")


class LoraConfig(_Section):
    r: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    target_modules: list[str] | None = Field(
        None, description="module names to adapt; None: attention and feed-forward projections of the architecture"
    )


class TrainingConfig(_Section):
    batch_size: int = Field(32, ge=1, description="triplets an optimizer step, over all workers")
    learning_rate: float = Field(2e-5, gt=0, le=1)
    epochs: int = Field(5, ge=1)
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    loss: Literal["triplet", "infonce"] = "triplet"
    distance: Literal["euclidean", "cosine"] = Field("euclidean", description="triplet: on L2-normalised embeddings")
    margin: float = Field(0.3, gt=0, description="triplet: at most 2, the largest distance between unit vectors")
    temperature: float = Field(0.05, gt=0, description="infonce")
    max_grad_norm: float = Field(1.0, gt=0)
    query_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of a training query's tokens that is left out, others each time"
    )
    base_share: float = Field(
        0.0, ge=0, lt=1, description="share of the base model's weights in the published ones (LM-Cocktail)"
    )
    soup_size: int = Field(
        1, ge=1, le=16, description="trainings with other seeds whose mean weights are published (model soup)"
    )
    matryoshka_dims: list[int] | None = Field(
        None, min_length=1, description="also train the first so many numbers of each embedding, for every entry"
    )
    use_lora: bool = True
    lora: LoraConfig = Field(default_factory=LoraConfig)
    query_sources: list[str] | None = Field(
        None,
        description="train on queries of these sources (cache, llm, api, rules); None: all but rules where 500 such "
        "queries exist, since a model's queries alone taught more than both kinds together",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on a GPU, fp32 on a CPU")
    max_tokens_per_forward: int = Field(
        65_536, ge=512, description="a step's texts are split so that one packed forward stays below this"
    )
    checkpoint_every_n_epochs: int = Field(1, ge=1)
    keep_checkpoints: int = Field(2, ge=1, description="newest checkpoints kept, besides the best")
    early_stopping_patience: int = Field(3, ge=0, description="evaluations without a better val nDCG@10; 0: never stop")
    early_stopping_threshold: float = Field(0.0, ge=0, description="a better value is better by more than this")
    publish: Literal["best", "last"] = Field(
        "best", description="the epoch whose weights are published: best by val nDCG@10, or the last one trained"
    )
    num_workers: int = Field(1, ge=1, description="data-parallel Ray Train workers")
    use_gpu: bool | None = Field(None, description="None: when the cluster has GPUs")
    log_every: int = Field(10, ge=1, description="steps between progress lines on the terminal; the JSONL has all")
    trackers: list[Literal["tensorboard", "mlflow", "wandb"]] = Field(
        ["tensorboard"], description="where loss and val nDCG@10 also go; what is not installed is left out"
    )

    @model_validator(mode="after")
    def _margin_can_be_reached(self) -> TrainingConfig:
        if self.loss == "triplet" and self.margin > 2:
            raise ValueError(
                f"margin {self.margin:g} cannot be reached: unit vectors are at most 2 apart, so the loss would "
                "never close; set training.margin to 0.05..0.5"
            )
        return self


class EvaluationConfig(_Section):
    bm25: bool = Field(True, description="also measure BM25 over jieba words, the lexical floor")
    query_sources: list[str] | None = Field(
        None,
        description="headline metrics over queries of these sources; None: all but rules where at least 50 such "
        "queries exist, since rule queries are lifted from the abstract and reward word overlap",
    )
    distributed: bool | None = Field(
        None,
        description="search in shards on Ray Data; None: where there are GPUs or several nodes and the search is large",
    )


class NodeKind(_Section):
    """A kind of node that a cluster's autoscaler may add."""

    cpus: int = Field(ge=1)
    gpus: int = Field(0, ge=0)
    count: int = Field(ge=1, description="of this kind, at most")


class RunConfig(_Section):
    output_dir: str = "./experiments"
    seed: int = Field(42, ge=0)
    use_cache: bool = Field(True, description="reuse finished steps whose inputs and settings are unchanged")
    resume: str | None = Field(None, description="'latest' or a checkpoint folder: continue an interrupted training")
    test_only: bool = Field(False, description="evaluate without training")
    grows_to: list[NodeKind] = Field(
        default_factory=list,
        description="nodes that the cluster's autoscaler may add, which Ray does not tell a job",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class TuneConfig(_Section):
    """A sweep: ``pipelines/tune.py``."""

    space: dict[str, str] = Field(
        default_factory=dict,
        description="training settings to vary, each a range such as uniform(0.05, 0.5); none: learning rate, and "
        "margin or temperature",
    )
    num_samples: int = Field(16, ge=1, description="trials")
    max_concurrent: int | None = Field(None, ge=1, description="trials at once; None: what the machines have room for")
    gpu_per_trial: float = Field(
        0.5, gt=0, le=1, description="share of a GPU, and of its memory, for one worker of a trial; 1: one trial a GPU"
    )
    grace_epochs: int = Field(1, ge=1, description="no trial is stopped for its rank before so many epochs")
    reduction_factor: int = Field(3, ge=2, description="of the trials that reach a rung, one in so many goes on")
    refit: bool = Field(False, description="train the best settings again, and measure them on test")

    @field_validator("space", mode="before")
    @classmethod
    def _dotted(cls, space: Any) -> Any:
        """``lora: {r: ...}`` is ``lora.r: ...``: a dot in a name of ``--set`` begins a section."""
        if not isinstance(space, Mapping):
            return space
        flat: dict[str, Any] = {}
        for name, value in space.items():
            inner = cls._dotted(value) if isinstance(value, Mapping) else None
            flat |= {f"{name}.{key}": each for key, each in inner.items()} if inner is not None else {name: value}
        return flat


class Config(_Section):
    run: RunConfig = Field(default_factory=RunConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    splits: SplitsConfig = Field(default_factory=SplitsConfig)
    queries: QueriesConfig = Field(default_factory=QueriesConfig)
    negatives: NegativesConfig = Field(default_factory=NegativesConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    tune: TuneConfig = Field(default_factory=TuneConfig)
