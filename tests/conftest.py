"""Options of the tests, their order, and how often Python collects garbage meanwhile."""

import gc

import pytest

# Numba makes many objects as it compiles, and all that the tests have compiled before stays alive. With the default of
# 700 new objects a collection, test_recompile and test_callables take a fifth more CPU time. A test that needs a
# collection calls gc.collect().
gc.set_threshold(100_000, 20, 20)


def pytest_addoption(parser):
    parser.addoption(
        "--fuzz-seconds",
        type=float,
        default=0.0,
        help="seconds for each test of tests/fuzz beyond its fixed cases",
    )


# The files that take longest, most of it to compile. They begin first, so that no process is left with one at the end.
SLOW = (
    *("gradient", "separable", "processes", "jacobian", "checking", "recompile", "compiled", "callables", "schemes"),
    *("parallel", "sparsity", "magnitudes", "rows", "hessian", "check_kinds", "main", "descent", "shared", "examples"),
    *("networks", "typing", "checks", "incremental", "resume"),
)


def pytest_collection_modifyitems(items):
    places = {f"test_{name}": place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: places.get(item.path.stem, len(SLOW)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give the tests of a file to one process: what they share is compiled once, in four fifths of the CPU time."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # the longest are first, and not those with the most tests
    return LoadFileScheduling(config, log)


def pytest_collection_finish():
    gc.freeze()  # the tests themselves, which live to the end


# benchmarks/conftest.py has the same module name, and doctests would be looked for in both. The code in tests/typing is
# wrong on purpose, and for type checkers only.
collect_ignore = ["conftest.py", "typing"]
