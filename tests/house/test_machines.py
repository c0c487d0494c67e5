"""Workflows, container and development container, as far as they can be checked without their machines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.slow  # all of them together; they would double `make check`

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
each = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def _jobs(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())["jobs"]


def _scripts(path: Path) -> list[str]:
    return [step["run"] for job in _jobs(path).values() for step in job.get("steps", []) if "run" in step]


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("custom.github-workflows-require-timeout", WORKFLOWS),
        ("vendor.dependabot", [ROOT / ".github" / "dependabot.yml"]),
        ("vendor.citation-file-format", [ROOT / "CITATION.cff"]),
    ],
)
def test_files_keep_to_the_schemas_of_those_who_read_them(schema, files):
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_schema_is_one_that_refuses(tmp_path):
    pytest.importorskip("check_jsonschema")
    bad = tmp_path / "bad.yml"
    bad.write_text("on: push\njobs: {a: {runs-on: ubuntu-latest, stepz: []}}\n")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(bad)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_there_is_a_workflow_for_each_road():
    assert {path.stem for path in WORKFLOWS} == {"ci", "rerun", "gpu", "pages", "release"}


@each
def test_every_script_is_sound_bash(path):
    for script in _scripts(path):
        run = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert run.returncode == 0, f"{path.name}: {run.stderr}\n{script}"
        assert "${{" not in script, f"{path.name}: a value goes into a script through env, never into its text"


@each
def test_every_command_in_a_script_exists(path, promised):
    """`make` targets, `richness` commands with their options and sets, and files of this repository."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for script in _scripts(path):
        for target in re.findall(r"(?:^|&& )make ([a-z-]+)", script, re.MULTILINE):
            assert target in targets, f"{path.name}: make {target}"
        for line in re.findall(r"(?:\.venv/bin/|-m )richness ([^\n]+)", script):
            rest = promised(line, path.name)
            if "--parameters" in rest and "$" not in (name := rest[rest.index("--parameters") + 1]):
                assert (ROOT / "chapters" / "parameters" / f"{name}.yml").is_file()
        for file in re.findall(r"(?<![\w/])(\.ci/\w+)", script):
            assert (ROOT / file).is_file(), f"{path.name}: {file}"
            if "bash" in (ROOT / file).read_text().partition("\n")[0]:
                subprocess.run(["bash", "-n", str(ROOT / file)], check=True)


@each
def test_a_workflow_grants_to_all_its_jobs_nothing_but_reading(path):
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}


@each
def test_what_others_wrote_never_runs_where_something_may_be_written(path):
    """In a job that may write, publish or sign there are GitHub's own actions, git, gh and sums, and no checkout's code."""
    harmless = re.compile(r"^(cd release && sha256sum|gh release create|git (config|add|diff|push)) ?")
    for name, job in _jobs(path).items():
        steps = job.get("steps", [])
        if "write" in job.get("permissions", {}).values():
            lines = [line for step in steps for line in step.get("run", "").splitlines()]
            assert [line for line in lines if not harmless.match(line)] == [], f"{path.name}, {name}"
        else:
            checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
            assert all(step["with"]["persist-credentials"] is False for step in checkouts), f"{path.name}, {name}"


@each
def test_every_action_is_githubs_own_and_named_by_its_commit(path):
    """A tag can be moved to another commit; the comment says which release the commit is, for people and for Dependabot."""
    used = re.findall(r"uses: (?!\./)(.+)", path.read_text())
    assert [one for one in used if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []


def test_an_action_is_everywhere_of_one_release():
    used = {one for path in WORKFLOWS for one in re.findall(r"uses: (actions/.+)", path.read_text())}
    assert len(used) == len({one.partition("@")[0] for one in used})


def test_a_schedules_event_names_no_repository():
    """So what runs on Mondays may not ask it for the default branch, on which alone schedules run."""
    condition = _jobs(ROOT / ".github" / "workflows" / "rerun.yml")["record"]["if"]
    assert "github.event_name == 'schedule' ||" in condition


def test_the_floors_are_those_of_the_package():
    said = subprocess.run([sys.executable, ROOT / ".ci" / "floors"], capture_output=True, text=True, check=True).stdout
    floors = said.split()
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", floor) for floor in floors)
    assert {floor.partition("==")[0] for floor in floors} >= {"numpy", "torch", "xarray", "pydantic", "altair"}


def test_a_strangers_code_never_runs_on_our_gpu():
    (job,) = _jobs(ROOT / ".github" / "workflows" / "gpu.yml").values()
    assert "head.repo.full_name == github.repository" in job["if"] and "label.name == 'gpu'" in job["if"]


def test_the_gpus_choices_are_the_sets_there_are():
    triggers = yaml.safe_load((ROOT / ".github" / "workflows" / "gpu.yml").read_text())[True]
    asked, sets = triggers["workflow_dispatch"]["inputs"], (ROOT / "chapters" / "parameters").glob("*.yml")
    assert set(asked["parameters"]["options"]) == {path.stem for path in sets}


# Containers ----------------------------------------------------------------------------------------------------------


def test_the_dockerfile_does_what_binder_asks(tmp_path):
    parser = pytest.importorskip("dockerfile_parse").DockerfileParser(str(ROOT / "Dockerfile"))
    steps = [(step["instruction"], step["value"]) for step in parser.structure if step["instruction"] != "COMMENT"]
    kinds = [kind for kind, _ in steps]
    assert kinds[0] == "FROM" and ":" in parser.baseimage and not parser.baseimage.endswith(":latest")
    assert {"NB_USER", "NB_UID"} <= {value.partition("=")[0] for kind, value in steps if kind == "ARG"}
    assert kinds.index("USER") < max(
        i for i, (kind, value) in enumerate(steps) if (kind, value) == ("RUN", "make setup")
    )
    assert [value for kind, value in steps if kind == "USER"][-1] != "root"
    for kind, value in steps:
        if kind == "COPY":
            sources = [word for word in value.split() if not word.startswith("--")][:-1]
            assert all((ROOT / source).exists() for source in sources)
    assert json.loads(parser.cmd)[:2] == ["jupyter", "lab"]


def test_what_docker_leaves_out_is_what_commands_make():
    left_out = (ROOT / ".dockerignore").read_text().split()
    assert not [name for name in left_out if "*" not in name and name in ("lib", "chapters", "precomputed", ".git")]
    assert {"_build", "runs", ".venv*", "node_modules"} <= set(left_out)


def test_the_development_container_calls_the_makefile():
    about = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    target = re.fullmatch(r"make ([a-z]+)", about["postCreateCommand"])
    assert target and f"\n{target[1]}:" in (ROOT / "Makefile").read_text()
    assert re.fullmatch(r"[\w./-]+:[\w.-]+", about["image"]) and not about["image"].endswith(":latest")
    assert set(about["portsAttributes"]) == {str(port) for port in about["forwardPorts"]}


# Reading offline -----------------------------------------------------------------------------------------------------


def test_the_offline_book_is_whole_has_its_sum_and_is_the_same_again(tmp_path):
    import hashlib
    import zipfile

    from richness.site import offline
    from richness.site.places import SiteError

    with pytest.raises(SiteError, match="make book"):
        offline.pack(tmp_path)
    html = tmp_path / "_build" / "html"
    (html / "chapters").mkdir(parents=True)
    (html / "index.html").write_text("<p>the book")
    (html / "chapters" / "a.html").write_text("<p>γ")
    path, sums = offline.pack(tmp_path)
    before = path.read_bytes()
    run = subprocess.run(
        ["sha256sum", "--check", sums.name], cwd=sums.parent, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0 and hashlib.sha256(before).hexdigest() in sums.read_text()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        (folder,) = {name.partition("/")[0] for name in archive.namelist()}
        assert archive.read(f"{folder}/chapters/a.html").decode() == "<p>γ"
        assert b"http.server" in archive.read(f"{folder}/READ-ME.txt")
    (html / "index.html").touch()
    assert offline.pack(tmp_path)[0].read_bytes() == before
    assert [file.name for file in path.parent.iterdir() if file.suffix == ".part"] == []
