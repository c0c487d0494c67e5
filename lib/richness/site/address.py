"""The repository's public address: it stands in ``_config.yml``, and one command writes it everywhere else.

Until its owner sets it, it is a placeholder; nothing then shows a link that would lead nowhere, and the set-up cell of
a chapter says what to set.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from richness.site.places import SiteError, repository

PLACEHOLDER = "https://github.com/OWNER/"
CELL_TAGS = ["colab", "remove-cell"]
_CELL_MARK = "# On Google Colab only"
_CONFIG_LINE = re.compile(
    r"^(repository:[^\n]*\n(?:[ \t]+[^\n]*\n|[ \t]*#[^\n]*\n|\n)*?[ \t]+url:[ \t]*)([^\s#]+)", re.MULTILINE
)
_CITATION_LINE = re.compile(r"^(repository-code:[ \t]*)(\S+)", re.MULTILINE)
_README_BLOCK = re.compile(r"(<!-- launch -->\n)(.*?)(<!-- /launch -->)", re.DOTALL)

# The text of a chapter's first code cell. The installed versions of torch and numpy are given to pip as constraints:
# pip can then neither upgrade nor replace what Colab ships. The wheel is that of this version's release and brings the
# measured results along; where there is no such release, the repository itself is installed.
_CELL = """\
# On Google Colab only: fetch this companion's package. Elsewhere this cell does nothing.
ADDRESS = "{address}"
try:
    import google.colab
except ImportError:
    pass
else:
    import importlib.metadata
    import importlib.util
    import pathlib
    import shutil
    import subprocess
    import sys

    here = importlib.util.find_spec("richness") is not None
    if not here and ADDRESS.startswith("{placeholder}"):
        print("This copy does not know its own repository yet: set ADDRESS above to where you found it, and run again.")
    elif not here:
        kept = [name + "==" + importlib.metadata.version(name) for name in ("torch", "numpy")]
        pathlib.Path("/tmp/kept.txt").write_text("\\n".join(kept))
        pip = [sys.executable, "-m", "pip", "install", "-q", "-c", "/tmp/kept.txt"]
        wheel = ADDRESS + "/releases/download/v{version}/richness-{version}-py3-none-any.whl"
        asked = ["richness @ " + wheel, "richness @ git+" + ADDRESS]
        here = any(subprocess.run([*pip, one]).returncode == 0 for one in asked)
        if not here:
            print("Not ready: pip could not install the package; its message is above. Is ADDRESS right, and public?")
    google.colab.output.enable_custom_widget_manager()
    if here:
        gpu = (
            "on the GPU"
            if shutil.which("nvidia-smi")
            else "on two cores (Runtime, Change runtime type: a GPU is faster)"
        )
        print("Ready. This chapter takes about {minutes}; what is not stored is computed " + gpu + ".")"""


class BadAddress(ValueError):
    """The address is not one that a browser and git could follow."""


@dataclass(frozen=True)
class Place:
    """A file that carries the address: what it holds and what it should hold."""

    path: Path
    holds: str
    should_hold: str


def colab_cell(address: str, minutes: int = 1) -> str:
    """The source of the first code cell of a chapter that takes so many minutes at laptop scale."""
    from richness import __version__

    words = "a minute" if minutes == 1 else f"{minutes} minutes"
    return _CELL.format(address=address, placeholder=PLACEHOLDER, version=__version__, minutes=words)


def expected_minutes(root: Path) -> dict[str, int]:
    """Chapter → minutes at laptop scale on two cores, from ``chapters/parameters/laptop.yml``; none where there is none."""
    path = root / "chapters" / "parameters" / "laptop.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8")).get("minutes", {}) if path.is_file() else {}


def address_of(root: Path | None = None) -> str:
    """The address in ``_config.yml``.

    Raises:
        BadAddress: if the configuration has no ``repository: url:``.
    """
    config = (root or repository()) / "_config.yml"
    found = _CONFIG_LINE.search(config.read_text(encoding="utf-8"))
    if not found:
        raise BadAddress(f"{config} has no 'repository:' with a 'url:' below it; add one: the address stands there.")
    return found.group(2).strip("\"'")


def known_address() -> str:
    """The address in ``_config.yml`` of the book that is being built; "" while it is the placeholder, or there is no book."""
    try:
        address = address_of()
    except (SiteError, BadAddress):
        return ""
    return "" if address.startswith(PLACEHOLDER) else address


def website_address(repository: str) -> str:
    """Where GitHub Pages puts a repository's website, with a slash at its end; "" where the repository is not on GitHub."""
    found = re.fullmatch(r"https://github\.com/([^/]+)/([^/]+)", repository)
    if not found:
        return ""
    owner, name = found[1].lower(), found[2]
    return f"https://{owner}.github.io/" + ("" if name.lower() == f"{owner}.github.io" else f"{name}/")


def set_address(url: str, root: Path | None = None) -> list[Path]:
    """Writes ``url`` to the configuration, the README, CITATION.cff and every chapter's first code cell.

    Returns:
        The files that changed.

    Raises:
        BadAddress: if ``url`` is not of the form ``https://host/owner/name``.
        ResultError: a file cannot be written; each is the old one or the new one, whole.
    """
    from richness.runs.results import write_whole

    address = _checked(url)
    root = root or repository()
    changed = []
    config = root / "_config.yml"
    address_of(root)  # says what is missing before anything is written
    before = config.read_text(encoding="utf-8")
    after = _CONFIG_LINE.sub(lambda found: found.group(1) + address, before)
    if after != before:
        write_whole(config, after.encode())
        changed.append(config)
    for place in differences(root):
        write_whole(place.path, place.should_hold.encode())
        changed.append(place.path)
    return changed


def differences(root: Path | None = None) -> list[Place]:
    """The files that do not carry the address of ``_config.yml``, with what they should hold."""
    root = root or repository()
    address = address_of(root)
    places = [_place(root / "CITATION.cff", lambda text: _CITATION_LINE.sub(rf"\g<1>{address}", text))]
    launch = launch_links(address, root)
    places.append(_place(root / "README.md", lambda text: _README_BLOCK.sub(rf"\g<1>{launch}\g<3>", text)))
    minutes = expected_minutes(root)
    for path in chapters(root):
        cell = colab_cell(address, minutes.get(path.stem, 1))
        places.append(_place(path, lambda text, cell=cell: _with_cell(text, cell)))  # type: ignore[misc]
    return [place for place in places if place.holds != place.should_hold]


def chapters(root: Path | None = None) -> list[Path]:
    """The book's notebooks, in the order of their numbers."""
    return sorted(((root or repository()) / "chapters").glob("*.ipynb"))


def launch_links(address: str, root: Path) -> str:
    """The README's links to the chapters on Colab; none while the address is the placeholder."""
    links = [f"[{path.stem}]({link})" for path in chapters(root) if (link := colab_link(address, path.name))]
    return "Open a chapter on Google Colab: " + " · ".join(links) + "\n" if links else ""


def colab_link(address: str, notebook: str) -> str | None:
    """Where a chapter opens on Colab; None while the address is the placeholder, or not one of GitHub's."""
    if address.startswith(PLACEHOLDER) or not address.startswith("https://github.com/"):
        return None
    opened = address.replace("https://github.com/", "https://colab.research.google.com/github/")
    return f"{opened}/blob/main/chapters/{notebook}"


def _checked(url: str) -> str:
    address = url.strip().removesuffix("/").removesuffix(".git")
    if not re.fullmatch(r"https://[\w.-]+(/[\w.~-]+){2,}", address):
        raise BadAddress(
            f"expected the repository's address such as https://github.com/you/richness, got {url!r}; "
            "copy it from the browser's address line."
        )
    return address


def _place(path: Path, corrected: Callable[[str], str]) -> Place:
    if not path.is_file():
        raise SiteError(f"{path} is missing: it should carry the repository's address. Restore it with git.")
    text = path.read_text(encoding="utf-8")
    return Place(path, text, corrected(text))


def _with_cell(text: str, wanted: str) -> str:
    """The notebook's JSON with its set-up cell in place; the same bytes if it is there already."""
    notebook = json.loads(text)
    cells = notebook["cells"]
    index = next((i for i, cell in enumerate(cells) if cell["cell_type"] == "code"), len(cells))
    source = "".join(cells[index]["source"]) if index < len(cells) else ""
    if source == wanted:
        return text
    if not source.startswith(_CELL_MARK):
        cells.insert(
            index, {"cell_type": "code", "execution_count": None, "id": "colab", "metadata": {}, "outputs": []}
        )
    cells[index]["metadata"] = {"tags": CELL_TAGS}
    cells[index]["source"] = wanted.splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
