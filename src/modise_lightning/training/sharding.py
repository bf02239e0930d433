"""Shares the frozen weights out over the processes of a run, which keep and average only the trained ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from modise_lightning.errors import UserError
from modise_lightning.feature_store.recall import FeatureRecall


class FrozenShardingStrategy(DDPStrategy):
    """PyTorch's FSDP2 for the frozen weights, DistributedDataParallel for the trained ones.

    The frozen weights are nearly all of the memory that weights take, and have neither gradients nor an
    optimizer state; a process keeps its share of them and gathers a layer's when it is due, in the forward
    and in the backward pass. The trained ones are few and stay whole, so that clipping, weight decay and
    checkpoints are those of any other run.

    Evaluation gathers all weights once and drops them at its end: there the processes may have different
    numbers of images and windows, and gathering in step would make them wait for each other forever.
    """

    def __init__(self, *, parts: Sequence[str], layers: Sequence[str]) -> None:
        """Choose what is shared out.

        Args:
            parts: Names of frozen modules inside the LightningModule. In training every process must run
                them equally often.
            layers: Class names of modules inside them that are gathered one after the other; what is left of
                a part is gathered at once.
        """
        # Every trained parameter has a gradient in every step; gradients are averaged where they are.
        super().__init__(find_unused_parameters=False, gradient_as_bucket_view=True)
        self.parts = tuple(parts)
        self.layers = frozenset(layers)

    def model_to_device(self) -> None:
        """Move to the device what this process keeps: its shares of the frozen weights, and all the rest."""
        module = self.lightning_module
        assert module is not None
        if not any(True for _ in _sharded_modules(module)):  # a later trainer finds it shared out already
            frozen = [find_frozen_part(module, part) for part in self.parts]
            mesh = self._mesh()
            for part in frozen:
                shard(part, mesh=mesh, layers=self.layers)
        names = [name for name, parameter in module.named_parameters() if isinstance(parameter, DTensor)]
        # They are no replicas: neither broadcast at the start nor reduced.
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(  # type: ignore[no-untyped-call]
            module, names
        )
        super().model_to_device()

    def _mesh(self) -> DeviceMesh:
        # A group of its own: gathering must not get in the way of the averaging of gradients.
        group = torch.distributed.new_group()
        assert isinstance(group, torch.distributed.ProcessGroup)  # this process is in it
        return DeviceMesh.from_group(group, self.root_device.type)

    def on_validation_start(self) -> None:
        """Gather the frozen weights."""
        self._gather()

    def on_validation_end(self) -> None:
        """Drop other processes' shares again."""
        self._drop()

    def on_test_start(self) -> None:
        """Gather the frozen weights."""
        self._gather()

    def on_test_end(self) -> None:
        """Drop other processes' shares again."""
        self._drop()

    def _gather(self) -> None:
        assert self.lightning_module is not None
        # Training goes on with the same storage, which therefore must not be made in inference mode.
        with torch.inference_mode(False):
            for module in _sharded_modules(self.lightning_module):
                module.set_reshard_after_forward(False, recurse=False)
                module.unshard()

    def _drop(self) -> None:
        assert self.lightning_module is not None
        for module in _sharded_modules(self.lightning_module):
            module.set_reshard_after_forward(True, recurse=False)
            module.reshard()


def find_frozen_part(module: nn.Module, name: str) -> nn.Module:
    """Find a module by name and check that its weights can be shared out.

    Raises:
        UserError: There is none, some of it is trained, it is compiled, or a feature store answers for it.
    """
    key = f"trainer.strategy.parts: '{name}'"
    try:
        part = module.get_submodule(name)
    except AttributeError as error:
        raise UserError(f"{key} is no part of this model. Leave it out.") from error
    if any(parameter.requires_grad for parameter in part.parameters()):
        raise UserError(f"{key} has trained weights, which every process needs whole. Leave it out.")
    if any(child._compiled_call_impl is not None for child in part.modules()):
        raise UserError(
            f"{key} is compiled, which does not go together with sharing it out. Set backbone.compile=null, "
            "or use trainer=ddp."
        )
    owner = module.get_submodule(name.rpartition(".")[0])
    recall = getattr(owner, "recall", None)
    if isinstance(recall, FeatureRecall) and recall.store is not None and recall.module is part:
        raise UserError(
            f"{key}: with a feature store some processes run it and others do not, and would wait for each "
            "other forever. Leave it out, or set feature_store=none."
        )
    return part


def shard(part: nn.Module, *, mesh: DeviceMesh, layers: frozenset[str]) -> None:
    """Share a frozen module's weights out over a mesh, layer by layer, and move the shares to its device."""
    for parameter in part.parameters():
        # FSDP holds weights in rows; activations keep the layout that they have.
        parameter.data = parameter.data.contiguous()
    for module in part.modules():
        if module is not part and type(module).__name__ in layers:
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
    fully_shard(part, mesh=mesh, reshard_after_forward=True)


def _sharded_modules(module: nn.Module) -> Iterator[FSDPModule]:
    return (child for child in module.modules() if isinstance(child, FSDPModule))
