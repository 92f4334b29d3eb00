"""What the documentation says is what is there."""

import doctest
import importlib
import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_of_tables_is_the_contract() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "write_tables.py"))["table_page"]()
    assert (ROOT / "docs" / "tables.md").read_text() == page, "run 'make docs'"


def test_examples_in_docstrings_hold() -> None:
    tried = 0
    for file in sorted((ROOT / "sparkrec").rglob("*.py")):
        if ">>> " in file.read_text():
            module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
            found = doctest.testmod(module)
            assert not found.failed, file
            tried += found.attempted
    assert tried


def test_every_make_target_named_in_the_documentation_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", file.read_text(), re.MULTILINE))
        assert named <= targets, file


def test_every_target_is_listed_by_make() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):.*$", text, re.MULTILINE)
    assert [target for target in targets if not re.search(rf"^{target}:.*## ", text, re.MULTILINE)] == []


def test_every_setting_and_file_named_in_the_documentation_exists() -> None:
    from sparkrec.config import Settings

    for file in (ROOT / "README.md", ROOT / "docs" / "how-it-works.md"):
        text = file.read_text()
        for section, name in re.findall(r"\b(prepare|window|train|recommend|evaluate|lake|run)\.([a-z_]+)\b", text):
            known = getattr(Settings(), section).__class__.model_fields
            assert name in known or name in ("py", "md"), f"{file.name}: {section}.{name}"
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert (file.parent / link).exists(), f"{file.name}: {link}"
