"""What follows pooling in a SentenceTransformer folder: its ``Dense`` layers, as EmbeddingGemma has two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from patent_embed.encoder.model_folder import Dense
from patent_embed.errors import UserError


class Head(nn.Module):
    """``Dense`` layers of sentence-transformers one after the other; none: the identity.

    Attributes:
        layers: the modules of the library, which also know how they are written.
    """

    def __init__(self, layers: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    @property
    def dim(self) -> int | None:
        """Numbers that come out; None: as many as go in."""
        last: Any = self.layers[-1] if len(self.layers) else None
        return None if last is None else int(last.out_features)

    def forward(self, pooled: Tensor) -> Tensor:
        """(n, in) fp32 to (n, out) fp32, also under autocast: the products are few, and every number counts."""
        if not len(self.layers):
            return pooled
        with torch.autocast(pooled.device.type, enabled=False):
            for layer in self.layers:
                pooled = layer({"sentence_embedding": pooled})["sentence_embedding"]
        return pooled

    def save(self, folder: Path) -> list[Dense]:
        """Write each layer into a folder of its own below ``folder``, as the library numbers them: ``2_Dense`` on."""
        written = []
        for number, layer in enumerate(self.layers, start=2):
            about: Any = layer
            path = f"{number}_Dense"
            (folder / path).mkdir(exist_ok=True)
            about.save(str(folder / path))
            written.append(Dense(path, about.in_features, about.out_features))
        return written


def load_head(folder: Path, dense: Sequence[Dense], *, trust_remote_code: bool = False) -> Head:
    """The layers of ``read_sentence_transformer_files(folder).dense``, in fp32.

    Raises:
        UserError: weights are not there or do not fit, or an activation is foreign code that nobody trusts.
    """
    if not dense:
        return Head()
    from sentence_transformers.base.modules import Dense as Layer

    layers = []
    for each in dense:
        # sentence-transformers would take tanh in its place, with a warning only.
        if each.activation is not None and not each.activation.startswith("torch.") and not trust_remote_code:
            raise UserError(
                f"{str(folder / each.path)!r} asks for the activation {each.activation!r}, which is code of the model; "
                "set model.trust_remote_code=true if you trust its source, or choose another model"
            )
        try:
            layer = Layer.load(
                str(folder), subfolder=each.path, local_files_only=True, trust_remote_code=trust_remote_code
            )
        except (OSError, ValueError, RuntimeError, TypeError, AttributeError, ImportError) as error:
            raise UserError(
                f"{str(folder / each.path)!r} is no Dense layer that can be loaded ({type(error).__name__}: "
                f"{str(error).splitlines()[0]}); fetch the model again, or name another"
            ) from None
        if {layer.module_input_name, layer.module_output_name} != {"sentence_embedding"}:
            raise UserError(
                f"{str(folder / each.path)!r} reads {layer.module_input_name!r} and writes "
                f"{layer.module_output_name!r}; supported are layers on the pooled vector; choose another model"
            )
        layers.append(layer.float())
    return Head(layers).eval()
