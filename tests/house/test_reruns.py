"""Reruns through Papermill: parameters and sets of them, the log, and going on where a rerun was stopped."""

from __future__ import annotations

import ast
import csv
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from richness.runs import places, results
from richness.runs.locks import lock_folder
from richness.site import notebooks, parameters
from richness.site.address import chapters as all_chapters

SETS = sorted((Path(__file__).parents[2] / "chapters" / "parameters").glob("*.yml"))
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}

# Nine lines that stand for ten thousand million values.
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 10)
)


def _chapter(path: Path, *sources: str) -> Path:
    cells = [nbformat.v4.new_code_cell("scale = 'laptop'\nseed = 0\ngamma = 1.0\nwidths = [8, 16]")]
    cells[0].metadata["tags"] = ["parameters"]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), path)
    return path


@pytest.mark.slow
def test_a_rerun_runs_here_with_typed_values_and_keeps_what_failed(richness, tmp_path):
    wanted = (
        "import os, sys, json, pathlib",
        "pathlib.Path('said.json').write_text(json.dumps([scale, seed, gamma, widths, sys.executable,"
        " os.environ['RICHNESS_BOOK'], os.getcwd()]))",
    )
    good = _chapter(tmp_path / "book" / "01-good.ipynb", *wanted)
    bad = _chapter(tmp_path / "book" / "02-bad.ipynb", "x = 1", "raise ValueError('no such luck')")
    out = tmp_path / "out"
    typed = ["--scale", "smoke", "-p", "seed", "3", "-p", "gamma", "1e-3", "-p", "widths", "4,5", "--out", out]
    answer = richness("rerun", good, bad, *typed)
    assert answer.code == 1
    said = json.loads((good.parent / "said.json").read_text())
    assert said[:4] == ["smoke", 3, 1e-3, [4, 5]] and said[5] == "1"
    assert Path(said[4]) == Path(sys.executable) and Path(said[6]) == good.parent
    assert "02-bad failed" in answer.err and "cell [4]" in answer.err and "no such luck" in answer.err
    (place,) = out.glob("02-bad-*.ipynb")  # with the hash of its parameters
    assert str(place) in answer.err and "Traceback" not in answer.err
    kept = nbformat.read(place, 4)
    assert any("no such luck" in str(cell.get("outputs", "")) for cell in kept.cells)
    assert "01-good" in answer.out and "ok" in answer.out and "failed" in answer.out
    assert [cell.outputs for cell in nbformat.read(good, 4).cells] == [[]] * 3, "the chapter itself is left as it was"


def test_nothing_runs_if_one_value_is_wrong(richness, tmp_path, monkeypatch):
    import papermill

    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, **__: pytest.fail("a kernel was started"))
    one, two = _chapter(tmp_path / "a" / "one.ipynb"), _chapter(tmp_path / "a" / "two.ipynb")
    answer = richness("rerun", one, two, "-p", "colour", "red", "--out", tmp_path / "out")
    assert answer.code == 2 and "no parameter 'colour'" in answer.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [("3", 0, 3), ("1e-3", 1.0, 1e-3), ("5", 1.0, 5.0), ("true", False, True), ("mlp", "cnn", "mlp"),
     ("1 2", [3], [1, 2]), ("[.1, 1e-2]", (1.0,), [0.1, 0.01])],
)  # fmt: skip
def test_values_are_read_in_the_type_of_the_chapters_own(text, default, value):
    read = parameters._read_as("name", text, default)
    assert read == value and type(read) is type(value)


def test_a_stem_finds_its_chapter():
    for path in all_chapters():
        assert notebooks._find(path.stem) == path


def test_without_a_name_every_chapter_is_rerun(richness, tmp_path, executed):
    assert richness("rerun", "--scale", "smoke", "--out", tmp_path).code == 0
    assert executed == [path.name for path in all_chapters()]


# Each in a group of its own, so that they are shared out among the processes.
@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem, marks=pytest.mark.xdist_group(path.stem)) for path in all_chapters()]
)
def test_every_chapter_reruns_at_smoke_scale(richness, tmp_path, path):
    answer = richness("rerun", path.stem, "--scale", "smoke", "--out", tmp_path)
    assert answer.code == 0, answer.err
    cells = nbformat.read(tmp_path / path.name, 4).cells
    injected = [cell for cell in cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert injected and "smoke" in injected[0].source


# Sets of parameters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", all_chapters(), ids=lambda path: path.stem)
def test_every_parameter_says_its_type_and_what_it_is(path):
    """What ``papermill --help-notebook`` shows; a comment with an = in it hides its parameter from Papermill."""
    (cell,) = (one for one in nbformat.read(path, 4).cells if "parameters" in one.metadata.get("tags", []))
    assert set(papermill.inspect_notebook(str(path))) == {node.target.id for node in ast.parse(cell.source).body}
    for name, about in papermill.inspect_notebook(str(path)).items():
        assert about["inferred_type_name"] in ("str", "int", "float", "bool"), f"{path.name}: {name} has no type"
        assert len(about["help"]) > 5, f"{path.name}: {name} says nothing of itself"


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_every_set_fits_every_chapter(path, monkeypatch):
    monkeypatch.setattr(parameters, "device_here", lambda device: device)
    chosen = parameters.read_set(path.stem)
    assert chosen.about and chosen.scale in places.SCALES
    for job in notebooks._jobs(all_chapters(), None, None, {}, chosen, explicit=False):
        assert job.values["scale"] == chosen.scale


def test_there_is_a_set_for_each_machine():
    assert {path.stem for path in SETS} == {"smoke", "laptop", "t4", "paper"}


@pytest.fixture
def never(monkeypatch):
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, **__: pytest.fail("a kernel was started"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scael: smoke", "scael no key Did you mean scale"),
        ("scale: huge", "scale one of smoke 'huge'"),
        ("scale: smoke\nscale: laptop", "'scale' twice line 2"),
        ("device: cuda:7", "device cuda:7 not here"),
        ("device: tpu", "device 'tpu' cpu"),
        ("seed: .nan", "seed whole number '.nan'"),
        ("seed: 1e-3", "seed whole number '1e-3'"),
        ("chapters: {01-setting: {depth: 1}}", "depth at least 2"),
        ("chapters: {01-setting: {steps: [1, 2]}}", "steps one value the list 1, 2"),
        ("chapters: {01-setting: {stepz: 1}}", "01-setting 'stepz' Did you mean steps"),
        ("chapters: {01-settings: {steps: 1}}", "'01-settings' no chapter Did you mean 01-setting"),
        ("chapters: {03-performance: {gamma: .inf}}", "gamma number '.inf'"),
        ("chapters: {03-performance: {gamma: nan}}", "gamma finite 'nan'"),
        ("seed: 1\nchapters: {01-setting: {seed: 2}}", "seed at the top (1) under 01-setting (2) once"),
        ("- smoke", "expected keys"),
        ("scale: [smoke", "no readable YAML"),
        ("scale: {of: smoke}", "scale expected one value"),
        ("seed: [0, 1]", "seed expected one value the list 0, 1 --grid"),
        ("chapters: {01-setting: {steps: [[1]]}}", "expected a value or a list of values"),
        ("scale: &a smoke\ndevice: *a", "no readable YAML alias *a write the value itself line 2"),
        (BOMB, "no readable YAML alias *a0"),
        ("scale: " + "[" * 5000, "no readable YAML"),
        ("about: " + "x" * 200_000, "expected a set of parameters bytes"),
        ("scale: !!python/object/apply:os.system [true]", "scale expected one value"),
    ],
)
def test_a_bad_set_ends_before_any_kernel_starts(richness, tmp_path, never, text, words):
    path = tmp_path / "mine.yml"
    path.write_text(text + "\n")
    answer = richness("rerun", "--parameters", path, "--out", tmp_path / "out")
    assert answer.code == 2 and "Traceback" not in answer.err and answer.err.count("\n") == 1
    assert [word for word in words.split() if word not in answer.err] == [], answer.err
    assert not (tmp_path / "out").exists()


def test_a_missing_set_names_those_there_are(richness, never):
    assert "smoke" in richness("rerun", "--parameters", "smok").err
    assert "no such file" in richness("rerun", "--parameters", "no/such.yml").err


def test_values_that_contradict_each_other_end_before_any_kernel_starts(richness, tmp_path, never):
    """Each is right alone: cross-entropy needs classes, which a teacher does not have."""
    cell = nbformat.v4.new_code_cell("task: str = 'digits8'  # stream\nloss: str = 'mse'  # loss")
    cell.metadata["tags"] = ["parameters"]
    path = tmp_path / "in" / "one.ipynb"
    path.parent.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=KERNEL), path)
    answer = richness("rerun", path, "-p", "task", "teacher", "-p", "loss", "cross_entropy", "--out", tmp_path / "out")
    assert answer.code == 2 and "cross_entropy needs classes" in answer.err


def test_yaml_is_read_in_the_types_of_the_chapter_and_a_p_wins(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("scale: smoke\nchapters:\n  03-performance: {gamma: 1e-3}\n  01-setting: {depth: 4, seed: 7}\n")
    chosen = parameters.read_set(str(path))
    one, three = (notebooks._find(stem) for stem in ("01-setting", "03-performance"))
    jobs = notebooks._jobs([one, three], None, None, {"seed": "2"}, chosen, explicit=True)
    assert jobs[0].values == {"scale": "smoke", "depth": 4, "seed": 2}
    assert jobs[1].values == {"scale": "smoke", "gamma": 1e-3, "seed": 2} and type(jobs[1].values["gamma"]) is float
    assert jobs[0].parameters["width"] == 64, "those that the chapter keeps are written down too"
    assert notebooks._jobs([one], "laptop", None, {}, chosen, explicit=True)[0].values["scale"] == "laptop"


# Variants ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("depth=2,4", ["2", "4"]),
        ("seed=0:3", ["0", "1", "2"]),
        ("gamma=0.1:10:3", ["0.1", "1.0", "10.0"]),
        ("x=y", ["y"]),
    ],
)
def test_a_grid_is_values_a_range_or_log_spaced(text, values):
    assert parameters.read_grid(text) == (text.partition("=")[0], values)


@pytest.mark.parametrize(
    "text", ["depth", "depth=", "=2", "seed=3:3", "seed=a:b", "depth=2,,4", "depth=2,2", "gamma=0:1:3"]
)
def test_a_bad_grid_is_a_sentence(richness, tmp_path, never, text):
    answer = richness("rerun", "01-setting", "--grid", text, "--out", tmp_path / "out")
    assert answer.code == 2 and "--grid: expected name=values" in answer.err and answer.err.count("\n") == 1


def test_every_variant_has_a_notebook_of_its_own_and_a_row_of_the_table(richness, tmp_path, executed):
    path = _chapter(tmp_path / "book" / "01.ipynb", "x = 1")
    out = tmp_path / "out"
    (tmp_path / "mine.yml").write_text("gamma: 1e-3\nwidths: [4, 5]\n")
    typed = ["rerun", path, "-y", tmp_path / "mine.yml", "--grid", "seed=0:3", "scale=smoke,laptop", "--out", out]
    answer = richness(*typed)
    assert answer.code == 0 and len(executed) == 6
    assert "2 of 6, gamma=1e-3 widths=4 5 seed=0 scale=laptop, 01-" in answer.out, (
        "it says which is done, and of how many"
    )
    made = [nbformat.read(one, 4).metadata["richness"]["parameters"] for one in sorted(out.glob("01-*.ipynb"))]
    assert sorted((one["seed"], one["scale"]) for one in made) == [
        (seed, scale) for seed in range(3) for scale in ("laptop", "smoke")
    ]
    assert all(one["gamma"] == 1e-3 and one["widths"] == [4, 5] for one in made)
    assert richness(*typed).code == 0 and len(executed) == 6, "they are kept"
    assert richness("rerun", path, "-p", "seed", "7", "--out", out).code == 0 and len(list(out.glob("01-*.ipynb"))) == 7
    table = richness("table", out).out.splitlines()
    assert {*table[0].split()} - {"chapter"} == {"notebook", "scale", "seed", "gamma", "widths"}, "those that differ"
    assert len(table) == 2 + 7
    assert len(richness("table", out, "--csv").out.splitlines()) == 8
    twice = richness("rerun", path, "-p", "seed", "1", "--grid", "seed=0:2", "--out", out)
    assert twice.code == 2 and "seed is given twice" in twice.err
    assert richness("table", tmp_path / "nowhere").code == 2 and richness("table", path).code == 2


@pytest.mark.slow
def test_variants_run_side_by_side_and_their_records_are_collected(richness, tmp_path):
    path = _chapter(
        tmp_path / "book" / "01.ipynb",
        "import richness",
        "richness.record(square=seed**2, word=scale, nothing=float('nan'))",
    )
    assert richness("rerun", path, "--grid", "seed=1:4", "--workers", "2", "--out", tmp_path / "out").code == 0
    rows = list(csv.DictReader(richness("table", tmp_path / "out", "--csv").out.splitlines()))
    assert [row["seed"] for row in rows] == ["1", "2", "3"] and {row["nothing"] for row in rows} == {""}
    told = richness("table", tmp_path / "out").out.splitlines()
    assert {*told[0].split()} == {"notebook", "seed", "square", "word", "nothing"}, "what was recorded is always shown"
    assert {(row["seed"], row["square"], row["word"], row["outcome"]) for row in rows} == {
        (str(seed), str(seed**2), "laptop", "ok") for seed in (1, 2, 3)
    }


def test_a_record_is_one_number_or_word():
    import richness

    with pytest.raises(TypeError, match="slopes: expected one number"):
        richness.record(slopes=[1, 2])


# Going on ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def executed(monkeypatch) -> list[str]:
    """Papermill's place is taken by a copy of the notebook; the names of those that were executed."""
    ran: list[str] = []

    def execute(path, output, **_):
        ran.append(Path(path).name)
        if '"stop"' in Path(path).read_text():
            Path(output).write_text('{"cells": [')
            raise KeyboardInterrupt
        Path(output).write_text(Path(path).read_text())

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    return ran


def test_what_was_executed_with_the_same_is_not_executed_again(richness, tmp_path, executed, monkeypatch):
    one, two = (_chapter(tmp_path / "book" / f"0{i}.ipynb", f"x = {i}") for i in (1, 2))
    out = tmp_path / "out"

    def ran(*typed: object) -> list[str]:
        executed.clear()
        assert richness("rerun", one, two, "--out", out, *typed).code == 0
        return list(executed)

    assert ran() == ["01.ipynb", "02.ipynb"]
    assert ran() == []
    assert ran("-p", "seed", "1") == ["01.ipynb", "02.ipynb"], "other parameters"
    (half,) = out.glob("02-*.ipynb")
    half.write_text(half.read_text()[:-40])
    assert ran("-p", "seed", "1") == ["02.ipynb"], "half a notebook"
    _chapter(one, "x = 3")
    assert ran("-p", "seed", "1") == ["01.ipynb"], "another text"
    assert ran("-p", "seed", "1", "--again") == ["01.ipynb", "02.ipynb"]
    monkeypatch.setattr(results, "git_state", lambda: ("another", False))
    assert ran("-p", "seed", "1") == ["01.ipynb", "02.ipynb"], "another commit"
    monkeypatch.setattr(notebooks, "_changes", lambda: "something was edited")
    assert ran("-p", "seed", "1") == ["01.ipynb", "02.ipynb"]
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["outcome"] for line in lines[:6]] == ["ok", "ok", "kept", "kept", "ok", "ok"]
    assert lines[-1]["chapter"] == "02" and lines[-1]["commit"] == "another" and lines[-1]["problem"] is None
    assert lines[-1]["parameters"] == {"scale": "laptop", "seed": 1, "gamma": 1.0, "widths": [8, 16]}


def test_a_rerun_that_was_stopped_goes_on(richness, tmp_path, executed):
    one = _chapter(tmp_path / "book" / "01.ipynb", "x = 1")
    two = _chapter(tmp_path / "book" / "02.ipynb", "stop")
    out, log = tmp_path / "out", tmp_path / "elsewhere" / "log.jsonl"
    out.mkdir()
    (out / "02.ipynb").write_text("what an earlier rerun made")
    stopped = richness("rerun", one, two, "--out", out, "--log", log)
    assert stopped.code == 130 and "to go on" in stopped.err and "richness rerun" in stopped.err
    assert (out / "02.ipynb").read_text() == "what an earlier rerun made"
    _chapter(two, "x = 2")
    executed.clear()
    assert richness("rerun", one, two, "--out", out, "--log", log).code == 0
    assert executed == ["02.ipynb"]
    assert [json.loads(line)["outcome"] for line in log.read_text().splitlines()] == ["ok", "kept", "ok"]


@pytest.mark.slow
def test_a_failed_chapter_is_in_the_log_and_runs_again(richness, tmp_path):
    bad = _chapter(tmp_path / "book" / "01.ipynb", "raise ValueError('no such luck')")
    for _ in range(2):
        assert richness("rerun", bad, "--out", tmp_path / "out").code == 1
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["outcome"] for line in lines] == ["failed", "failed"]
    assert "no such luck" in lines[0]["problem"] and lines[0]["seconds"] > 0


# A disk that is full, and two at once ---------------------------------------------------------------------------------


def _full(cut: bool):
    """Papermill on a disk that fills up: half a notebook is written, and the system says so, or nobody does."""

    def execute(path, output, **_):
        text = Path(path).read_text()
        Path(output).write_text(text[: len(text) // 2])
        if not cut:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return execute


@pytest.mark.parametrize("cut", [False, True])
def test_a_full_disk_leaves_the_notebook_that_stood_there(richness, tmp_path, executed, monkeypatch, cut):
    one, out = _chapter(tmp_path / "book" / "01.ipynb", "x = 1"), tmp_path / "out"
    assert richness("rerun", one, "--out", out).code == 0
    good = (out / "01.ipynb").read_bytes()
    monkeypatch.setattr(papermill, "execute_notebook", _full(cut))
    answer = richness("rerun", one, "--out", out, "--again")
    assert answer.code == 1 and "Traceback" not in answer.err
    assert f"what stood at {out / '01.ipynb'} is kept" in answer.err and str(out / ".01.ipynb") in answer.err
    assert "the executed notebook is kept" not in answer.err and (cut or "No space left on device" in answer.err)
    assert (out / "01.ipynb").read_bytes() == good
    assert sorted(path.name for path in out.iterdir()) == [".lock", "01.ipynb", "log.jsonl"]
    assert richness("rerun", one, "--out", out).code == 0, "what stood there is still known to be whole"


def test_a_disk_that_is_full_at_the_last_moment_too(richness, tmp_path, executed, monkeypatch):
    one, out = _chapter(tmp_path / "book" / "01.ipynb", "x = 1"), tmp_path / "out"
    assert richness("rerun", one, "--out", out).code == 0
    good, log = (out / "01.ipynb").read_bytes(), (out / "log.jsonl").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(results.os, "fsync", full)
        answer = richness("rerun", one, "--out", out, "--again")
    assert answer.code == 1 and f"cannot write {out / 'log.jsonl'}: No space left" in answer.err
    assert ((out / "01.ipynb").read_bytes(), (out / "log.jsonl").read_bytes()) == (good, log)


def test_a_line_of_the_log_is_there_whole_or_not_at_all(tmp_path):
    """The system writes half of it and then says no: RLIMIT_FSIZE is a disk that needs no root."""
    log = tmp_path / "log.jsonl"
    script = (
        "import resource, sys; from pathlib import Path; from richness.runs import results\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))\n"
        "for k in range(3): results.append_line(Path(sys.argv[1]), 'x' * 60)"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(log)], capture_output=True, text=True, check=False)
    assert f"cannot write {log}" in ended.stderr and log.read_text() == ("x" * 60 + "\n") * 2


def test_two_reruns_into_one_folder_do_not_undo_each_other(richness, tmp_path, executed):
    one, out = _chapter(tmp_path / "book" / "01.ipynb", "x = 1"), tmp_path / "out"
    with lock_folder(out, "the first"):
        answer = richness("rerun", one, "--out", out)
    assert (
        answer.code == 1 and f"another rerun writes into {out}" in answer.err and "choose another --out" in answer.err
    )
    assert executed == [] and not (out / "01.ipynb").exists()
    assert richness("rerun", one, "--out", out).code == 0
