"""``richness address``."""

from __future__ import annotations

from collections.abc import Sequence

from richness.cli.errors import Usage
from richness.cli.options import Parser


def address(words: Sequence[str]) -> int:
    parser = Parser(
        "address",
        "Writes the repository's public address wherever it must stand: configuration, README, CITATION, chapters.",
    )
    parser.add_argument("url", metavar="URL", help="such as https://github.com/you/richness")
    url = parser.read(words).url

    from richness.site.address import BadAddress, set_address

    try:
        changed = set_address(url)
    except BadAddress as error:
        raise Usage(str(error)) from error
    said = "\n".join(f"wrote {path}" for path in changed)
    print(said or "nothing to change: the address stands everywhere already")
    return 0
