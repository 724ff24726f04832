"""Active learning for image classification: read a YAML config and run it. See README.md and --help."""

import sys

from src.cli import main

if __name__ == "__main__":
    sys.exit(main("classification"))
