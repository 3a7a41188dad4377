"""``python -m logsum info`` and ``python -m logsum tour``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from logsum._config import show_config


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, the process's own by default, and return an exit status."""
    parser = argparse.ArgumentParser(prog="python -m logsum", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="version, CPU target, threads, torch, CUDA")
    commands.add_parser("tour", help="what the library computes and how well", add_help=False)
    options, rest = parser.parse_known_args(argv)
    if options.command == "tour":
        from logsum import tour  # loads what only the tour needs

        return tour.main(rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    show_config()
    return 0


if __name__ == "__main__":
    sys.exit(main())
