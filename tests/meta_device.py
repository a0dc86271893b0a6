"""The device `meta`, where no tensor has values: what strays to the CPU is noticed."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class OnTheDevice(TorchDispatchMode):
    """Refuses results that are not on `meta`."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **kwargs or {})
        for value in tree_leaves(out):
            assert not isinstance(value, torch.Tensor) or value.device.type == "meta", (
                f"{function} gives a tensor on {value.device}"
            )
        return out
