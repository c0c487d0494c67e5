"""The laboratory's modules as two, by esbuild: the instrument (Jupyter takes a single module), and what a page's workers run.

The bundles are committed and travel in the wheel, so only who edits the modules needs Node.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from richness.runs.results import write_whole
from richness.site.places import ASSETS, LABORATORY, SiteError, node_binary, node_package

#: bundle -> the module that it begins with.
BUNDLES = {LABORATORY / "lab.bundle.js": "lab.js", LABORATORY / "engine" / "worker.bundle.js": "worker.js"}


def bundle(target: Path) -> bytes:
    """What ``target`` of ``BUNDLES`` should hold: a module with all that it imports, minified; the same on every machine.

    Raises:
        SiteError: Node or esbuild is missing, or a module cannot be read; the message then holds esbuild's own words.
    """
    script, esbuild, entry = ASSETS / "bundle.cjs", node_package("esbuild"), target.with_name(BUNDLES[target])
    done = subprocess.run([node_binary(), script, esbuild, entry], capture_output=True, check=False)
    if done.returncode:
        raise SiteError(f"esbuild could not bundle {entry}:\n{done.stderr.decode().strip()}")
    return done.stdout


def write_bundles() -> list[Path]:
    """Bundle the laboratory's modules afresh, and return the files; to be committed with them.

    Raises:
        SiteError: as :func:`bundle`.
    """
    for target in BUNDLES:
        write_whole(target, bundle(target))
    return list(BUNDLES)


def write_kernel() -> list[Path]:
    """Compile the kernel that the pages load, and return the files; to be committed with its source.

    Raises:
        SiteError: there is no clang that can, or it failed.
    """
    from richness.kernel import compiler, page

    try:
        return page.build()
    except compiler.Missing as error:
        raise SiteError(str(error)) from error
