"""Settings of the training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from patent_embed.section import Section


class LoraConfig(Section):
    r: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    target_modules: list[str] | None = Field(
        None, description="module names to adapt; None: attention and feed-forward projections of the architecture"
    )


class TrainingConfig(Section):
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
