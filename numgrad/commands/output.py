"""What the commands write: whole files, numbers with units, and profiles, also beside older ones."""

from __future__ import annotations

import contextlib
import json
import math
import platform
import sys
import warnings
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import __version__
from ..display import table
from ..threads import available_cores

DURATIONS = (("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))  # in seconds
SIZES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0))  # in bytes
HEAD = ("route", "time", "quartiles", "per weight", "peak memory", "largest error", "speed-up")
_COLUMNS = "{:18}{:>10}{:>21}{:>12}{:>13}{:>15}{:>12}"  # widths in characters
TABLE_HEAD = _COLUMNS.format(*HEAD)
_CHANGES = "{:44}{:>12}{:>12}{:>9}  {}"  # the same, of what is compared
# Samples from which on there is a spread.
_FEWEST = 3
# Part of the time by which a shared machine drifts between two runs; 13 % were measured. Fixed by
# test_what_is_slower_beyond_the_spread_is_found in tests/test_profiling.py.
_DRIFT = 0.15
# What a profile says of itself, and of what kind.
_FACTS: dict[str, type] = {"machine": str, "date": str, "settings": dict}


class Measurement(NamedTuple):
    """What one route cost for one shape: seconds a gradient (the median of `repeats`), peak bytes, largest error."""

    route: str
    shape: tuple[int, ...]
    weights: int
    seconds: float
    repeats: int
    coordinates: int  # that were computed; fewer than there are weights make `seconds` a projection
    peak_bytes: int
    largest_error: float
    speed_up: float  # against the first route
    subject: str = ""  # what was differentiated
    samples: tuple[float, ...] = ()  # seconds of each repeat, projected likewise

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Return the lower quartile of the samples, their median and the upper quartile, in seconds."""
        lower, median, upper = np.quantile(self.samples or [self.seconds], [0.25, 0.5, 0.75]).tolist()
        return lower, median, upper

    @property
    def projected(self) -> bool:
        """Tell whether `seconds` was projected from a sample of the coordinates."""
        return self.coordinates < self.weights

    def __str__(self) -> str:
        return _COLUMNS.format(*self.cells())

    def cells(self) -> tuple[str, ...]:
        """Return the cells of its row in a table."""
        lower, _, upper = (with_unit(seconds, DURATIONS) for seconds in self.quartiles)
        return (
            self.route,
            "~" * self.projected + with_unit(self.seconds, DURATIONS),
            f"{lower} - {upper}" if len(self.samples) > 1 else "-",
            with_unit(self.seconds / self.weights, DURATIONS),
            with_unit(self.peak_bytes, SIZES),
            f"{self.largest_error:.1e}",
            f"{self.speed_up:,.3g}x" if self.speed_up < 100 else f"{self.speed_up:,.0f}x",
        )


class Profile(NamedTuple):
    """What a profile has measured, and on which machine, when, and with what."""

    facts: dict[str, Any]
    rows: list[Measurement]

    def to_json(self) -> bytes:
        """Return it as the text of a file."""
        rows = [row._asdict() | {"quartiles": row.quartiles, "projected": row.projected} for row in self.rows]
        return json.dumps(self.facts | {"measurements": rows}, indent=1).encode() + b"\n"

    def _repr_html_(self) -> str:
        rows = sorted(self.rows, key=lambda row: -row.seconds)
        cells = [(row.subject, *row.cells()) for row in rows]
        return table(("of", *HEAD), cells, caption=f"{self.facts['machine']}, {self.facts['date']}")


def facts() -> dict[str, Any]:
    """Return the machine, the date, the versions, and the threads of the BLAS, None where threadpoolctl is missing."""
    threads = None
    if find_spec("threadpoolctl"):
        pools = import_module("threadpoolctl").threadpool_info()
        threads = max((pool["num_threads"] for pool in pools if pool["user_api"] == "blas"), default=None)
    versions = {"numgrad": __version__, "python": platform.python_version(), "numpy": np.__version__}
    for name in ("numba", "scipy", "numdifftools", "jacobi"):
        versions |= {name: metadata.version(name)} if find_spec(name) else {}
    date = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"machine": machine(), "date": date, "versions": versions, "blas_threads": threads}


def read_profile(file: Path | str) -> Profile:
    """Return the profile that `--json` has written.

    Raises
    ------
    OSError
        If the file cannot be read, or holds none.
    """
    try:
        found = json.loads(Path(file).read_text())
        rows = [Measurement(*(row[name] for name in Measurement._fields)) for row in found.pop("measurements")]
        rows = [row._replace(samples=tuple(row.samples), shape=tuple(row.shape)) for row in rows]
        if all(map(_is_row, rows)) and all(isinstance(found[name], kind) for name, kind in _FACTS.items()):
            return Profile(found, rows)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        pass
    raise OSError(f"cannot read a profile from {file}: it must be what numgrad profile --json writes")


def _is_row(row: Measurement) -> bool:
    """Tell whether what was read of a route can be compared: its names, and times that are finite and positive."""
    times = (row.seconds, *row.samples)
    is_named = isinstance(row.route, str) and isinstance(row.subject, str)
    return is_named and all(isinstance(seconds, int | float) and 0.0 < float(seconds) < math.inf for seconds in times)


def check_settings(old: Profile, settings: dict[str, Any]) -> None:
    """Raise an OSError if the older profile was measured with other settings."""
    for name in ("batch", "h", "workers"):
        if old.facts["settings"].get(name) != settings[name]:
            was = old.facts["settings"].get(name)
            raise OSError(f"cannot compare profiles of different settings: --{name} was {was!r}, is {settings[name]!r}")


def verdict(old: Measurement, new: Measurement) -> str:
    """Return whether a row is slower: its quartiles lie farther above the older ones than these are apart."""
    if min(len(old.samples), len(new.samples)) < _FEWEST:
        return "too few samples"
    (low, median, high), (new_low, _, new_high) = old.quartiles, new.quartiles
    drift = _DRIFT * median
    if new_low - high > max(high - low, drift):
        return "SLOWER"
    return "faster" if low - new_high > max(new_high - new_low, drift) else "same"


def compare(old: Profile, new: Profile) -> int:
    """Print how the rows that both profiles have differ, and return how many are slower beyond the spread.

    Raises
    ------
    OSError
        If they have no row in common.
    """
    before = {(row.subject, row.route): row for row in old.rows}
    pairs = [(before[key], row) for row in new.rows if (key := (row.subject, row.route)) in before]
    if not pairs:
        raise OSError("cannot compare profiles that have no row in common")
    print(f"\nagainst {old.facts['date']}" + ", another machine" * (old.facts["machine"] != new.facts["machine"]))
    print(_CHANGES.format("route", "before", "now", "ratio", ""))
    verdicts = [verdict(*pair) for pair in pairs]
    for (was, row), text in zip(pairs, verdicts, strict=True):
        times = (with_unit(one.seconds, DURATIONS) for one in (was, row))
        print(_CHANGES.format(f"{row.subject}, {row.route}", *times, f"{row.seconds / was.seconds:.2f}x", text))
    return verdicts.count("SLOWER")


def check_writable(*files: Path | None) -> None:
    """Raise an OSError unless each file can be written; None stands for a file that nobody asked for."""
    for file in filter(None, files):
        if file.exists() and not file.is_file():
            raise OSError(f"{file} is not a file")
        try:
            _part(file).touch()
            _part(file).unlink()
        except OSError as error:
            raise OSError(f"cannot write {file}: {error.strerror}") from None


def write_whole(file: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = _part(file)
    try:
        part.write_bytes(content)
        part.replace(file.resolve())
    finally:
        part.unlink(missing_ok=True)


def machine() -> str:
    """Return the processor, the number of cores that may be used, and the versions that matter."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    packages = f"numpy {np.__version__}, numba {metadata.version('numba')}, numgrad {__version__}"
    return f"{name}, {available_cores()} cores, Python {platform.python_version()}, {packages}"


def with_unit(amount: float, units: Sequence[tuple[str, float]]) -> str:
    """Return an amount with three digits and the largest of `units` that it reaches, or the smallest."""
    unit, size = next((pair for pair in units if amount >= pair[1]), units[-1])
    return f"{amount / size:.3g} {unit}"


def show_status(text: str) -> None:
    """Show a line on a terminal, in place of the line before; elsewhere show nothing."""
    if sys.stderr is not None and sys.stderr.isatty():  # a program without a console has none
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def warnings_below(indent: int) -> Iterator[None]:
    """Print what a block warns of below what it prints, once each, without the line, which is one of this package."""
    # The filters belong to the whole process: a program may change them in its only thread, a library may not.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        print(f"{'':{indent}}warning: {message}")


def _part(file: Path) -> Path:
    """Return the name of the unfinished file, in the same folder so that the finished one can replace it at once."""
    return Path(f"{file.resolve()}.part")
