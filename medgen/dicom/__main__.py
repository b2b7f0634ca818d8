"""``python -m medgen.dicom scan DIR``: what DICOM series a folder holds, and what is wrong with them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from medgen.dicom.scan import scan_dicom

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m medgen.dicom", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    scan = commands.add_parser("scan", help="list the series in a folder and below it")
    scan.add_argument("root", help="a folder, or one file")
    scan.add_argument("--csv", help="also write the list as a table to this file (readable to you only)")
    scan.add_argument("--quiet", action="store_true", help="no progress bar")
    given = parser.parse_args(arguments)
    try:
        table = scan_dicom(given.root, progress=not given.quiet)
        print(table)
        if given.csv:
            print(f"written: {table.write_csv(given.csv)}")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
