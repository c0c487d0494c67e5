"""Any terminal, any umask, any path: what commands say and write there."""

from __future__ import annotations

import ast
import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from richness import cli
from richness.cli import terminal
from richness.runs.results import write_whole

ENCODINGS = ("cp1252", "latin-1", "ascii")
SHORT = [["--help"], *([name, "--help"] for name in cli.COMMANDS), ["status"], ["frobnicate"], ["sweep", "--etas", "1"]]


def speak(words: list[str], encoding: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """What a command says into streams of that encoding."""
    out, err = io.BytesIO(), io.BytesIO()
    for name, stream in (("stdout", out), ("stderr", err)):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(stream, encoding=encoding))
    code = cli.main(words)
    sys.stdout.flush()
    sys.stderr.flush()
    return code, out.getvalue().decode(encoding), err.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("words", SHORT, ids=" ".join)
def test_every_command_speaks_in_every_encoding(words, encoding, monkeypatch):
    code, out, err = speak(words, encoding, monkeypatch)
    assert out or err
    assert code == (2 if words in SHORT[-2:] else 0) and "codec" not in err


@pytest.mark.slow
@pytest.mark.parametrize("words", [["advise"], ["advise", "--json"], ["ledger"], ["ledger", "--json"]], ids=" ".join)
def test_so_does_what_takes_longer(words, monkeypatch):
    code, out, _ = speak(words, "ascii", monkeypatch)
    assert code == 0 and "?" not in out
    if "--json" in words:
        assert json.loads(out)
    elif words == ["advise"]:
        assert out.startswith("eta between")


def test_our_signs_are_spelled_out_where_a_terminal_lacks_them(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    terminal.prepare_streams()
    print("γ–η at η = 10⁻³, 3 × 4 …, 猫")
    sys.stdout.flush()
    assert sys.stdout.buffer.getvalue() == b"gamma-eta at eta = 10^-^3, 3 x 4 ..., ?\n"


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-"])
def test_a_closed_stream_is_no_error(closed, tiny, tmp_path, root):
    """Its descriptor must not be given to a result's file either: a progress line would land in it."""
    typed = [sys.executable, "-m", "richness", *tiny, "--out", str(tmp_path / "tiny.nc")]
    run = subprocess.run(["bash", "-c", f'"$@" {closed}', "bash", *typed], cwd=root, capture_output=True, check=False)
    assert run.returncode == 0, (run.stdout, run.stderr)
    assert cli.main(["cite", str(tmp_path / "tiny.nc")]) == 0


def test_a_full_disk_behind_stdout_is_a_sentence(root):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    run = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m richness --help > /dev/full"], cwd=root, capture_output=True, text=True
    )
    assert run.returncode != 0 and "No space left" in run.stderr and "Traceback" not in run.stderr


def test_text_files_say_their_encoding(root):
    """Where a locale decides, a file written on one machine is another's mojibake."""
    silent = []
    for path in [*(root / "lib").rglob("*.py"), *(root / "benchmarks").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and not _says_encoding(node):
                silent.append(f"{path.relative_to(root)}:{node.lineno}")
    assert silent == []


def _says_encoding(call: ast.Call) -> bool:
    """Whether a call opens no text file and no text pipe, or says in which encoding."""
    keywords = {word.arg: word.value for word in call.keywords}
    if "encoding" in keywords or None in keywords:
        return True
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name == "read_text":
        return bool(call.args)
    if name == "write_text":
        return len(call.args) > 1
    if name in ("run", "Popen", "check_output"):
        return "text" not in keywords
    if name != "open" or not (isinstance(call.func, ast.Name) or _is_mode(call.args[:1])):
        return True
    place = 1 if isinstance(call.func, ast.Name) else 0
    mode = keywords.get("mode", call.args[place] if len(call.args) > place else None)
    return isinstance(mode, ast.Constant) and "b" in str(mode.value)


def _is_mode(args: list[ast.expr]) -> bool:
    """Whether a method's first argument is a mode of text, as of `Path.open`."""
    return bool(args) and isinstance(args[0], ast.Constant) and str(args[0].value).strip("+") in ("r", "w", "a", "x")


# Where files go -------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o002, 0o664), (0o022, 0o644)])
def test_new_files_honour_the_umask(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "new" / "a.nc", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "a.nc").stat().st_mode) == mode


def test_a_file_that_is_written_anew_keeps_its_permissions(tmp_path):
    path = tmp_path / "a.nc"
    path.write_bytes(b"")
    path.chmod(0o640)
    write_whole(path, b"content")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and list(tmp_path.iterdir()) == [path]


def test_a_link_is_written_through(tiny, richness, tmp_path):
    (tmp_path / "scratch").mkdir()
    link, target = tmp_path / "result.nc", tmp_path / "scratch" / "far.nc"
    link.symlink_to(target)
    assert richness(*tiny, "--out", link).code == 0
    assert link.is_symlink() and target.is_file() and not target.is_symlink()


def test_a_tilde_is_the_home_folder(tiny, richness, home):
    import richness as library

    assert richness(*tiny, "--out", "~/new/tiny.nc").code == 0
    runs = library.read("~/new/tiny.nc")
    library.save(runs, "~/copy.nc")
    library.sweep(library.Experiment.model_validate_json(runs.attrs["recipe"]), store="~/store")
    assert library.load("~/copy.nc").equals(runs) and richness("cite", "~/copy.nc").code == 0
    assert (
        "contradicts" not in richness("adopt", "~/copy.nc").err
        and "not there" not in richness("adopt", "~/copy.nc").err
    )
    assert {path.name for path in home.iterdir()} == {"new", "copy.nc", "store"}
    assert [path.name for path in home.parent.iterdir()] == ["home"], "a directory called ~"
