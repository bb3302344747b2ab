"""The command line: ``python -m numgrad`` demo, profile, check or steps."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
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


def _parser() -> argparse.ArgumentParser:
    """Return the parser of all commands. What it parses has the function of the command as its `run`."""
    from .commands.output import available_cores

    parser = argparse.ArgumentParser("python -m numgrad", description="Numerical gradients, shown and measured.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, add_options, run, summary in (
        ("demo", _demo_options, _demo, "walk through the chapter, then train on handwritten digits"),
        ("profile", _profile_options, _profile, "time the gradient of a layer's weights by every route"),
        ("check", _check_options, _check, "compare a gradient with central differences; exits with 1 if it fails"),
        ("steps", _steps_options, _steps, "the error of exp' at 1 against the step, for every scheme"),
    ):
        command = commands.add_parser(name, help=summary)
        add_options(command)
        command.set_defaults(run=run)
    for name in ("demo", "profile"):
        threads = "threads (%(default)s, one a core)"
        commands.choices[name].add_argument("--workers", type=_positive, default=available_cores(), help=threads)
    return parser


def _demo_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the demo."""
    add = parser.add_argument
    add("--iterations", type=_positive, default=300, help="updates of the digits' weights (%(default)s)")
    add("--batch", type=_positive, default=100, help="images a gradient (%(default)s)")
    add("--figures", type=Path, metavar="DIR", help="write the pictures there (takes matplotlib)")


def _demo(options: argparse.Namespace) -> int:
    """Run the demo. Pictures that cannot be drawn are no failure."""
    from .commands import demo

    paths = demo.show_chapter()
    training = demo.train_digits(options.iterations, options.batch, options.workers)
    if options.figures is not None:
        try:
            demo.draw(options.figures, paths, training)
        except ImportError as error:
            print(f"\nno figures: {error}")
    return 0


def _profile_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the profile."""
    add = parser.add_argument
    shapes = "shapes of weight matrices (784x10)"
    add("--shape", type=_shape, nargs="+", default=[(784, 10)], metavar="FEATURESxCLASSES", help=shapes)
    add("--batch", type=_positive, default=100, help="samples a gradient (%(default)s)")
    add("--h", type=_positive_real, default=1e-4, help="step of the differences (%(default)s)")
    add("--repeat", type=_positive, default=5, help="gradients a route, of which the median counts (5)")
    projected = "a gradient that takes longer is projected from a sample of its coordinates (%(default)s)"
    add("--budget", type=_positive_real, default=10.0, metavar="SECONDS", help=projected)
    add("--peers", action="store_true", help="also scipy, numdifftools and jacobi, where installed")
    add("--json", type=Path, metavar="FILE", help="write the measurements there")
    add("--plot", type=Path, metavar="FILE.png", help="draw time against weights (takes matplotlib)")


def _profile(options: argparse.Namespace) -> int:
    """Run the profile."""
    from .commands import profiling

    settings = profiling.Settings(options.batch, options.h, options.workers, options.repeat, options.budget)
    profiling.profile(options.shape, settings, peers=options.peers, json_file=options.json, plot_file=options.plot)
    return 0


def _check_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the check."""
    add = parser.add_argument
    add("function", metavar="MODULE:FUNCTION", help="the objective f(x)")
    add("--gradient", required=True, metavar="MODULE:FUNCTION", help="the candidate, gradient(x)")
    add("--at", required=True, metavar="FILE.npy|LIST", help="the point, such as '[3.0, 4.0]'")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--samples", type=_positive, help="random coordinates to check, instead of all")
    how.add_argument("--directions", type=_positive, help="random directions to check instead")
    add("--rtol", type=_positive_real, default=1e-5, help="relative tolerance (%(default)s)")
    add("--atol", type=_positive_real, default=1e-8, help="absolute tolerance (%(default)s)")
    add("--seed", type=int, default=0, help="of the random choice (%(default)s)")


def _check(options: argparse.Namespace) -> int:
    """Check a gradient, and return 1 if it is wrong."""
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


def _steps_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the comparison of steps."""
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it (takes matplotlib)")


def _steps(options: argparse.Namespace) -> int:
    """Compare steps and schemes."""
    from .commands import profiling

    profiling.compare_steps(options.plot)
    return 0


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


def _positive(text: str) -> int:
    """Return a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _positive_real(text: str) -> float:
    """Return a number that is positive and stays finite when doubled."""
    number = float(text)
    if not 0.0 < 2.0 * number < math.inf:
        raise argparse.ArgumentTypeError(f"must be finite and positive, got {text}")
    return number


def _shape(text: str) -> tuple[int, int]:
    """Return features and classes, which an x separates."""
    features, classes = map(_positive, text.split("x"))
    return features, classes


# What argparse calls the types in its errors.
_positive.__name__, _positive_real.__name__, _shape.__name__ = "positive integer", "positive number", "shape"


if __name__ == "__main__":
    sys.exit(main())
