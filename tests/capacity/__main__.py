"""``python -m tests.capacity [--write]``: the figures of ``deploy/capacity.md``, printed, or written into it."""

import argparse
import sys
from pathlib import Path

from tests.capacity.model import figures

DOCUMENT = Path(__file__).resolve().parents[2] / "deploy" / "capacity.md"
BEGIN, END = "<!-- figures: python -m tests.capacity --write -->\n", "<!-- end of figures -->\n"


def written(document: str, shown: str) -> str:
    """The document with these figures in their place."""
    head, _, rest = document.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{shown}\n{END}{tail}"


def main() -> int:
    """Print, or write."""
    parser = argparse.ArgumentParser(prog="python -m tests.capacity", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"put the figures into {DOCUMENT.name}")
    shown = figures()
    if parser.parse_args().write:
        DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8"), shown), encoding="utf-8")
    else:
        sys.stdout.write(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
