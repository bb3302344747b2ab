"""The command line, ``numgrad`` or ``python -m numgrad``: demo, profile, check or steps."""

from __future__ import annotations

import _thread
import argparse
import contextlib
import json
import math
import os
import signal
import sys
import threading
import time
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__, check_gradient, display
from .commands import demo, profiling, subjects
from .threads import available_cores

# The last two are 128 and the number of the signal, as of a program that a signal has ended.
_CODES = (
    "Exit codes: 0 done, and a gradient that was checked has passed; 1 it has failed, or a profile is slower than the "
    "one compared with; 2 the command could not be run; 130 after Ctrl-C; 141 if nobody reads what it prints."
)
# Seconds between two looks whether LLVM has ended: a person sees no delay.
_PATIENCE = 0.05


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code, which is 0 where the command returns nothing."""
    if hasattr(sys.stdout, "reconfigure"):  # the name of a file may hold what the encoding of the output lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = _parser()
    options, code, failure = parser.parse_args(arguments), 0, ""
    try:
        with _Interrupts():
            code = int(options.run(options) or 0)
            print(end="", flush=True)  # an error of writing is met here, and not by the exit of Python
    except KeyboardInterrupt:
        code = 130
        with contextlib.suppress(OSError):
            print("\ninterrupted")
    except BrokenPipeError:  # the reader, such as head, has seen enough
        code = 141
    except (OSError, ImportError, MemoryError, argparse.ArgumentTypeError) as error:
        failure = str(error) or type(error).__name__
    try:
        print(end="", flush=True)
    except OSError:  # dropped, so that the exit of Python does not try again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if failure:
        parser.error(failure)
    return code


class _Interrupts:
    """Within it, Ctrl-C waits until LLVM has ended: what is raised in Python that LLVM calls is printed and lost."""

    is_waiting = False

    def __enter__(self) -> None:
        self.is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        self.is_ours &= threading.current_thread() is threading.main_thread()  # no other may set a handler
        if self.is_ours:
            signal.signal(signal.SIGINT, self._interrupt)

    def __exit__(self, *_: object) -> None:
        if self.is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.is_waiting:
            self.is_waiting = False
            raise KeyboardInterrupt

    def _interrupt(self, _: int, frame: Any) -> None:
        while frame is not None and not frame.f_globals.get("__name__", "").startswith("llvmlite."):
            frame = frame.f_back
        self.is_waiting = frame is not None
        if not self.is_waiting:
            raise KeyboardInterrupt
        _thread.start_new_thread(self._again, ())

    def _again(self) -> None:
        time.sleep(_PATIENCE)
        if self.is_waiting:
            _thread.interrupt_main()


def _parser() -> argparse.ArgumentParser:
    """Return the parser of all commands. What it parses has the function of the command as its `run`."""
    program = "numgrad" if Path(sys.argv[0]).stem == "numgrad" else "python -m numgrad"
    parser = argparse.ArgumentParser(program, description="Numerical gradients, shown and measured.", epilog=_CODES)
    parser.add_argument("--version", action="version", version=f"numgrad {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, (run, summary) in _COMMANDS.items():
        commands.add_parser(name, help=summary, epilog=_CODES).set_defaults(run=run)
    alternatives = commands.choices["check"].add_mutually_exclusive_group()
    groups: dict[str, Any] = {**commands.choices, "check, one of": alternatives}
    for group, flag, meaning, keywords in _OPTIONS:
        groups[group].add_argument(flag, help=meaning, **keywords)
    return parser


def _demo(options: argparse.Namespace) -> None:
    """Run the demo. Pictures that cannot be drawn are no failure."""
    if options.figures is not None:
        demo.check_figures(options.figures)
    paths = demo.show_chapter()
    losses, weights = demo.train_digits(options.iterations, options.batch, options.workers)
    history = demo.train_two_layers(options.net_iterations)
    if options.figures is not None:
        try:
            demo.draw(options.figures, paths, losses, weights, history)
        except ImportError as error:
            print(f"\nno figures: {error}")


def _profile(options: argparse.Namespace) -> int:
    """Run the profile, and return 1 if a row is slower than in the one to compare with."""
    if (options.function is None) != (options.at is None):
        raise argparse.ArgumentTypeError("--function and --at go together: --function MODULE:NAME --at x.npy")
    if options.function is not None and options.shape + options.net:
        raise argparse.ArgumentTypeError("--function goes without --shape and --net")
    display.check_writable(options.json, options.plot, read=options.at)
    display.check_format(options.plot)
    if options.function is None:
        chosen = subjects.of_shapes(options.shape + options.net or [(784, 10)], options.batch)
    else:
        f, x = _function(options.function), _point(options.at)
        chosen = subjects.functions(options.function, f, x, options.budget)
    settings = profiling.Settings(options.batch, options.h, options.workers, options.repeat, options.budget)
    old = None if options.compare is None else profiling.read_profile(options.compare)
    if old is not None:
        profiling.check_settings(old, settings._asdict())
    new = _judged("profile", profiling.profile, chosen, settings, options.peers, options.json, options.plot)
    return 0 if old is None else int(profiling.compare(old, new) > 0)


def _judged(name: str, run: Any, *arguments: Any, **options: Any) -> Any:
    """Return what a command returns that calls functions of the user's, and tell of their errors, and of their exit."""
    try:
        return run(*arguments, **options)
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except BaseException as error:  # 0 and 1 are the exit codes of what was judged
        said = f": {error}" if str(error) else ""
        raise argparse.ArgumentTypeError(f"the {name} itself failed: {type(error).__name__}{said}") from error


def _check(options: argparse.Namespace) -> int:
    """Check a gradient, and return 1 if it is wrong."""
    f, gradient, x = _function(options.function), _function(options.gradient), _point(options.at)
    kinds = {"samples": options.samples, "directions": options.directions}
    tolerances = {"rtol": options.rtol, "atol": options.atol, "h": options.h, "strict": options.strict}
    check = _judged("check", check_gradient, f, gradient, x, **kinds, **tolerances, rng=options.seed)
    print(check)
    return 0 if check.ok else 1


def _steps(options: argparse.Namespace) -> None:
    """Compare steps and schemes."""
    display.check_writable(options.plot)
    display.check_format(options.plot)
    profiling.compare_steps(options.plot)


def _function(text: str) -> Any:
    """Return the function that MODULE:FUNCTION names."""
    module, _, name = text.partition(":")
    if not name or not all(map(str.isidentifier, module.split("."))):
        raise argparse.ArgumentTypeError(f"{text!r} must name a function as MODULE:FUNCTION, such as package.module:f")
    sys.path.insert(0, os.getcwd())
    try:
        function = attrgetter(name)(import_module(module))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001, a module may do anything when it is imported
        raise argparse.ArgumentTypeError(f"cannot find {text}: {error}") from None
    if not callable(function):
        raise argparse.ArgumentTypeError(f"{text} is not callable")
    return function


def _point(text: str) -> Any:
    """Return the array in a .npy file, or that a list as in JSON spells out; floating, so that it is no copy."""
    try:
        is_file = text.endswith(".npy")
        x = np.load(text, allow_pickle=False) if is_file else np.asarray(json.loads(text, parse_int=float))
        has_bool = not is_file and ("true" in text or "false" in text)  # beside numbers, NumPy takes them for 1 and 0
        if x.dtype.kind not in "fiu" or not x.size or has_bool:
            raise ValueError("it must hold numbers only, and one at least")
        return x if x.dtype.kind == "f" else x.astype(float)
    except (OSError, ValueError, TypeError, EOFError, RecursionError) as error:
        cure = "pass a .npy file, or a list such as '[3.0, 4.0]'"
        raise argparse.ArgumentTypeError(f"cannot read a point from {text!r}: {error}; {cure}") from None


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


def _net(text: str) -> tuple[int, ...]:
    """Return the sizes of a net's layers, three at least, which hyphens separate."""
    sizes = tuple(map(_positive, text.split("-")))
    if len(sizes) < 3:
        raise argparse.ArgumentTypeError(f"must name three sizes or more, such as 784-50-10, got {text}")
    return sizes


# What argparse calls the types in its errors.
_positive.__name__, _positive_real.__name__, _shape.__name__ = "positive integer", "positive number", "shape"
_net.__name__ = "net"

# What runs each command, and its line in the help.
_COMMANDS = {
    "demo": (_demo, "walk through the chapter, then train on handwritten digits"),
    "profile": (_profile, "time the derivatives of a layer, of a net or of your function, by every route"),
    "check": (_check, "compare a gradient with central differences; exits with 1 if it fails"),
    "steps": (_steps, "the error of exp' at 1 against the step, for every scheme"),
}
_SHAPES = {"type": _shape, "nargs": "+", "default": [], "metavar": "FEATURESxCLASSES"}
_NETS = {"type": _net, "nargs": "+", "default": [], "metavar": "SIZE-SIZE-SIZE"}
_THREADS = {"type": _positive, "default": available_cores()}
_BUDGET = "a gradient that takes longer is projected from a sample of its coordinates (%(default)s)"
# The command, its option, what the help says of it, and further arguments of add_argument, in the order of the help.
# The options of "check, one of" exclude each other.
_OPTIONS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("demo", "--iterations", "updates of the digits' weights (%(default)s)", {"type": _positive, "default": 300}),
    ("demo", "--net-iterations", "updates of the two-layer net (%(default)s)", {"type": _positive, "default": 1400}),
    ("demo", "--batch", "images a gradient (%(default)s)", {"type": _positive, "default": 100}),
    ("demo", "--figures", "write the pictures there (takes matplotlib)", {"type": Path, "metavar": "DIR"}),
    ("demo", "--workers", "threads (%(default)s, one a core)", _THREADS),
    ("profile", "--shape", "shapes of weight matrices (784x10)", _SHAPES),
    ("profile", "--net", "sizes of nets with hidden layers, such as 784-50-10", _NETS),
    ("profile", "--function", "your f(x) instead: gradient and Hessian, or Jacobian", {"metavar": "MODULE:FUNCTION"}),
    ("profile", "--at", "its point, such as '[3.0, 4.0]'", {"metavar": "FILE.npy|LIST"}),
    ("profile", "--batch", "samples a gradient (%(default)s)", {"type": _positive, "default": 100}),
    ("profile", "--h", "step of the differences (%(default)s)", {"type": _positive_real, "default": 1e-4}),
    ("profile", "--repeat", "gradients a route, of which the median counts (5)", {"type": _positive, "default": 5}),
    ("profile", "--budget", _BUDGET, {"type": _positive_real, "default": 10.0, "metavar": "SECONDS"}),
    ("profile", "--peers", "also scipy, numdifftools and jacobi, where installed", {"action": "store_true"}),
    ("profile", "--json", "write the measurements there", {"type": Path, "metavar": "FILE"}),
    ("profile", "--compare", "exit with 1 if rows are slower than in that file", {"type": Path, "metavar": "OLD.json"}),
    ("profile", "--plot", "draw time against weights (takes matplotlib)", {"type": Path, "metavar": "FILE.png"}),
    ("profile", "--workers", "threads (%(default)s, one a core)", _THREADS),
    ("check", "function", "the objective f(x)", {"metavar": "MODULE:FUNCTION"}),
    ("check", "--gradient", "the candidate, gradient(x)", {"required": True, "metavar": "MODULE:FUNCTION"}),
    ("check", "--at", "the point, such as '[3.0, 4.0]'", {"required": True, "metavar": "FILE.npy|LIST"}),
    ("check, one of", "--samples", "random coordinates to check, instead of all", {"type": _positive}),
    ("check, one of", "--directions", "random directions to check instead", {"type": _positive}),
    ("check", "--rtol", "relative tolerance (%(default)s)", {"type": _positive_real, "default": 1e-5}),
    ("check", "--atol", "absolute tolerance (%(default)s)", {"type": _positive_real, "default": 1e-8}),
    ("check", "--h", "the first step (default: eps**(1/3) times x, or 1)", {"type": _positive_real}),
    ("check", "--strict", "fail where something could not be judged", {"action": "store_true"}),
    ("check", "--seed", "of the random choice (%(default)s)", {"type": int, "default": 0}),
    ("steps", "--plot", "draw it (takes matplotlib)", {"type": Path, "metavar": "FILE.png"}),
)


if __name__ == "__main__":
    sys.exit(main())
