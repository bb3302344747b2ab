"""The command line: errors, exit codes, interrupts."""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from problems import JIT, needs_jit

from numgrad import __main__ as main
from numgrad import display
from numgrad.commands import demo, profiling, subjects

SMALL = ["demo", "--iterations", "2", "--net-iterations", "2", "--batch", "2", "--workers", "1"]


@pytest.fixture
def short_demo(monkeypatch):
    if not JIT:  # as plain Python, the loops that are projected take 20 s; test_demo.py has them with the compiler
        monkeypatch.setattr(demo, "_show_other_routes", lambda *_: None)


def test_the_demo_runs_and_says_which_extra_draws_its_pictures(short_demo, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main.main([*SMALL, "--figures", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Test accuracy 0." in printed
    assert "no figures: pictures are drawn by matplotlib: python -m pip install" in printed


def test_the_demo_draws_its_pictures_and_escapes_names_that_the_output_cannot_encode(short_demo, monkeypatch, tmp_path):
    folder = tmp_path / "new" / "Ableitungen \u2202"
    with open(tmp_path / "printed", "w", encoding="ascii") as printed:
        monkeypatch.setattr(sys, "stdout", printed)
        assert main.main([*SMALL, "--figures", str(folder)]) == 0
    text = (tmp_path / "printed").read_text(encoding="ascii")
    assert "8 pictures in" in text
    assert text.count("Ableitungen \\u") == 1
    names = {"tangents", "secants", "gradient_field", "surface", "descent", "loss", "weights", "training"}
    assert {path.stem for path in folder.iterdir()} == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.iterdir())


@needs_jit
def test_profile_prints_a_table_and_writes_the_files(capsys, tmp_path):
    table, picture = tmp_path / "p.json", tmp_path / "p.png"
    command = [
        "profile",
        "--shape",
        "4x3",
        "6x5",
        "--net",
        "4-3-2",
        "4-3-3-2",
        "--batch",
        "2",
        "--repeat",
        "2",
        "--workers",
        "1",
    ]
    assert main.main([*command, "--json", str(table), "--plot", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert "4 x 3, 12 weights" in printed
    assert "6 x 5, 30 weights" in printed
    assert "4-3-2, 23 weights" in printed
    assert "4-3-3-2, 35 weights" in printed
    facts = json.loads(table.read_text())
    assert facts["complete"]
    assert facts["settings"] == {"batch": 2, "h": 1e-4, "workers": 1, "repeat": 2, "budget": 10.0}
    assert len(facts["measurements"]) == 18
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.json", "p.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: command"),
        (["nosuch"], "invalid choice: 'nosuch'"),
        (["demo", "--iterations", "0"], "must be at least 1, got 0"),
        (["demo", "--batch", "ten"], "invalid positive integer value: 'ten'"),
        (["demo", "--nosuch"], "unrecognized arguments: --nosuch"),
        (["profile", "--shape", "10"], "invalid shape value: '10'"),
        (["profile", "--shape", "0x10"], "must be at least 1, got 0"),
        (["profile", "--shape", "2x3x4"], "invalid shape value: '2x3x4'"),
        (["profile", "--net", "784-10"], "must name three sizes or more, such as 784-50-10, got 784-10"),
        (["profile", "--net", "784-x-10"], "invalid net value: '784-x-10'"),
        (["profile", "--batch", "0"], "must be at least 1, got 0"),
        (["profile", "--h", "nan"], "must be finite and positive, got nan"),
        (["profile", "--h", "1e308"], "must be finite and positive, got 1e308"),
        (["profile", "--budget", "-1"], "must be finite and positive, got -1"),
        (["profile", "--json", "/nosuch/p.json"], "cannot write /nosuch/p.json: No such file or directory"),
        (["profile", "--json", "/"], "/ is not a file"),
        (["profile", "--json", "/dev/null"], "/dev/null is not a file"),
        (["profile", "--plot", "p.nosuch"], "cannot draw p.nosuch: its suffix must be one of"),
        (["demo", "--figures", "/dev/null/figures"], "Not a directory: '/dev/null/figures'"),
        (["demo", "--figures", __file__], "cannot make a directory of the pictures: File exists: "),
        (["profile", "--shape", "9999999999x9999999999"], "x 9999999999 at batch 100 does not fit into memory"),
    ],
)
def test_bad_command_lines_exit_with_2_and_a_clear_error(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main.main(arguments)
    assert caught.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_ctrl_c_ends_the_demo_with_130(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "train_digits", interrupted)
    assert main.main(SMALL) == 130
    assert capsys.readouterr().out.endswith("interrupted\n")


@pytest.mark.parametrize("steps", [0, 3000])  # that the command would still take
def test_ctrl_c_is_not_lost_in_python_that_llvm_calls(monkeypatch, steps):
    space = {"__name__": "llvmlite.binding.executionengine", "signal": signal, "ended": []}
    exec("def notify():\n    signal.raise_signal(signal.SIGINT)\n    ended.append(True)", space)
    callback, before = ctypes.CFUNCTYPE(None)(space["notify"]), signal.getsignal(signal.SIGINT)

    def compiles():
        callback()  # what it raises would be printed and lost
        for _ in range(steps):
            time.sleep(0.01)
        space["ended"].append(steps)

    monkeypatch.setattr(demo, "show_chapter", compiles)
    monkeypatch.setattr(demo, "train_digits", lambda *_: ([], None))
    monkeypatch.setattr(demo, "train_two_layers", lambda *_: None)
    assert main.main(SMALL) == 130
    assert space["ended"] == [True] + [0] * (steps == 0)
    assert signal.getsignal(signal.SIGINT) is before


def test_unwritable_figures_are_found_before_the_demo(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(demo, "show_chapter", lambda: pytest.fail("the demo has begun"))
    (tmp_path / "loss.png").mkdir()
    with pytest.raises(SystemExit) as caught:
        main.main([*SMALL, "--figures", str(tmp_path)])
    assert caught.value.code == 2
    assert "loss.png is not a file" in capsys.readouterr().err


@needs_jit
def test_a_loss_that_is_constant_warns_without_a_line_of_the_package(capsys, recwarn):
    assert main.main(["profile", "--shape", "2x1", "--batch", "1", "--repeat", "1"]) == 0
    assert capsys.readouterr().out.count("warning: all differences are exactly zero") == 1
    assert not recwarn.list


def test_ctrl_c_keeps_what_profile_has_finished(monkeypatch, capsys, tmp_path):
    def two_routes(layer, h, workers, peers):
        yield profiling.Route("NumPy backprop", lambda count: layer.backprop().reshape(-1), whole=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(subjects.Layer, "routes", two_routes)
    file = tmp_path / "p.json"
    assert main.main(["profile", "--shape", "4x3", "--batch", "2", "--json", str(file)]) == 130
    printed = capsys.readouterr().out
    assert "NumPy backprop" in printed
    assert printed.endswith("interrupted\n")
    facts = json.loads(file.read_text())
    assert not facts["complete"]
    assert [row["route"] for row in facts["measurements"]] == ["NumPy backprop"]


def test_an_old_file_survives_where_nothing_could_be_written(monkeypatch, tmp_path):
    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(display, "write_whole", fails)
    file = tmp_path / "p.json"
    file.write_text("old")
    assert main.main(["profile", "--shape", "1x1", "--batch", "1", "--budget", "0.01", "--json", str(file)]) == 130
    assert file.read_text() == "old"


def test_it_runs_as_a_module():
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    result = subprocess.run(
        [sys.executable, "-m", "numgrad", "--help"], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0
    assert "demo" in result.stdout


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cubes.py").write_text(
        "def f(x): return float((x**3).sum())\n"
        "def right(x): return 3 * x**2\n"
        "def wrong(x): return 2 * x**2\n"
        "def flat(x): return [1.0]\n"
        "def noisy(x): return f(x) + 1e-6 * __import__('math').sin(1e13 * float(x.sum()))\n"
        "number = 3\n"
        "def exits(x): return 1 / 0\n"
        "def leaves(x): raise SystemExit(0)\n"
        "def says(x): return 'a'\n"
        "def ends(x): raise GeneratorExit\n"
        "def infinite(x): return x + float('inf')\n"
        "def writes(x): x *= 2; return f(x)\n"
        "def writes_and_returns(x): x[-1] = 7; return x\n"
        "def reshapes(x): x.shape = (2, 1); return f(x)\n"
        "def none(x): return x[:0]\n"
        "def nothing(x): pass\n"
        "def nan(x): return float('nan')\n"
        "def ragged(x): return [[1.0], [1.0, 2.0]]\n"
        "def texts(x): return ['a', 'b']\n"
        "def lost(x): raise MemoryError\n"
        "def disk(x): raise OSError('disk')\n"
        "def lacks(x): import nosuch\n"
        "def opens(x): return float(open('no.txt').read())\n"
        "def sine(x): return __import__('math').sin(x)\n"
        "def pair(x): return [float(x), float(x) ** 2]\n"
        "def spike(x): return 1.0 if list(x) == [0, 2] else float('nan')\n"
    )
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)")
    (tmp_path / "empty.npy").touch()
    np.save(tmp_path / "none.npy", np.empty((0, 3)))
    np.save(tmp_path / "complex.npy", np.ones(2, complex))
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    sys.modules.pop("cubes", None)


def test_profile_compares_a_function_with_what_it_took_before(module, capsys, tmp_path):
    np.save("x.npy", np.array([3.0, 4.0]))
    command = ["profile", "--function", "cubes:f", "--at", "x.npy", "--workers", "1", "--repeat", "3", "--budget", "60"]
    assert main.main([*command, "--json", "new.json"]) == 0
    printed = capsys.readouterr().out
    assert "gradient of cubes:f, 2 coordinates" in printed
    assert "Hessian of cubes:f, 2 coordinates" in printed
    facts = json.loads(Path("new.json").read_text())
    assert {"date", "versions", "blas_threads", "machine"} <= facts.keys()
    assert facts["versions"]["numpy"] == np.__version__
    row = facts["measurements"][0]
    assert (row["subject"], len(row["samples"]), len(row["quartiles"])) == ("gradient of cubes:f", 3, 3)
    for factor, code in ((1e-3, 1), (1e3, 0)):
        for row in facts["measurements"]:
            row["samples"] = [factor * seconds for seconds in row["samples"]]
        Path("old.json").write_text(json.dumps(facts))
        assert main.main([*command, "--compare", "old.json"]) == code
        printed = capsys.readouterr().out
        assert f"against {facts['date']}" in printed
        assert printed.count("SLOWER" if code else "faster") == len(facts["measurements"])
        facts = json.loads(Path("new.json").read_text())


@needs_jit
def test_profile_keeps_what_it_reads_and_what_it_does_not_know(module, capsys, tmp_path):
    np.save("x.npy", np.array([3.0, 4.0]))
    Path("p.json.part").write_text("mine")
    os.symlink("x.npy", "link.json")
    command = ["profile", "--function", "cubes:f", "--at", "x.npy", "--workers", "1", "--repeat", "1"]
    for files in (["--json", "x.npy"], ["--plot", "./x.npy"], ["--json", "link.json"], ["--json", "p", "--plot", "p"]):
        with pytest.raises(SystemExit) as caught:
            main.main([*command, *files])
        assert caught.value.code == 2
        assert "is named twice: what is written must not replace what is read" in capsys.readouterr().err
        assert np.load("x.npy").tolist() == [3.0, 4.0]
    assert main.main([*command, "--json", "p.json"]) == 0
    assert main.main([*command, "--json", "p.json", "--compare", "p.json"]) == 0
    assert Path("p.json.part").read_text() == "mine"


@pytest.mark.parametrize("f", ["sine", "pair"])
def test_profile_gives_f_a_point_without_axes_as_it_is(module, capsys, f):
    assert main.main(["profile", "--function", f"cubes:{f}", "--at", "0.5", "--workers", "1", "--repeat", "1"]) == 0
    for row in capsys.readouterr().out.splitlines():
        if row.startswith(("NumPy", "Python")):
            assert float(row.split("B")[-1].split()[0]) < 1e-7, row  # the largest error


ERRORS = (  # of f, which are not taken for those of the command
    ("lost", "MemoryError$"),
    ("disk", "OSError: disk$"),
    ("lacks", "ModuleNotFoundError: No module named 'nosuch'$"),
    ("opens", r"FileNotFoundError: \[Errno 2\] No such file or directory: 'no.txt'$"),
)
F = ["--function", "cubes:f", "--at"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (F[:2], "--function and --at go together: --function MODULE:NAME --at x.npy"),
        (["--at", "[1]"], "--function and --at go together"),
        ([*F, "[1]", "--shape", "2x3"], "--function goes without --shape and --net"),
        ([*F, "[1"], "cannot read a point from"),
        (["--function", "cubes:no", "--at", "[1]"], "cannot find cubes:no"),
        (
            ["--function", "cubes:exits", "--at", "[1]"],
            "the profile itself failed: ZeroDivisionError: division by zero",
        ),
        (["--function", "cubes:leaves", "--at", "[1]"], "the profile itself failed: SystemExit: 0"),
        *(
            (["--function", f"cubes:{name}", "--at", "[1]"], f"the profile itself failed: {error}")
            for name, error in ERRORS
        ),
        (
            ["--function", "cubes:f", "--at", "[1]", "--json", "/nosuch/p"],
            "error: cannot write /nosuch/p: No such file",
        ),
        (["--function", "cubes:says", "--at", "[1]"], "the profile itself failed: TypeError: .*f must return"),
        *[
            (["--function", f"cubes:{name}", "--at", "[0, 2]"], f"the profile itself failed: {error}: {said}")
            for name, error, said in (
                ("writes", "ValueError", "f writes to its argument"),
                ("writes_and_returns", "ValueError", "f writes to its argument"),
                ("reshapes", "ValueError", "f writes to its argument"),
                ("none", "ValueError", r"f must return finite numbers .* shape \(0,\)"),
                ("nothing", "TypeError", "f must return one real number, .* NoneType None: is a return missing"),
                ("nan", "ValueError", "f must return finite numbers at the point, it returned float nan"),
                (
                    "infinite",
                    "ValueError",
                    "f must return finite numbers at the point, it returned an array of dtype float64",
                ),
                ("ragged", "ValueError", "what f returns must be a rectangular array"),
                ("texts", "TypeError", "what f returns must hold real numbers"),
                ("spike", "ValueError", "the gradient of cubes:spike is not finite there"),
            )
        ],
        (["--compare", "no.json"], "No such file or directory: 'no.json'"),
        (
            ["--compare", "cubes.py"],
            "cannot read a profile from cubes.py: it must be what numgrad profile --json writes",
        ),
        (["--compare", "old.json", "--batch", "3"], "profiles of different settings: --batch was 2, is 3"),
        ([*F, "[1, 2]", "--batch", "2", "--workers", "1", "--compare", "old.json"], "have no row in common"),
    ],
)
def test_profile_misused_exits_with_2(module, capsys, arguments, message):
    settings = {"batch": 2, "h": 1e-4, "workers": 1}
    Path("old.json").write_text(json.dumps({"settings": settings, "date": "", "machine": "", "measurements": []}))
    with pytest.raises(SystemExit) as caught:
        main.main(["profile", "--budget", "0.1", *arguments])
    assert caught.value.code == 2
    assert re.search(message, capsys.readouterr().err)


DAMAGES = {
    "no machine": lambda profile, row: profile.pop("machine"),
    "a machine that is no text": lambda profile, row: profile.update(machine=3),
    "no date": lambda profile, row: profile.update(date=None),
    "settings as a list": lambda profile, row: profile.update(settings=[["batch", 2]]),
    "a row that is none": lambda profile, row: profile["measurements"].append(3),
    "no row": lambda profile, row: profile.update(measurements=None),
    "a row without a name": lambda profile, row: row.pop("route"),
    "a name as a list": lambda profile, row: row.update(subject=["2 x 3"]),
    "no samples": lambda profile, row: row.update(samples=None),
    "samples as a text": lambda profile, row: row.update(samples="12345"),
    "a shape that is none": lambda profile, row: row.update(shape=2),
    **{
        f"seconds {time!s:.9}": lambda profile, row, time=time: row.update(seconds=time)
        for time in (0, -1.0, float("nan"), float("inf"), 10**400, "1", None)
    },
    **{
        f"a sample {time}": lambda profile, row, time=time: row["samples"].append(time)
        for time in (0.0, -1, float("nan"), float("-inf"), "1", None, [1.0])
    },
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_profile_is_told_before_anything_is_measured(damage, tmp_path, monkeypatch, capsys):
    row = dict.fromkeys(profiling.Measurement._fields, 1.0) | {"route": "compiled", "subject": "2 x 3"}
    row |= {"shape": [2, 3], "samples": [1.0, 2.0]}
    settings = {"batch": 100, "h": 1e-4, "workers": 1}
    profile = {"settings": settings, "date": "today", "machine": "mine", "measurements": [row]}
    file = tmp_path / "old.json"
    file.write_text(json.dumps(profile))
    assert profiling.read_profile(file).rows[0].seconds == 1.0
    DAMAGES[damage](profile, row)
    file.write_text(json.dumps(profile))
    monkeypatch.setattr(profiling, "profile", None)
    with pytest.raises(SystemExit) as caught:
        main.main(["profile", "--compare", str(file)])
    assert caught.value.code == 2
    assert re.search(r"cannot read a profile from \S*: it must be what numgrad profile --json", capsys.readouterr().err)


def test_settings_of_another_kind_are_told_apart(tmp_path, capsys):
    settings = {"batch": "4", "h": 1e-4, "workers": 1}
    file = tmp_path / "old.json"
    file.write_text(json.dumps({"settings": settings, "date": "", "machine": "", "measurements": []}))
    for text, said in (
        (None, "--batch was '4', is 4"),
        ("[" * 10**5, "cannot read a profile"),
        ("3", "cannot read a p"),
    ):
        file.write_text(file.read_text() if text is None else text)
        with pytest.raises(SystemExit) as caught:
            main.main(["profile", "--batch", "4", "--compare", str(file)])
        assert caught.value.code == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(("gradient", "code"), [("right", 0), ("wrong", 1)])
def test_check_exits_with_1_if_the_gradient_is_wrong(module, capsys, tmp_path, gradient, code):
    np.save(tmp_path / "x.npy", np.array([3.0, 4.0]))
    for at in ("[3.0, 4.0]", "x.npy"):
        for how in ([], ["--samples", "1"], ["--directions", "2"]):
            command = ["check", "cubes:f", "--gradient", f"cubes:{gradient}", "--at", at, *how]
            assert main.main(command) == code
            assert f"gradient check {'FAILED' if code else 'passed'}" in capsys.readouterr().out


def test_check_takes_a_first_step_and_refuses_what_was_not_judged(module, capsys):
    command = ["check", "cubes:noisy", "--gradient", "cubes:right", "--at", "[3, 4]"]
    assert main.main(command) == 0
    assert main.main([*command, "--h", "0.1"]) == 0
    zero = ["check", "cubes:f", "--gradient", "cubes:right", "--at", "[0, 0]"]
    assert main.main(zero) == 0
    assert "gradient check passed (nothing was judged)" in capsys.readouterr().out
    assert main.main([*zero, "--strict"]) == 1
    assert "gradient check FAILED (nothing was judged)" in capsys.readouterr().out
    assert main.main([*command[:5], "[3, 4]", "--strict"]) == 0
    for step in ("0", "-1", "nan", "a"):
        with pytest.raises(SystemExit) as caught:
            main.main([*command, "--h", step])
        assert caught.value.code == 2
        assert "argument --h: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cubes", "--gradient", "cubes:right", "--at", "[1]"], "'cubes' must name a function as MODULE:FUNCTION"),
        (
            ["./cubes.py:f", "--gradient", "cubes:right", "--at", "[1]"],
            "'./cubes.py:f' must name a function as MODULE:",
        ),
        (["cubes:f", "--gradient", "cubes:no", "--at", "[1]"], "cannot find cubes:no: module 'cubes' has no attribute"),
        (["nosuch:f", "--gradient", "cubes:f", "--at", "[1]"], "cannot find nosuch:f: No module named 'nosuch'"),
        (["cubes:number", "--gradient", "cubes:f", "--at", "[1]"], "cubes:number is not callable"),
        (["cubes:f", "--gradient", "cubes:right", "--at", "[1, "], "cannot read a point from '\\[1, ': "),
        *(
            (["cubes:f", "--gradient", "cubes:right", "--at", at], "pass a .npy file, or a list such as")
            for at in ("1,2", "1 2", "x.txt", "cubes:x")
        ),
        (
            ["cubes:f", "--gradient", "cubes:right", "--at", "no.npy"],
            "from 'no.npy': .*No such file",
        ),
        (["cubes:f", "--gradient", "cubes:flat", "--at", "[1, 2]"], "gradient must have the shape of x"),
        (["cubes:f", "--gradient", "cubes:right"], "required: --at"),
        (["cubes:exits", "--gradient", "cubes:right", "--at", "[1]"], "the check itself failed: ZeroDivisionError"),
        (["cubes:leaves", "--gradient", "cubes:right", "--at", "[1]"], "the check itself failed: SystemExit: 0"),
        (["cubes:f", "--gradient", "cubes:leaves", "--at", "[1]"], "the check itself failed: SystemExit: 0"),
        (["cubes:ends", "--gradient", "cubes:right", "--at", "[1]"], "the check itself failed: GeneratorExit"),
        (["leaves:f", "--gradient", "cubes:right", "--at", "[1]"], "cannot find leaves:f: 0"),
        *(
            (["cubes:f", "--gradient", f"cubes:{name}", "--at", "[1]"], f"the check itself failed: {error}")
            for name, error in ERRORS
        ),
        (["cubes:disk", "--gradient", "cubes:right", "--at", "[1]"], "the check itself failed: OSError: disk"),
        *(
            (["cubes:f", "--gradient", "cubes:right", "--at", at, *way], "cannot read a point from .*numbers only, and")
            for at in (
                "[]",
                "[[], []]",
                "null",
                "[1, null]",
                "[true]",
                "[true, 1]",
                "[[1, 2], [3, false]]",
                "{}",
                '"1"',
                '["1"]',
                "none.npy",
                "complex.npy",
            )
            for way in ([], ["--directions", "2"])
        ),
        (["cubes:f", "--gradient", "cubes:right", "--at", "[" * 10**5], "cannot read a point from"),
        (["cubes:f", "--gradient", "cubes:right", "--at", "empty.npy"], "cannot read a point from 'empty.npy'"),
        (["cubes:f", "--gradient", "cubes:right", "--at", "[1]", "--samples", "1", "--directions", "1"], "not allowed"),
    ],
)
def test_check_misused_exits_with_2(module, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main.main(["check", *arguments])
    assert caught.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_whole_numbers_and_infinite_candidates_are_judged_too(module, capsys, tmp_path):
    np.save(tmp_path / "x.npy", np.array([3, 4]))
    for at in ("x.npy", "[3, 4]", "3", "[123456789012345678901234567890]"):
        for how in ([], ["--samples", "1"], ["--directions", "2"]):
            for gradient, code in (("right", 0), ("infinite", 1)):
                assert main.main(["check", "cubes:f", "--gradient", f"cubes:{gradient}", "--at", at, *how]) == code


RIGHT = ["check", "cubes:f", "--gradient", "cubes:right", "--at", "[1, 2]"]
WRONG = ["check", "cubes:f", "--gradient", "cubes:wrong", "--at", "[1, 2]"]


def run(arguments, closed="", **options):
    """Run the command in another process, which a shell starts with streams closed, and return its exit code."""
    command = ["sh", "-c", f'exec "$0" -m numgrad "$@" {closed}', sys.executable, *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(main.__file__).parents[1])} | options.pop("env", {})
    return subprocess.run(command, env=environment, check=False, **options).returncode


def test_closed_streams_are_no_verdict(module):
    for arguments, code in ((RIGHT, 0), (WRONG, 1)):
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "wb") as nobody_reads:
            assert run(arguments, stdout=nobody_reads) == 141
        assert run(arguments, closed=">&-") == code
        assert run(arguments, closed="2>&-") == code
    assert run([*RIGHT[:-1], "[]"], closed="2>&-") == 2


@needs_jit
def test_a_profile_needs_no_stream_of_errors():
    assert run(["profile", "--shape", "2x2", "--batch", "1", "--repeat", "1"], closed="2>&-") == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is of Linux")
def test_a_full_disk_is_no_verdict(module):
    with open("/dev/full", "wb") as full:
        assert run(WRONG, stdout=full) == 2


def test_steps_shows_the_valley_of_each_scheme(capsys, tmp_path):
    file = tmp_path / "steps.png"
    assert main.main(["steps", "--plot", str(file)]) == 0
    assert file.read_bytes().startswith(b"\x89PNG")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["h", "central", "forward", "backward", "central4", "central6", "complex"]
    rows = {line.split()[0]: [float(number) for number in line.split()[1:]] for line in lines[1:]}
    assert list(rows) == [f"1e-{k:02}" for k in range(1, 13)]
    # Truncation h**2/6 and h/2, and round-off of eps/h, all relative to e.
    assert rows["1e-02"][0] == pytest.approx(1e-4 / 6, rel=0.3)
    assert rows["1e-02"][1] == pytest.approx(1e-2 / 2, rel=0.3)
    assert min(column[0] for column in rows.values()) < 1e-10
    assert rows["1e-12"][0] > 1e-6
    assert rows["1e-12"][5] < 1e-15
