"""The command line: ``python -m numgrad demo`` walks through the chapter, ``profile`` measures weight matrices."""

import argparse
import math
import os
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except KeyboardInterrupt:
        print("\ninterrupted")
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough; let the exit not try to flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ImportError, MemoryError) as error:
        parser.error(str(error))
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.command == "demo":
        from . import demo

        demo.show_chapter()
        demo.train_digits(options.iterations, options.batch, options.workers)
    else:
        from . import profiling

        profiling.profile(
            options.shape,
            options.batch,
            options.h,
            options.workers,
            options.repeat,
            options.budget,
            json_file=options.json,
            plot_file=options.plot,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m numgrad", description="Numerical gradients, shown and measured.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    demo = commands.add_parser("demo", help="walk through the chapter, then train on handwritten digits")
    demo.add_argument("--iterations", type=_positive, default=300, help="updates of the digits' weights (%(default)s)")
    demo.add_argument("--batch", type=_positive, default=100, help="images a gradient (%(default)s)")
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
    profile.add_argument("--json", type=Path, metavar="FILE", help="write the measurements there")
    profile.add_argument("--plot", type=Path, metavar="FILE.png", help="draw time against weights (takes matplotlib)")
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
    if not 0.0 < number < math.inf:
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
