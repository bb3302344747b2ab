"""Whether the rows of a `LayerObjective` are a function of independent samples, and of its weights by them alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import is_compiled, refuse_captured
from ..loops import Floats
from ..points import EPS, check_argument_is_all
from .responses import eps_of

__all__: list[str] = []  # nothing here is public

# Relative difference of a row's values in two companies that is no rounding: 5e5 roundings of float64.
# Fixed by test_rows_that_see_each_other_are_named.
COMPANY = 1e-10


def check_independent(f: Any, W: Floats, block: slice) -> None:  # noqa: N803
    """Raise a ValueError if `rows` is random, or if the value of a sample depends on the others of a call.

    Half of the samples at a time are evaluated in another order, and together with many neighbours of one of them.
    """
    rng, inputs = np.random.default_rng(0), f._inputs(block)
    z, data = inputs @ W, [array[block] for array in f.data]
    first, again = (f._values(z.copy(), [array.copy() for array in data]) for _ in range(2))
    if first.tobytes() != again.tobytes():
        raise ValueError("rows is random: two calls with the same z differ; is it dropout? make it deterministic")
    order = rng.permutation(len(z))
    for half in (order[: len(z) // 2], order[len(z) // 2 :]):
        if not len(half):
            continue
        near = max(4, len(z))
        company = np.concatenate([np.repeat(half[0], near), half])
        points = z[company]
        points[:near] += 0.1 * (1.0 + np.abs(z[half[0]])) * rng.standard_normal((near, z.shape[1]))
        try:
            with np.errstate(all="ignore"):
                found = f._values(points, [array[company] for array in data])
        except (IndexError, ValueError) as error:
            raise ValueError(
                f"rows must take any number of samples, but not {len(company)} in place of {len(z)}: pass what belongs "
                f"to the samples, such as labels, as data=(t,) ({type(error).__name__}: {error})"
            ) from error
        tolerance = max(COMPANY, 100.0 * eps_of(found)) * np.abs(first[np.isfinite(first)]).max(initial=0.0)
        tolerance += 64 * EPS * np.abs(z[np.isfinite(z)]).max(initial=0.0)
        if (np.abs(found[near:] - first[half]) > tolerance).any():
            raise ValueError(
                "the rows are not independent: the value of a sample depends on the others of the call; is it batch "
                "normalisation, or a sum or mean over the batch? pass an IncrementalObjective, or a plain function"
            )


def check_reads(f: Any, W: Floats, given: Any, block: slice) -> None:  # noqa: N803
    """Raise a ValueError if `rows`, x or the data read the W that was given by another way than the pre-activations."""
    weights = W.copy()

    def evaluate() -> Any:
        if is_compiled(f.rows):
            from .compiling import captured

            refuse_captured(captured(f.rows), given, "rows")
        return f._values(f._inputs(block) @ weights, [array[block].copy() for array in f.data])

    check_argument_is_all(
        f,
        given,
        evaluate,
        "rows, x or data read W by another way than x @ W, which alone is moved here; pass lambda W: objective(W)",
    )
