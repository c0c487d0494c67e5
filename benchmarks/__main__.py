"""The bench as a program: prints the report as JSON, and tells of each job on stderr.

The processes of contenders do not import this module again, as they would one that was named to ``python -m``; so it
weighs on no measurement.
"""

import argparse
import json
import sys

from benchmarks.bench import measure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios against the peers, as JSON.")
    parser.add_argument("names", nargs="*", help="of jobs (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, whose times mean nothing")
    options = parser.parse_args()
    try:
        report = measure(
            options.names, options.quick, lambda line: print(f"bench: {line}", file=sys.stderr, flush=True)
        )
    except ValueError as error:
        sys.exit(f"richness bench: {error}.")
    except KeyboardInterrupt:
        sys.exit(130)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
