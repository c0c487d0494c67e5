"""`python -m richness` is the command `richness`."""

import sys

from richness.cli import main

if __name__ == "__main__":
    sys.exit(main())
