"""``python -m ghostd``: the same as the command ``ghostd``."""

import sys

from ghostd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
