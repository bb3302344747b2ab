"""Profiles as they are kept: in a file, in a notebook, and one beside an older one."""

from __future__ import annotations

import json
import platform
from datetime import datetime
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import __version__
from ..tables import table
from .output import DURATIONS, HEAD, Measurement, machine, with_unit

__all__: list[str] = []  # nothing here is public

# Samples from which on there is a spread.
_FEWEST = 3
# Part of the time by which a shared machine drifts between two runs; 13 % were measured. Fixed by
# test_what_is_slower_beyond_the_spread_is_found in tests/test_profiling.py.
_DRIFT = 0.15
_ROW = "{:44}{:>12}{:>12}{:>9}  {}"  # widths in characters


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


def read(file: Path | str) -> Profile:
    """Return the profile that `--json` has written.

    Raises
    ------
    OSError
        If the file cannot be read, or holds none.
    """
    try:
        found = json.loads(Path(file).read_text())
        rows = [Measurement(*(row[name] for name in Measurement._fields)) for row in found.pop("measurements")]
        rows = [row._replace(samples=tuple(map(float, row.samples)), seconds=float(row.seconds)) for row in rows]
        return Profile(found | {"settings": dict(found["settings"]), "date": found["date"]}, rows)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise OSError(f"cannot read a profile from {file}: it must be what numgrad profile --json writes") from None


def check_settings(old: Profile, settings: dict[str, Any]) -> None:
    """Raise an OSError if the older profile was measured with other settings."""
    for name in ("batch", "h", "workers"):
        if old.facts["settings"].get(name) != settings[name]:
            was = old.facts["settings"].get(name)
            raise OSError(f"cannot compare profiles of different settings: --{name} was {was}, is {settings[name]}")


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
    print(_ROW.format("route", "before", "now", "ratio", ""))
    verdicts = [verdict(*pair) for pair in pairs]
    for (was, row), text in zip(pairs, verdicts, strict=True):
        times = (with_unit(one.seconds, DURATIONS) for one in (was, row))
        print(_ROW.format(f"{row.subject}, {row.route}", *times, f"{row.seconds / was.seconds:.2f}x", text))
    return verdicts.count("SLOWER")
