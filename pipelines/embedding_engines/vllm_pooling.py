"""vLLM as an engine for embeddings (its pooling runner): with the merged model, or the base model and the adapter."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import numpy as np
from typing_extensions import override

from patent_embed.config.model import Kind
from patent_embed.encoder.export import Encode
from patent_embed.errors import UserError
from pipelines.embedding_engines.base import EmbeddingEngine, PublishedModel

_SHOWN = 300  # characters of what vLLM says


class VllmPooling(EmbeddingEngine):
    """An engine in this process, in the type that vLLM chooses. Prompts are put before texts here, and texts are cut
    where the model ends: vLLM does neither by itself."""

    package, extra = "vllm", "llm"

    def __init__(self, name: str, order: int, *, adapter: bool) -> None:
        self.name, self.order, self._adapter = name, order, adapter

    @override
    def require(self, published: PublishedModel) -> None:
        super().require(published)
        if self._adapter and (published.adapter is None or published.base is None):
            what = "adapter/ folder" if published.adapter is None else "base model"
            raise UserError(f"--engines {self.name} needs the run's {what}, which is not there; use --engines vllm")

    @override
    @contextlib.contextmanager
    def opened(self, published: PublishedModel) -> Iterator[Encode]:
        import vllm
        from vllm.lora.request import LoRARequest
        from vllm.v1.engine.exceptions import EngineDeadError

        more: dict[str, Any] = {}
        request = None
        if self._adapter:
            assert published.adapter is not None
            more = {"enable_lora": True, "max_lora_rank": _rank(published)}
            request = LoRARequest("run", 1, str(published.adapter))
        try:
            llm = vllm.LLM(
                model=str(published.base if self._adapter else published.model),
                runner="pooling",
                max_model_len=published.max_seq_length,
                enforce_eager=True,
                **more,
            )
        except (ValueError, NotImplementedError, RuntimeError) as error:
            raise UserError(
                f"--engines {self.name}: vLLM {vllm.__version__} does not take the model "
                f"({' '.join(str(error).split())[:_SHOWN]}); "
                + ("use --engines vllm, the merged model" if self._adapter else "leave this engine out")
            ) from None

        def encode(texts: Sequence[str], kind: Kind) -> np.ndarray:
            sent = [published.prompts[kind] + text for text in texts]
            cut = {"truncate_prompt_tokens": published.max_seq_length}
            try:
                # Told, since a base model's folder need not end with a normalisation, as the published one does.
                length_1 = vllm.PoolingParams(use_activation=True)
                found = llm.embed(
                    sent, pooling_params=length_1, use_tqdm=False, lora_request=request, tokenization_kwargs=cut
                )
            except EngineDeadError:
                raise UserError(
                    f"--engines {self.name}: vLLM's engine died while it embedded; its own lines above say why"
                ) from None
            return np.array([each.outputs.embedding for each in found], np.float32)

        try:
            yield encode
        finally:
            llm.llm_engine.engine_core.shutdown()
            gc.collect()


def _rank(published: PublishedModel) -> int:
    """The least rank that vLLM makes room for and that holds the adapter's."""
    from vllm.config.lora import MaxLoRARanks

    assert published.adapter is not None
    rank = int(json.loads((published.adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"])
    return min((room for room in get_args(MaxLoRARanks) if room >= rank), default=rank)


VLLM, VLLM_LORA = VllmPooling("vllm", 4, adapter=False), VllmPooling("vllm-lora", 5, adapter=True)
