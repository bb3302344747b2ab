"""The command line: ``python -m numgrad`` demo, profile, check or steps."""

import argparse
import importlib
import json
import math
import os
import sys
from pathlib import Path
from typing import Any


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("\ninterrupted")
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough; let the exit not try to flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ImportError, MemoryError, _UnusableError) as error:
        parser.error(str(error))


class _UnusableError(Exception):
    """An argument that turns out to be of no use."""


def _run(options: argparse.Namespace) -> int:
    if options.command == "demo":
        from .commands import demo

        demo.show_chapter()
        training = demo.train_digits(options.iterations, options.batch, options.workers)
        if options.figures is not None:
            try:
                demo.draw(options.figures, training)
            except ImportError as error:
                print(f"\nno figures: {error}")
    elif options.command == "check":
        return _check(options)
    elif options.command == "steps":
        from .commands import profiling

        profiling.compare_steps(options.plot)
    else:
        from .commands import profiling

        profiling.profile(
            options.shape,
            options.batch,
            options.h,
            options.workers,
            options.repeat,
            options.budget,
            peers=options.peers,
            json_file=options.json,
            plot_file=options.plot,
        )
    return 0


def _check(options: argparse.Namespace) -> int:
    from . import check_gradient

    sys.path.insert(0, os.getcwd())
    f, gradient, x = _function(options.function), _function(options.gradient), _point(options.at)
    kinds = {"samples": options.samples, "directions": options.directions}
    try:
        check = check_gradient(f, gradient, x, **kinds, rtol=options.rtol, atol=options.atol, rng=options.seed)
    except Exception as error:  # f's own too: 1 is the exit code of a gradient that is wrong
        raise _UnusableError(f"the check itself failed: {type(error).__name__}: {error}") from error
    print(check)
    return 0 if check.ok else 1


def _function(text: str) -> Any:
    """Return the function that MODULE:FUNCTION names."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise _UnusableError(f"{text!r} must name a function as MODULE:FUNCTION")
    try:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    except (Exception, SystemExit) as error:  # noqa: BLE001, a module may do anything when it is imported
        raise _UnusableError(f"cannot find {text}: {error}") from None
    if not callable(function):
        raise _UnusableError(f"{text} is not callable")
    return function


def _point(text: str) -> Any:
    """Return the array in a .npy file, or that a list as in JSON spells out."""
    import numpy as np

    try:
        return np.load(text, allow_pickle=False) if text.endswith(".npy") else np.array(json.loads(text), dtype=float)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise _UnusableError(f"cannot read a point from {text!r}: {error}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m numgrad", description="Numerical gradients, shown and measured.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    demo = commands.add_parser("demo", help="walk through the chapter, then train on handwritten digits")
    demo.add_argument("--iterations", type=_positive, default=300, help="updates of the digits' weights (%(default)s)")
    demo.add_argument("--batch", type=_positive, default=100, help="images a gradient (%(default)s)")
    demo.add_argument("--figures", type=Path, metavar="DIR", help="write the pictures there (takes matplotlib)")
    profile = commands.add_parser("profile", help="time the gradient of a layer's weights by every route")
    profile.add_argument(
        "--shape",
        type=_shape,
        nargs="+",
        default=[(784, 10)],
        metavar="FEATURESxCLASSES",
        help="shapes of weight matrices (784x10)",
    )
    profile.add_argument("--batch", type=_positive, default=100, help="samples a gradient (%(default)s)")
    profile.add_argument("--h", type=_positive_real, default=1e-4, help="step of the differences (%(default)s)")
    profile.add_argument(
        "--repeat", type=_positive, default=5, help="gradients a route, of which the median counts (5)"
    )
    profile.add_argument(
        "--budget",
        type=_positive_real,
        default=10.0,
        metavar="SECONDS",
        help="a gradient that takes longer is projected from a sample of its coordinates (%(default)s)",
    )
    profile.add_argument("--peers", action="store_true", help="also scipy, numdifftools and jacobi, where installed")
    profile.add_argument("--json", type=Path, metavar="FILE", help="write the measurements there")
    profile.add_argument("--plot", type=Path, metavar="FILE.png", help="draw time against weights (takes matplotlib)")
    check = commands.add_parser("check", help="compare a gradient with central differences; exits with 1 if it fails")
    check.add_argument("function", metavar="MODULE:FUNCTION", help="the objective f(x)")
    check.add_argument("--gradient", required=True, metavar="MODULE:FUNCTION", help="the candidate, gradient(x)")
    check.add_argument("--at", required=True, metavar="FILE.npy|LIST", help="the point, such as '[3.0, 4.0]'")
    how = check.add_mutually_exclusive_group()
    how.add_argument("--samples", type=_positive, help="random coordinates to check, instead of all")
    how.add_argument("--directions", type=_positive, help="random directions to check instead")
    check.add_argument("--rtol", type=_positive_real, default=1e-5, help="relative tolerance (%(default)s)")
    check.add_argument("--atol", type=_positive_real, default=1e-8, help="absolute tolerance (%(default)s)")
    check.add_argument("--seed", type=int, default=0, help="of the random choice (%(default)s)")
    steps = commands.add_parser("steps", help="the error of exp' at 1 against the step, for every scheme")
    steps.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it (takes matplotlib)")
    for command in (demo, profile):
        command.add_argument("--workers", type=_positive, default=_cores(), help="threads (%(default)s, one a core)")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _positive_real(text: str) -> float:
    number = float(text)
    if not 0.0 < 2.0 * number < math.inf:
        raise argparse.ArgumentTypeError(f"must be finite and positive, got {text}")
    return number


def _shape(text: str) -> tuple[int, int]:
    features, classes = map(_positive, text.split("x"))
    return features, classes


# What argparse calls the types in its errors.
_positive.__name__, _positive_real.__name__, _shape.__name__ = "positive integer", "positive number", "shape"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
