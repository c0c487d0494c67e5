"""The laboratory's modules as one, by esbuild: Jupyter takes a single module, and a page fetches it in one go.

The bundle is committed and travels in the wheel, so only who edits the modules needs Node.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from richness.runs.results import write_whole
from richness.site.places import ASSETS, LABORATORY, SiteError, node_binary, node_package

BUNDLE = LABORATORY / "lab.bundle.js"


def bundle_laboratory() -> bytes:
    """``lab.js`` with all that it imports, as one minified ES module; the same bytes on every machine.

    Raises:
        SiteError: Node or esbuild is missing, or a module cannot be read; the message then holds esbuild's own words.
    """
    script, esbuild, entry = ASSETS / "bundle.cjs", node_package("esbuild"), LABORATORY / "lab.js"
    done = subprocess.run([node_binary(), script, esbuild, entry], capture_output=True, check=False)
    if done.returncode:
        raise SiteError(f"esbuild could not bundle {entry}:\n{done.stderr.decode().strip()}")
    return done.stdout


def write_bundle() -> Path:
    """Bundle the laboratory's modules afresh, and return the file; to be committed with them.

    Raises:
        SiteError: as :func:`bundle_laboratory`.
    """
    write_whole(BUNDLE, bundle_laboratory())
    return BUNDLE
