"""``python -m richness.site build | bundle | kernel | serve | weigh | print | policy | pack``: make the website, guard it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from richness.site.places import SiteError


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = argparse.ArgumentParser(prog="python -m richness.site", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="execute the chapters and write the website to _build/html")
    build.add_argument("--strict", action="store_true", help="every warning and every dangling reference is an error")
    build.add_argument("--clean", action="store_true", help="forget everything built before")
    commands.add_parser("bundle", help="the laboratory's modules as those that Jupyter and the pages load; commit them")
    commands.add_parser("kernel", help="the compiled kernel that the pages load, by clang; commit it")
    serve = commands.add_parser("serve", help="serve _build/html on localhost")
    serve.add_argument("--port", type=int, default=8000, help="0 lets the system choose (default: 8000)")
    commands.add_parser("print", help="the whole book as one PDF, _build/book.pdf")
    commands.add_parser("policy", help="the Content-Security-Policy that the built website keeps")
    commands.add_parser("pack", help="the whole website as one zip to read offline, with its sum, in _build/release")
    commands.add_parser("weigh", help="what each page's first view weighs, in kB of gzip; fails where one is too heavy")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 if all is well, 1 with a sentence if not."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "build":
            from richness.site.building import build

            return build(strict=options.strict, clean=options.clean)
        if options.command == "bundle":
            from richness.site.bundling import write_bundles

            print("\n".join(f"wrote {path}" for path in write_bundles()))
            return 0
        if options.command == "kernel":
            from richness.site.bundling import write_kernel

            print("\n".join(f"wrote {path}" for path in write_kernel()))
            return 0
        if options.command == "serve":
            from richness.site.serving import serve

            return serve(options.port)
        if options.command == "print":
            from richness.site.printing import bind

            return bind()
        if options.command == "policy":
            from richness.site.places import built_site
            from richness.site.policy import site_policy

            print(site_policy(built_site()))
            return 0
        if options.command == "pack":
            from richness.site.offline import pack

            print("\n".join(f"wrote {path}" for path in pack()))
            return 0
        from richness.site.weighing import weigh

        return weigh()
    except SiteError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
