"""The laboratory's engine in the site: traced from the library in a process beside the build, kept until that changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from richness.site.places import SiteError, node_package


@dataclass(frozen=True)
class Export:
    """An export on its way: its process, which prints the folder that it has filled, and what else it said."""

    process: subprocess.Popen[str]
    log: Path

    def finish(self, target: Path) -> None:
        """Wait for it, and lay its files into the site.

        Raises:
            SiteError: it failed; the last line that it said is in the message.
        """
        said, _ = self.process.communicate()
        if self.process.returncode:
            lines = self.log.read_text(encoding="utf-8").strip().splitlines()
            why = lines[-1] if lines else f"it ended with {self.process.returncode}"
            raise SiteError(f"The laboratory's engine was not exported: {why} (all of it: {self.log}).")
        shutil.copytree(said.split("\n")[-2], target, dirs_exist_ok=True)

    def stop(self) -> None:
        """The site is not built after all."""
        self.process.kill()
        self.process.communicate()


def start(caches: Path) -> Export:
    """Begin to export into a folder under ``caches``: about a minute of one core, a few seconds where all is there already.

    Raises:
        SiteError: the runtime, an npm package, is missing.
    """
    runtime = node_package("onnxruntime-web") / "dist"
    caches.mkdir(parents=True, exist_ok=True)
    log = caches / "export.log"
    command = [sys.executable, "-m", "richness.lab.export", str(caches), str(runtime)]
    with log.open("w", encoding="utf-8") as complaints:  # not a pipe, which would fill while nobody reads it
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=complaints,
            encoding="utf-8",
            env={"OMP_NUM_THREADS": "1", **os.environ},
        )
    return Export(process, log)
