"""Options of the tests, and how often Python collects garbage meanwhile."""

import gc

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


def pytest_collection_finish():
    gc.freeze()  # the tests themselves, which live to the end


# benchmarks/conftest.py has the same module name, and doctests would be looked for in both. The code in tests/typing is
# wrong on purpose, and for type checkers only.
collect_ignore = ["conftest.py", "typing"]
