"""What to cite: one bibliography (``references.bib``), and which of its entries a result leans on."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from richness.runs import places, results

PAPER = "atanasov2025optimization"
# What a result used -> the entries of references.bib. Every result draws its numbers from the counter-based generator.
USES: dict[str, tuple[str, ...]] = {
    "any": ("salmon2011parallel",),
    "parameterisation": ("yang2021tensor", "chizat2019lazy"),
    "task digits": ("lecun1998gradient", "loosli2007training"),
    "task digits8": ("lecun1998gradient", "loosli2007training"),
    "task digits8_fixed": ("lecun1998gradient",),
    "task text": ("carroll1865alice",),
    "task text_fixed": ("carroll1865alice",),
    "probe sharpness": ("cohen2021gradient",),
}


def bibtex(files: list[Path] | None = None) -> str:
    """BibTeX of the paper, of this companion, and of what the results used; without results, of everything.

    Raises:
        ResultError: a file that is not a result.
        ValueError: an entry that the bibliography does not have.
    """
    known = entries()
    if files:
        keys = list(dict.fromkeys([PAPER, *(key for file in files for key in keys_for(file))]))
    else:
        keys = [PAPER, *(key for key in known if key != PAPER)]
    missing = [key for key in keys if key not in known]
    if missing:
        raise ValueError(f"references.bib has no entry {', '.join(missing)}; restore it with git.")
    return "\n\n".join([known[PAPER], _companion(), *(known[key] for key in keys[1:])])


def keys_for(file: Path) -> list[str]:
    """The entries that one result leans on."""
    experiment = results.recipe_of(results.read(file))
    used = ["parameterisation", f"task {experiment.task}", *(f"probe {probe}" for probe in experiment.probes), "any"]
    return [key for use in used for key in USES.get(use, ())]


def entries() -> dict[str, str]:
    """key -> BibTeX entry, in the order of the file."""
    root = places.checkout()
    path = (root if root else Path(__file__).parents[1]) / "references.bib"
    if not path.is_file():
        raise ValueError(f"{path} is missing; restore it with git, or install the package again.")
    found = re.findall(r"^@\w+\{([^,\s]+),.*?^\}", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    bodies = re.findall(r"^@\w+\{.*?^\}", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return dict(zip(found, bodies, strict=True))


def _companion() -> str:
    paper = "The Optimization Landscape of {SGD} Across the Feature Learning Strength"
    title = f"{{richness}}: an interactive companion to {paper}"
    return "\n".join(
        [
            "@software{richness,",
            f"  title   = {{{title}}},",
            "  author  = {{The richness authors}},",
            "  year    = {2026},",
            f"  version = {{{version('richness')}}}",
            "}",
        ]
    )
