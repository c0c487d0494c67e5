"""What takes minutes: ``make attack``. Random attacks, as many as `TIMES` says; what they found so far is in SECURITY.md.

Each prints how many attempts there were and what came of them, and fails where a promise was broken.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest

from richness.cli import main
from richness.data import fetch
from richness.runs import places, recipes, results
from richness.runs.experiment import Experiment
from richness.runs.sweep import sweep

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))
from servers import serving

TIMES = int(os.environ.get("ATTACKS", "20"))
BODY = np.random.default_rng(0).integers(0, 256, 1_000_000, dtype=np.uint8).tobytes()
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


@pytest.fixture(autouse=True)
def chance(request) -> random.Random:
    return random.Random(request.node.name)


@pytest.fixture
def tell(request):
    counts: collections.Counter[str] = collections.Counter()
    yield lambda what: counts.update([what])
    print(f"\n{request.node.name}: {sum(counts.values())} attempts: {dict(counts)}")


def test_downloads_under_random_faults(tmp_path, monkeypatch, chance, tell):
    """Each ends, with the file as it was published or an error, and never with another file in its place."""
    for name, value in {"PAUSE": 0.0, "PATIENCE": (2.0, 0.3), "WORTH": 50_000, "LULL": 0.2, "SLOWEST": 20_000}.items():
        monkeypatch.setattr(fetch, name, value)
    monkeypatch.setenv("NO_PROXY", "*")
    kinds = ["drop", "from 0", "early", "stall", "no range", "other range", "wrong bytes", "status 503", "no length", "endless",
             "trickle", "garbage", "long header", "bad chunks", ""]  # fmt: skip
    for k in range(10 * TIMES):
        monkeypatch.setenv("RICHNESS_DATA", str(tmp_path / str(k)))
        with serving(files={"/f.bin": BODY}, etag=chance.choice(['"one"', "", 'W/"one"'])) as site:
            for _ in range(chance.randint(1, 8)):
                kind = chance.choice(kinds)
                sized = kind in ("drop", "from 0", "early", "stall")
                site.faults.append(f"{kind} {chance.randint(0, 999_999)}" if sized else kind)
            source = fetch.Source(
                "f.bin", f"{site.url}/f.bin", len(BODY), digest="md5:" + hashlib.md5(BODY).hexdigest()
            )
            try:
                assert fetch.fetch(source, lambda done, total: None).read_bytes() == BODY
                tell("whole")
            except fetch.DataError:
                assert not source.path.exists() and len(site.seen) < 60
                tell("refused")


def small() -> Experiment:
    return Experiment(gammas="1e-1:1e2:5", etas="1e-3:1e3:9", width=8, steps=60, batch_size=8, seeds=(0, 1),
                      probes=("sharpness",), probe_points=3, probe_samples=32)  # fmt: skip


def changed(runs, chance: random.Random):
    """One random lie about one variable, coordinate or attribute."""
    name = chance.choice(list(runs.variables))
    kind = chance.choice(["drop", "scale", "shuffle", "cast", "constant", "flip", "attribute", "delete", "rename"])
    if kind in ("attribute", "delete"):
        attrs = dict(runs.attrs)
        key = chance.choice(
            [key for key in attrs if key not in ("title", "Conventions", "engine", "git_commit", "device", "date")]
        )
        attrs.pop(key)
        if kind == "attribute":
            attrs[key] = chance.choice(["", "[]", "{}", "<img src=x>", 7, -1.5, "[" * 9999])
        return f"attribute {key}", runs.drop_attrs(deep=False).assign_attrs(attrs)
    values = runs[name]
    if kind == "drop":
        return f"drop {name}", runs.drop_vars(name)
    if kind == "rename":
        return f"rename {name}", runs.rename({name: "other"})
    if kind == "flip":
        dim = chance.choice(list(runs.dims))
        return f"turned {dim}", runs.isel({dim: slice(None, None, -1)})
    if values.dtype.kind not in "fiu":
        return f"cast {name}", runs.assign({name: values.astype("S")})
    data = values.values.copy()
    if kind == "shuffle":
        data = np.random.default_rng(chance.randint(0, 999)).permutation(data.reshape(-1)).reshape(data.shape)
    elif kind == "scale":
        data = (data * 3).astype(data.dtype)
    elif kind == "cast":
        data = data.astype("f8" if data.dtype != "f8" else "f4")
    else:
        data = np.where(np.isfinite(data), 42, data).astype(data.dtype)
    return f"{kind} {name}", runs.assign({name: values.copy(data=data)})


def test_adopting_random_lies(tmp_path, monkeypatch, chance, tell, capsys):
    """A sealed file that says the right recipe: none is taken that is not what is stored, to within rounding."""
    monkeypatch.setattr(recipes, "all_recipes", lambda: {"small": lambda scale: small()})
    monkeypatch.setattr(places, "precomputed_folder", lambda: tmp_path / "precomputed")
    runs = sweep(small(), name="small", scale="laptop")
    assert main(["adopt", str(results.save(runs, tmp_path / "offered.nc"))]) == 0
    stored = places.precomputed_path("small", "laptop")
    before = stored.read_bytes()
    for _ in range(10 * TIMES):
        what, lie = changed(runs, chance)
        try:
            path = results.save(lie, tmp_path / "offered.nc")
        except Exception:  # xarray itself does not write it
            tell("not even a file")
            continue
        code = main(["adopt", str(path)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err and "RICHNESS_DEBUG" not in said.err, (what, said.err)
        if code == 0:
            taken = results.read(stored)
            assert taken.drop_attrs().equals(runs.drop_attrs()), (what, said.out)
            stored.write_bytes(before)
            tell("taken: the same numbers")
        else:
            assert stored.read_bytes() == before, what
            tell("refused")


def test_logs_of_random_lines(tmp_path, monkeypatch, chance, tell, capsys):
    """A log is refused as a whole, or the page can be made of what was taken."""
    from richness.site import status

    monkeypatch.setattr(status, "record_path", lambda: tmp_path / "status.json")
    good = {"chapter": "01-setting", "outcome": "ok", "seconds": 9.0, "date": "2026-11-02T04:00:00+00:00", "set": "smoke",
            "parameters": {"scale": "smoke"}, "commit": "a" * 40, "dirty": False, "machine": "GitHub",
            "device": "cpu"}  # fmt: skip
    junk = ["x", "", None, True, 7, -1, 1e400, [], {}, ["x"], {"a": 1}, "<img src=x>", "9999-99-99", "x" * 5000]
    for _ in range(50 * TIMES):
        line = good | {chance.choice(list(good)): chance.choice(junk) for _ in range(chance.randint(1, 3))}
        (tmp_path / "log.jsonl").write_text(json.dumps(line) + "\n")
        code = main(["status", str(tmp_path / "log.jsonl")])
        assert "Traceback" not in capsys.readouterr().err
        assert "<img" not in status.status()._repr_html_()
        tell("taken" if code == 0 else "refused")


def chapter(path: Path) -> Path:
    cells = [nbformat.v4.new_code_cell("scale = 'laptop'")]
    cells[0].metadata["tags"] = ["parameters"]
    cells += [nbformat.v4.new_code_cell("print('x' * 20_000)") for _ in range(10)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), path)
    return path


def rerun(path: Path, out: Path, room: int | None = None) -> subprocess.Popen:
    """A rerun in a process of its own, in which no file may grow beyond ``room`` bytes: a disk that is full."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}));" if room else ""
    script = f"import sys; {limit} from richness.cli import main; sys.exit(main(sys.argv[1:]))"
    typed = ["rerun", str(path), "--out", str(out), "--again"]
    return subprocess.Popen(
        [sys.executable, "-c", script, *typed], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


def test_reruns_on_a_full_disk_and_killed(tmp_path, chance, tell):
    """A good notebook of 200 kB, rerun with less room than it needs, or killed with -9: it stays as it was, or is made anew."""
    path, out = chapter(tmp_path / "book" / "01.ipynb"), tmp_path / "out"
    started = time.monotonic()
    assert rerun(path, out).wait() == 0
    takes = time.monotonic() - started
    for k in range(TIMES):
        before = (out / "01.ipynb").read_bytes()
        room = chance.choice([4096, 8192, 20_000, 100_000, len(before) - 100]) if k % 2 else None
        process = rerun(path, out, room)
        if room is None:
            time.sleep(chance.uniform(0, takes))
            process.send_signal(signal.SIGKILL)
        said = process.communicate()[1]
        now = (out / "01.ipynb").read_bytes()
        nbformat.validate(nbformat.reads(now.decode(), 4))
        assert len(now) > 200_000 and "richness" in json.loads(now)["metadata"]
        if room:
            assert process.returncode == 1 and now == before and "Traceback" not in said, said
        tell(("full: " if room else "killed: ") + ("as it was" if now == before else "made anew"))
        for line in (out / "log.jsonl").read_text().splitlines():
            json.loads(line)
    assert rerun(path, out).wait() == 0
