"""The tables of papers A and C with the published figures beside ours: fills in benchmarks/PAPERS.md.

python benchmarks/paper_tables.py [A C] [--trial USERS]

A run that was cut off goes on where it was (see lakes.py). A trial (few users, one epoch) shows whether the script
works: its tables go to benchmarks/work alone.
"""

import sys
from collections.abc import Sequence

import paper_a
import paper_c
from filling import fill_page
from lakes import Scale

PAGE = "PAPERS.md"
PAPERS = {"A": paper_a, "C": paper_c}


def tables(scale: Scale) -> dict[str, str]:
    """Return all tables by the name of their place."""
    return {place: text for paper in PAPERS.values() for place, text in paper.tables(scale).items()}


def main(words: Sequence[str]) -> None:
    fill_page("paper-tables", PAGE, __doc__, PAPERS, lambda name, scale: PAPERS[name].run(scale), tables, words)


if __name__ == "__main__":
    main(sys.argv[1:])
