"""How much memory a forward pass holds at once, found without doing it: on the meta device tensors are shapes."""

from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakActivations(TorchDispatchMode):
    """Context in which tensors that operators make are counted while they live; `peak` is in bytes.

    What is there before (weights, the input) is not counted, nor what an operator needs only while it runs.
    """

    def __init__(self, existing: list[Tensor]) -> None:
        super().__init__()
        self._existing = {StorageWeakRef(tensor.untyped_storage()) for tensor in existing}
        self._alive: dict[StorageWeakRef, int] = {}
        self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                storage = StorageWeakRef(tensor.untyped_storage())
                if storage not in self._existing:
                    self._alive[storage] = tensor.untyped_storage().nbytes()
        self._alive = {storage: size for storage, size in self._alive.items() if not storage.expired()}
        self.peak = max(self.peak, sum(self._alive.values()))
        return made
