"""Check what autograd gives for every weight of a torch module: ``python check_torch_module.py``.

Replace `Swish` and `make_module` by yours. It needs ``python -m pip install torch``.
"""

import sys

import numpy as np

from numgrad import check_gradient

try:
    import torch
except ImportError:
    sys.exit("check_torch_module.py needs torch: python -m pip install torch")


class Swish(torch.autograd.Function):
    """An activation with a backward pass that was written by hand."""

    factor = 1.0  # what it multiplies the right slope by

    @staticmethod
    def forward(ctx, z):
        """Return z sigmoid(z)."""
        ctx.save_for_backward(z)
        return z * torch.sigmoid(z)

    @staticmethod
    def backward(ctx, slope):
        """Return the slope by z."""
        (z,) = ctx.saved_tensors
        s = torch.sigmoid(z)
        return Swish.factor * slope * (s + z * s * (1 - s))


class Activation(torch.nn.Module):
    """`Swish` as a layer."""

    def forward(self, z):
        """Return the activation of z."""
        return Swish.apply(z)


def make_module():
    """Return a net in float64, and the loss that is checked, as a function without arguments."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(20, 12), Activation(), torch.nn.Linear(12, 5)).double()
    images, labels = torch.randn(32, 20, dtype=torch.float64), torch.randint(5, (32,))
    return module, lambda: torch.nn.functional.cross_entropy(module(images), labels)


def main():
    """Check the gradient of each parameter, then a wrong one."""
    module, loss = make_module()
    params = {name: p.detach().numpy() for name, p in module.named_parameters()}  # the memory of the tensors

    def f(_):  # the module reads that memory, so the argument is not needed
        with torch.no_grad():
            return loss().item()

    def autograd():
        module.zero_grad()
        loss().backward()
        return {name: p.grad.numpy().copy() for name, p in module.named_parameters()}

    print(check_gradient(f, autograd(), params))
    Swish.factor = 0.5
    print(check_gradient(f, autograd(), params))
    print(f"{sum(map(np.size, params.values()))} weights, each of them checked")


if __name__ == "__main__":
    main()
