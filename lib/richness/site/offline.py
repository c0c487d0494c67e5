"""The website as one file to take along: a zip with its sum, for reading where there is no network."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from richness import __version__
from richness.runs.results import write_whole
from richness.site.places import SiteError, repository

_READ_ME = """\
The book, to be read without a network. Unpack it, then in this folder:

    python3 -m http.server 8000

and open http://localhost:8000. (A browser shows the text and the pictures of index.html without it; what moves needs the
server, since browsers load no modules from plain files.)
"""


def pack(root: Path | None = None) -> list[Path]:
    """Write ``_build/release/richness-book-<version>.zip`` and ``SHA256SUMS`` beside it.

    The same website gives the same bytes: names are sorted and carry one date.

    Returns:
        The two files.

    Raises:
        SiteError: there is no website yet.
    """
    root = root or repository()
    html = root / "_build" / "html"
    if not (html / "index.html").is_file():
        raise SiteError("There is no website in _build/html yet: run `make book` first.")
    folder = root / "_build" / "release"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"richness-book-{__version__}"
    path = folder / f"{name}.zip"
    part = path.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        _add(archive, f"{name}/READ-ME.txt", _READ_ME.encode())
        for file in sorted(file for file in html.rglob("*") if file.is_file()):
            _add(archive, f"{name}/{file.relative_to(html).as_posix()}", file.read_bytes())
    part.replace(path)
    sums = folder / "SHA256SUMS"
    write_whole(sums, f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n".encode())
    return [path, sums]


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    about = zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0))
    about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    archive.writestr(about, content)
