"""``python -m arithmoscope``: the command line."""

import sys

from arithmoscope.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
