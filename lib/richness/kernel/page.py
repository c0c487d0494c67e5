"""``page.cpp`` compiled to WebAssembly: made where clang is, committed, so that nobody who builds the book needs a compiler.

There are two of them: one that every browser with SIMD runs, and one that multiplies and adds in one instruction (relaxed
SIMD), for those that know it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from richness.kernel.compiler import FOLDER, Missing

BUILT = FOLDER / "page"
RECORD = BUILT / "built.json"
VARIANTS = {"kernel.wasm": ("-msimd128",), "kernel.fma.wasm": ("-msimd128", "-mrelaxed-simd")}
SOURCES = {"page.cpp": "-Os", "page_draws.cpp": "-O3"}
FLAGS = ("--target=wasm32-wasi", "-std=gnu++17", "-fno-exceptions", "-fno-rtti", "-fno-math-errno")
LINK = ("-nostartfiles", "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=262144", "-Wl,--max-memory=2147483648")
PACKAGES = "clang-19 lld-19 wasi-libc libc++-19-dev-wasm32 libclang-rt-19-dev-wasm32"


def source_digest() -> str:
    """A hash of all that the binaries are made from."""
    total = hashlib.sha256(json.dumps([FLAGS, LINK, SOURCES, VARIANTS]).encode())
    for path in (*sorted(FOLDER.glob("*.h")), *(FOLDER / name for name in SOURCES)):
        total.update(path.read_bytes())
    return total.hexdigest()


def compiler() -> tuple[str, int]:
    """The clang that can build it, and its major version: the newest there is.

    Raises:
        Missing: there is none with relaxed SIMD in its final encoding.
    """
    for name in [*(f"clang++-{version}" for version in range(24, 17, -1)), "clang++"]:
        if found := shutil.which(name):
            said = subprocess.run([found, "--version"], capture_output=True, encoding="utf-8", check=False).stdout
            version = re.search(r"version (\d+)", said)
            if version and int(version[1]) >= 18:
                return found, int(version[1])
    raise Missing(f"clang 18 or later was not found: on Debian and Ubuntu, sudo apt-get install {PACKAGES}")


def build(target: Path = BUILT) -> list[Path]:
    """Compile every variant into ``target``, with a record of what they were made from; to be committed with the source.

    Raises:
        Missing: there is no compiler, or it failed; the message then holds its last words.
    """
    program, version = compiler()
    target.mkdir(exist_ok=True)
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for name, flags in VARIANTS.items():
            parts = [str(Path(folder, source).with_suffix(".o")) for source in SOURCES]
            for (source, speed), part in zip(SOURCES.items(), parts, strict=True):
                _run(program, *FLAGS, *flags, speed, "-c", str(FOLDER / source), "-o", part)
            _run(program, *FLAGS, *LINK, *parts, "-o", str(target / name))
            made.append(target / name)
    record = {"source": source_digest(), "clang": version, "sha256": {path.name: sha256(path) for path in made}}
    (target / RECORD.name).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return made


def _run(*command: str) -> None:
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if run.returncode:
        raise Missing(f"{command[0]} could not build the page's kernel: {run.stderr.strip()[-600:]}")


def built() -> list[Path]:
    """The committed binaries.

    Raises:
        Missing: their source has changed since.
    """
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    if record["source"] != source_digest():
        raise Missing("the page's kernel is older than its source: run `python -m richness.site kernel` and commit it")
    return [BUILT / name for name in VARIANTS]


def sha256(path: Path) -> str:
    """The checksum of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
