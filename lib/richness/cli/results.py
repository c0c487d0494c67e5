"""``richness adopt`` and ``richness cite``: result files taken in, and what to cite for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from richness.cli.options import Parser


def adopt(words: Sequence[str]) -> int:
    parser = Parser("adopt", "Checks a result from another machine and puts it into precomputed/.")
    parser.add_argument("file", metavar="FILE", help="the .nc file that `richness precompute` wrote there")
    parser.add_argument(
        "--force", action="store_true", help="also where it contradicts what is stored, once you know why"
    )
    options = parser.read(words)

    from richness.site.adopting import adopt as adopt_result

    print(adopt_result(Path(options.file).expanduser(), force=options.force))
    return 0


def cite(words: Sequence[str]) -> int:
    parser = Parser("cite", "The BibTeX of the paper, of this companion, and of what your results used.")
    parser.add_argument("files", metavar="FILE", nargs="*", help="result files (.nc); none means everything")
    files = parser.read(words).files

    from richness.site.citations import bibtex

    print(bibtex([Path(name).expanduser() for name in files]))
    return 0
