"""The laboratory's engine in the site: traced from the library in a process beside the build, kept until that changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from richness.book.site.places import SiteError, node_package


def start(caches: Path) -> subprocess.Popen[str]:
    """Begin to export the engine into a folder under ``caches``: a minute of one core, or a few seconds where it is there.

    Raises:
        SiteError: the runtime, an npm package, is missing.
    """
    caches.mkdir(parents=True, exist_ok=True)
    runtime = node_package("onnxruntime-web") / "dist"
    command = [sys.executable, "-m", "richness.book.lab.export", str(caches), str(runtime)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, **pipes)  # type: ignore[call-overload]


def finish(process: subprocess.Popen[str], target: Path) -> None:
    """Wait for the engine and lay its files into the site.

    Raises:
        SiteError: it was not exported; the last line of what the exporter said is in the message.
    """
    said, complaint = process.communicate()
    if process.returncode:
        last = complaint.strip().splitlines()[-1] if complaint.strip() else f"status {process.returncode}"
        raise SiteError(f"The laboratory's engine was not exported: {last}. `make setup` installs what it needs.")
    shutil.copytree(said.split()[-1], target, dirs_exist_ok=True)
