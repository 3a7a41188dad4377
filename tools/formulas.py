"""Writes the table of docs/reduce.md from the code's own: formulas.py --write or --check.

The table stands between ``<!-- formula_functions -->`` and ``<!-- /formula_functions -->``.
"""

import argparse
import re
from pathlib import Path

from logsum import _core

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reduce.md"
_BLOCK = re.compile(r"(<!-- formula_functions -->\n).*?(<!-- /formula_functions -->)", re.DOTALL)


def table() -> str:
    """Return every function that a formula may call, a row each."""
    lines = ["| function | dimension | value |", "|---|---|---|"]
    for _, signature, dimensions, summary in _core.formula_functions():
        cells = [f"`{signature}`", dimensions, summary]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def filled(text: str) -> str:
    """Return the page's text with the table made anew."""
    wanted, count = _BLOCK.subn(lambda block: f"{block[1]}\n{table()}\n\n{block[2]}", text)
    if count != 1:
        raise SystemExit(f"formulas: {PAGE.name} needs one formula_functions block, has {count}")
    return wanted


def main() -> int:
    """Bring the page up to date, or say whether it is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="bring the page up to date")
    action.add_argument("--check", action="store_true", help="fail where it is not")
    options = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    wanted = filled(text)
    if options.write:
        PAGE.write_text(wanted, encoding="utf-8")
    elif wanted != text:
        print("formulas: docs/reduce.md is not what the code says; run tools/formulas.py --write")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
