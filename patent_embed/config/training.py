"""Settings of the training: those that every loss has, and, between them, those of each loss (``losses``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from patent_embed.losses.base import LOSSES, settings_of_all
from patent_embed.section import Choices, Cli, Needs, Role, Section


class LoraConfig(Section):
    """Low-rank adapters (Hu et al., arXiv 2106.09685)."""

    r: int = Field(16, ge=1, description="rank of the adapters")
    alpha: int = Field(32, ge=1, description="the adapters' output is scaled by alpha / r")
    dropout: float = Field(
        0.1, ge=0, lt=1, description="share of the adapters' input that is set to 0, other numbers each time"
    )
    target_modules: list[str] | None = Field(
        None, description="module names to adapt; None: attention and feed-forward projections of the architecture"
    )


class _Schedule(Section):
    batch_size: Annotated[int, Cli("batch_size", "triplets an optimizer step")] = Field(
        32, ge=1, description="triplets an optimizer step, over all workers"
    )
    learning_rate: Annotated[float, Cli("learning_rate")] = Field(2e-5, gt=0, le=1, description="peak learning rate")
    epochs: Annotated[int, Cli("num_epochs")] = Field(5, ge=1, description="passes over the training triplets")
    max_triplets_per_epoch: int | None = Field(
        None,
        ge=1,
        description="triplets of an epoch at most, other ones each epoch, drawn with run.seed; of several sources of "
        "relevance in proportion. None: all",
    )
    warmup_ratio: float = Field(
        0.1, ge=0, lt=1, description="share of all steps in which the learning rate rises to its peak; then it falls"
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW's weight decay, of all weights but biases and norms")
    loss: Annotated[str, Choices(LOSSES.names), Cli("loss")] = Field(
        "triplet", description="training loss: what is made smaller"
    )


if TYPE_CHECKING:  # their names are not known before the losses are read

    class _LossSettings(Section): ...
else:
    _LossSettings = settings_of_all()


class TrainingConfig(_LossSettings, _Schedule):
    """How the encoder is trained. A loss's settings are there whichever loss is chosen."""

    max_grad_norm: float = Field(1.0, gt=0, description="a step's gradient is shortened to this length")
    query_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of a training query's tokens that is left out, others each time"
    )
    base_share: Annotated[Annotated[float, Field(ge=0, lt=1)] | Literal["auto"], Role.PUBLISHED] = Field(
        "auto",
        description="share of the base model's weights in the published ones (LM-Cocktail); auto: what the validation "
        "patents and general sentences support, docs/publishing.md",
    )
    soup_size: Annotated[int, Role.PUBLISHED] = Field(
        1, ge=1, le=16, description="trainings with other seeds whose mean weights are published (model soup)"
    )
    matryoshka_dims: list[int] | None = Field(
        None,
        min_length=1,
        description="for every entry, also train the first so many numbers of each embedding; None: only all of them",
    )
    use_lora: Annotated[
        bool, Cli("use_lora", "train LoRA adapters", value=True), Cli("no_use_lora", "train all weights", value=False)
    ] = Field(True, description="train LoRA adapters; false: all weights")
    lora: Annotated[LoraConfig, Needs("use_lora", True)] = Field(default_factory=LoraConfig)
    query_sources: Annotated[list[str] | None, Role.PREPARED] = Field(
        None,
        description="train on queries of these sources (cache, llm, api, rules); None: all but rules where 500 such "
        "queries exist, since a model's queries alone taught more than both kinds together",
    )
    mined_negatives: Annotated[bool, Role.PREPARED] = Field(
        True,
        description="train on the mined negatives; false: on the other passages of a batch alone (infonce), which are "
        "half as many texts a query",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="auto: bf16 on a GPU, and on a CPU that multiplies bf16 natively, with LoRA on a BERT's layers; "
        "fp32 elsewhere",
    )
    max_tokens_per_forward: int | None = Field(
        None,
        ge=512,
        description="tokens of one packed forward pass, at most; a step's texts are split for it, and all but the "
        "first pass are computed twice. None: 65,536 on a GPU, or what fits it, with LoRA on a decoder's layers; on a "
        "CPU what 1.06 GiB hold, with LoRA on a BERT's layers, and 8,192 otherwise; 4,096 with shard",
    )
    checkpoint_every_n_epochs: Annotated[
        int, Cli("checkpoint_every_n_epochs", "epochs between checkpoints"), Role.LOGISTICS
    ] = Field(1, ge=1, description="epochs between checkpoints; the last epoch always has one")
    keep_checkpoints: Annotated[int, Role.LOGISTICS] = Field(
        2, ge=1, description="newest checkpoints kept, besides the best"
    )
    validate_epochs: Annotated[bool, Role.PREPARED] = Field(
        True,
        description="measure val nDCG@10 before the training and after every epoch; false: the last epoch is "
        "published, and no time goes into embedding val's passages each time",
    )
    validate_on: Annotated[Literal["queries", "relevance"], Role.PREPARED] = Field(
        "queries",
        description="what val nDCG@10 is of: queries for their own patents, or, where relevance has sources that link "
        "patents, the passages of val patents for those that they are linked to, such as cited ones",
    )
    validation_patents: Annotated[int | None, Role.PREPARED] = Field(
        50_000,
        ge=1,
        description="patents that val is searched in after each epoch, at most: all of val, and of those that share a "
        "main group with its queries as many as there is room for, drawn by hash with run.seed. None: all of them. The "
        "evaluation always searches the whole corpus",
    )
    early_stopping_patience: int = Field(
        3,
        ge=0,
        description="stop after so many evaluations without a better val nDCG@10, where a paired test shows that it "
        "fell; 0: never",
    )
    early_stopping_threshold: float = Field(0.0, ge=0, description="a better val nDCG@10 is better by more than this")
    publish: Annotated[Literal["best", "last"], Role.PUBLISHED] = Field(
        "best",
        description="the epoch whose weights are published: the best by val nDCG@10 where a paired test shows that it "
        "is better than the last one, or always the last one",
    )
    num_workers: Annotated[int, Cli("num_workers", "data-parallel training workers"), Role.LOGISTICS] = Field(
        1, ge=1, description="data-parallel Ray Train workers"
    )
    shard: Annotated[bool, Role.LOGISTICS] = Field(
        False,
        description="split the model's frozen weights over the workers (FSDP2), for models that outgrow a GPU; needs "
        "LoRA and num_workers of 2 at least. Without this project's kernels: slower where a model fits one GPU",
    )
    use_gpu: Annotated[bool | None, Role.LOGISTICS] = Field(
        None, description="train on GPUs; None: where the cluster has any"
    )
    log_every: Annotated[int, Role.LOGISTICS] = Field(
        10, ge=1, description="steps between progress lines on the terminal; the JSONL has all"
    )
    trackers: Annotated[list[Literal["tensorboard", "mlflow", "wandb"]], Role.LOGISTICS] = Field(
        ["tensorboard"], description="where loss and val nDCG@10 also go; what is not installed is left out"
    )

    @model_validator(mode="after")
    def _loss_can_be_trained(self) -> TrainingConfig:
        if any(dim < 1 for dim in self.matryoshka_dims or ()):
            raise ValueError(f"matryoshka_dims {self.matryoshka_dims} are counts of numbers; set each to 1 at least")
        if self.shard and not self.use_lora:
            raise ValueError(
                "shard splits weights that are not trained, and with use_lora=false all of them are; set "
                "training.use_lora=true, or shard=false"
            )
        if self.shard and self.num_workers == 1:
            raise ValueError(
                "shard splits the model over workers, and num_workers is 1: nothing would be saved; set num_workers to "
                "2 at least, or shard=false"
            )
        loss = LOSSES[self.loss]
        loss.check(loss.settings_of(self))
        if not self.mined_negatives and not loss.in_batch:
            raise ValueError(
                f"loss {self.loss!r} has no negatives but the mined ones: without them there is nothing to learn from; "
                "leave out mined_negatives=false, or set loss=infonce"
            )
        return self
