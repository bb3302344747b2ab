"""Options of the tests."""


def pytest_addoption(parser):
    parser.addoption(
        "--fuzz-seconds",
        type=float,
        default=0.0,
        help="seconds for each test of tests/fuzz beyond its fixed cases",
    )


# benchmarks/conftest.py has the same module name, and doctests would be looked for in both. The code in tests/typing is
# wrong on purpose, and for type checkers only.
collect_ignore = ["conftest.py", "typing"]
