"""``python -m benchmarks NAME [options]``: run one benchmark of this package, which is every other module here but
those with a leading underscore, which benchmarks share. What is measured, and against whom, is told by the module of
that name."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from src.utils.errors import UserError


def names() -> list[str]:
    """The benchmarks there are."""
    modules = iter_modules([str(Path(__file__).parent)])
    return [module.name for module in modules if not module.name.startswith("_")]


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark that the first argument names with the others as its options; return the exit status."""
    if not arguments or arguments[0] not in names():
        wrong = f"no benchmark is named '{arguments[0]}'" if arguments else "which benchmark?"
        print(f"error: {wrong}; choices: {', '.join(names())}", file=sys.stderr)
        return 2
    try:
        import_module(f"benchmarks.{arguments[0]}").main(arguments[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
