"""The tables of papers A and C with the published figures beside ours: fills in benchmarks/PAPERS.md.

python benchmarks/paper_tables.py [A C] [--trial USERS]

A run that was cut off goes on where it was (see lakes.py). A trial (few users, one epoch) shows whether the script
works: its tables go to benchmarks/work alone.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence

import paper_a
import paper_c
from lakes import Scale, end_with_jobs
from page import fill_in

PAGE = "PAPERS.md"
PAPERS = {"A": paper_a, "C": paper_c}


def main(words: Sequence[str]) -> None:
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("papers", nargs="*", metavar="paper", help=", ".join(PAPERS))
    parser.add_argument("--trial", type=int, metavar="USERS", help="try the script out on so many users")
    asked = parser.parse_args(words)
    if unknown := [name for name in asked.papers if name not in PAPERS]:
        parser.error(f"no paper {', '.join(unknown)}; there are {', '.join(PAPERS)}")
    end_with_jobs()
    scale = Scale.trial(asked.trial) if asked.trial else Scale()
    page = scale.page(PAGE)
    try:
        for paper in asked.papers or PAPERS:
            PAPERS[paper].run(scale)
    finally:
        told = {place: text for paper in PAPERS.values() for place, text in paper.tables(scale).items()}
        fill_in(page, told)
    print("\n\n".join(told.values()))
    print(f"paper-tables: seconds={time.monotonic() - began:.0f} cores={os.cpu_count()}")


if __name__ == "__main__":
    main(sys.argv[1:])
