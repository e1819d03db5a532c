"""A model's frozen weights split over the ranks (FSDP2: Zhao et al., arXiv 2304.11277), for models that outgrow a GPU.

Each layer's weights are gathered before it computes and let go after it. The adapters lie whole on every rank, as
without it: gradients, optimizer, checkpoints and early stopping know nothing of the split. Every rank has to take part
in every forward and backward pass, with a text that does not count where it has no other (``distributed.missing``).
"""

from __future__ import annotations

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from patent_embed.encoder import lora_targets
from patent_embed.encoder.encoder import Encoder
from patent_embed.errors import UserError
from patent_embed.training import distributed


def shard(encoder: Encoder, device: torch.device) -> None:
    """Split what is frozen of ``encoder``, which lies on the CPU with its adapters, over the process group's devices.

    Afterwards it lies on ``device``: of each frozen weight this rank's part, and the adapters.

    Raises:
        UserError: there is one process only, or the model cannot be cut into layers.
    """
    ranks = distributed.world_size()
    if ranks == 1:
        raise UserError(
            "training.shard splits the model over workers, and there is one: nothing would be saved; set --num_workers "
            "to 2 at least, or training.shard=false"
        )
    model = encoder.model
    names = lora_targets.layer_names(model)
    if not names:
        raise UserError(
            "training.shard gathers a model layer by layer, and no layers with an attention were found in "
            f"{type(model).__name__}: it would be gathered whole; set training.shard=false"
        )
    adapters = {parameter for parameter in model.parameters() if parameter.requires_grad}
    for adapter in adapters:
        adapter.data = adapter.data.to(device)
    mesh = init_device_mesh(device.type, (ranks,))
    layers = [module for name, module in model.named_modules() if name in names]
    for module in [*layers, model]:
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=adapters)
    encoder.head.to(device)
    encoder.sharded = True
