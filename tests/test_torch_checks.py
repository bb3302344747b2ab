"""check_gradient with torch: the gradient of a ReLU net by autograd passes, and wrong ones fail."""

from itertools import pairwise

import numpy as np
import pytest

from numgrad import check_gradient

torch = pytest.importorskip("torch")


def net(seed, dtype, sizes=(6, 8, 5, 3), batch=10):
    """Return the loss as a function of a dict of NumPy arrays, its gradient by autograd, and the point."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [shape for m, n in pairwise(sizes) for shape in ((n, m), (n,))]
    bounds = [shape[-1] ** -0.5 if len(shape) == 2 else sizes[0] ** -0.5 for shape in shapes]
    tensors = [bound * (2 * torch.rand(s, generator=generator) - 1) for s, bound in zip(shapes, bounds, strict=True)]
    params = {f"p{k}": tensor.to(dtype).numpy() for k, tensor in enumerate(tensors)}
    images = torch.randn((batch, sizes[0]), generator=generator).to(dtype)
    labels = torch.randint(sizes[-1], (batch,), generator=generator)

    def loss_of(parts):
        z = images
        for k in range(0, len(parts), 2):
            z = torch.nn.functional.linear(z, parts[k], parts[k + 1])
            z = torch.relu(z) if k + 2 < len(parts) else z
        return torch.nn.functional.cross_entropy(z, labels)

    def f(p):
        with torch.no_grad():
            return loss_of([torch.from_numpy(part) for part in p.values()]).item()

    leaves = [torch.tensor(part, requires_grad=True) for part in params.values()]
    loss_of(leaves).backward()
    return f, {name: leaf.grad.numpy() for name, leaf in zip(params, leaves, strict=True)}, params


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("options", [{}, {"directions": 5}], ids=str)
def test_autograd_of_a_relu_net_passes(dtype, options):
    for seed in range(3):
        f, gradient, params = net(seed, dtype)
        check = check_gradient(f, gradient, params, rng=seed, **options)
        assert check, check
    assert not check_gradient(f, {k: 1.5 * g for k, g in gradient.items()}, params, rng=0, **options)


def test_tensors_that_share_memory_with_arrays_are_written_through():
    w = torch.tensor([[0.5, -1.0], [2.0, 0.25]], dtype=torch.float64)
    x = torch.tensor([1.0, -2.0], dtype=torch.float64)
    before = w.clone()
    exact = torch.outer(1 - torch.tanh(w @ x) ** 2, x).numpy()
    assert check_gradient(lambda _: torch.tanh(w @ x).sum().item(), exact, w.numpy())
    assert np.array_equal(w.numpy(), before.numpy())
