"""Write docs/tables.md from the contracts in sparkrec/tables.py: `make docs`."""

from pathlib import Path

from sparkrec.contract import Table
from sparkrec.tables import ALL, INPUTS

FILE = Path(__file__).parent / "tables.md"
HEAD = """# Tables

Written by `make docs` from `sparkrec/tables.py`; the same words stand in the tables themselves (`DESCRIBE`). All are
Delta tables under `lake.root`, in a folder of their name, readable with protocol reader version 1 (no deletion vectors,
no column mapping), so Spark, delta-rs, Polars, DuckDB and Trino can all open them.
"""
INPUT_HEAD = """
# Tables that you may write

Delta tables beside the others; jobs only read them. Columns but the first may be missing.
"""


def table_page() -> str:
    return HEAD + "".join(_section(table) for table in ALL) + INPUT_HEAD + "".join(_section(table) for table in INPUTS)


def _section(table: Table) -> str:
    facts = [f"A row is {table.row}."]
    if table.key:
        facts.append(f"Key: {', '.join(f'`{name}`' for name in table.key)}.")
    if table.partition:
        facts.append(f"Partitioned by `{table.partition}`.")
    rows = "\n".join(f"| `{f.name}` | {f.dataType.simpleString()} | {f.metadata['comment']} |" for f in table.schema)
    return f"\n## {table.name}\n\n{' '.join(facts)}\n\n| column | type | what it holds |\n|---|---|---|\n{rows}\n"


if __name__ == "__main__":
    FILE.write_text(table_page(), encoding="utf-8")
