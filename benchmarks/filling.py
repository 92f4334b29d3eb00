"""The command line that both pages of tables share: run what is not done by now, and fill in the page either way."""

import argparse
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from lakes import Scale, end_with_jobs
from page import fill_in


def fill_page(
    command: str,
    page: str,
    description: str | None,
    parts: Iterable[str],
    run: Callable[[str, Scale], None],
    tables: Callable[[Scale], Mapping[str, str]],
    words: Sequence[str],
) -> None:
    """Run the parts that are named, all if none is, and write all tables, also where a part fails.

    In   command: its name in the last line. run: does one part. tables: texts by the name of their place in the page.
    """
    began, known = time.monotonic(), list(parts)
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(known))
    parser.add_argument("--trial", type=int, metavar="USERS", help="try the script out on so many users")
    asked = parser.parse_args(words)
    if unknown := [name for name in asked.parts if name not in known]:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(known)}")
    end_with_jobs()
    scale = Scale.trial(asked.trial) if asked.trial else Scale()
    place = scale.page(page)
    try:
        for name in asked.parts or known:
            run(name, scale)
    finally:
        told = tables(scale)
        fill_in(place, told)
    print("\n\n".join(told.values()))
    print(f"{command}: seconds={time.monotonic() - began:.0f} cores={os.cpu_count()}")
