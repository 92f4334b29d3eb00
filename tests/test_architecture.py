"""Rules about the code itself. Each names the file and line that breaks it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "sparkrec").rglob("*.py"))
JOBS = sorted((ROOT / "jobs").glob("*.py"))

# From the bottom up: a room may import from rooms on the same floor's left and from floors below.
FLOORS = [
    {"errors", "__init__", "files", "parquet", "tasks", "spark_errors"},
    {"contract"},
    {"tables", "config", "sample"},
    {"session", "lake", "sequences"},
    {"popularity", "models"},
    {"prepare"},
    {"arguments"},
    {"window"},
    {"evaluate"},
    {"train", "recommend", "nightly"},
    {"job"},
]
# Two stages on one floor that may know each other: none.
IN_A_TASK = "Polars, inside a task of Spark"
DRIVER_SEES = {
    "prepare/items.py": "a row per range of ids",
    "tasks.py": "a few reports per task",
    "prepare/commit.py": "Polars: users' days that a run took back",
    "prepare/catalogue.py": IN_A_TASK,
    "models/published.py": "rows of `models`",
    "evaluate/heads.py": "a row per kind of event",
    "prepare/heal.py": "Polars: one row of runs",
    "prepare/histories.py": IN_A_TASK,
    "prepare/item_days.py": IN_A_TASK,
    "prepare/night.py": "Polars: users' days that were refused as a bot's",
    "prepare/scan.py": "a row per input file",
    "prepare/patch.py": IN_A_TASK,
    "prepare/split.py": IN_A_TASK,
    "prepare/staged.py": IN_A_TASK,
    "prepare/stored.py": IN_A_TASK,
    "prepare/vocabulary.py": IN_A_TASK,
    "window/held_out.py": "a number per catalogue item",
    "window/made_with.py": "Polars: the files of a table",
    "train/counted.py": "a vector per catalogue item",
    "train/attributes.py": "a few numbers per catalogue item",
    "train/neighbours.py": "a few numbers per catalogue item",
    "train/plan.py": "a row per file",
    "evaluate/summary.py": "a few figures",
    "evaluate/drift.py": "a row per kind of event, class of sessions, night",
    "evaluate/properties.py": "a few numbers per item that is in a list",
    "evaluate/report/gather.py": "what a page shows of a night, ten users' lists among it",
    "evaluate/slices.py": "a category and a number per item",
    "popularity.py": "a number per catalogue item",
    "recommend/check.py": "a number per catalogue item",
    "recommend/inputs.py": "a row per rule",
    "recommend/night.py": "a row per catalogue item",
    "nightly/morning.py": "twelve rows",
}
TO_THE_DRIVER = {"collect", "toPandas", "toArrow", "toLocalIterator", "rdd"}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def floor_of(room: str) -> int:
    found = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    assert found, f"room {room} has no floor; give it one in FLOORS"
    return found[0]


def imports_of(file: Path) -> list[tuple[int, str]]:
    tree = ast.parse(file.read_text())
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.lineno, node.module))
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
    return found


def test_imports_point_downhill() -> None:
    wrong = []
    for file in PACKAGE:
        inside = file.relative_to(ROOT / "sparkrec")
        room = inside.parts[0].removesuffix(".py")
        for line, module in imports_of(file):
            target = room_of(module)
            is_ours = module.startswith("sparkrec.") and target != room
            if is_ours and floor_of(target) >= floor_of(room):
                wrong.append(f"{inside}:{line} imports {module}")
    assert not wrong


def test_the_package_never_imports_a_job() -> None:
    jobs = {file.stem for file in JOBS}
    assert not [
        (file.name, module)
        for file in PACKAGE
        for _, module in imports_of(file)
        if module.split(".")[0] in jobs | {"jobs"}
    ]


def test_jobs_read_like_a_table_of_contents() -> None:
    for job in JOBS:
        text = job.read_text()
        assert len(text.splitlines()) <= 70, f"{job.name} is long; move what it does into its package"
        assert "F." not in text and "functions" not in text, f"{job.name} holds a Spark expression"
        assert not [
            n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.If) and "__name__" not in ast.dump(n.test)
        ]


def test_files_and_functions_fit_the_eye() -> None:
    for file in [*PACKAGE, *JOBS]:
        text = file.read_text()
        assert len(text.splitlines()) <= 300, f"{file} has more than 300 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno <= 60, f"{file}:{node.lineno} {node.name} is long"


def test_nothing_big_passes_through_the_driver() -> None:
    for file in [*PACKAGE, *JOBS]:
        name = str(file.relative_to(ROOT / "sparkrec")) if file in PACKAGE else f"jobs/{file.name}"
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in TO_THE_DRIVER:
                allowed = name in DRIVER_SEES or name == "jobs/recommend.py"  # the rows of `models`
                assert allowed, f"{name}:{node.lineno} brings rows to the driver with {node.attr}"


def test_no_column_is_added_in_a_loop() -> None:
    for file in [*PACKAGE, *JOBS]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, (ast.For, ast.While)):
                calls = [n for n in ast.walk(node) if isinstance(n, ast.Attribute) and n.attr == "withColumn"]
                assert not calls, f"{file}:{node.lineno} calls withColumn in a loop: one select instead"


def test_the_clock_is_read_in_one_place() -> None:
    readers = [f.name for f in [*PACKAGE, *JOBS] if re.search(r"datetime\.now|date\.today|utcnow", f.read_text())]
    assert readers == ["job.py"]


def test_stages_have_one_word_everywhere() -> None:
    from sparkrec.config import Settings

    targets = (ROOT / "Makefile").read_text()
    for stage in ("prepare", "window", "train", "recommend", "evaluate"):
        assert (ROOT / "jobs" / f"{stage}.py").exists()
        assert (ROOT / "sparkrec" / stage / "__init__.py").exists()
        assert stage in Settings.model_fields
        assert f"\n{stage}:" in targets
        assert list((ROOT / "tests").glob(f"test_{stage}*.py"))


def test_padding_has_a_name() -> None:
    """Item index 0 is called PAD, and 1 UNKNOWN, wherever padding is compared or filled in."""
    for file in PACKAGE:
        assert not re.search(r"item_idxs?\w*\s*(==|!=)\s*[01]\b", file.read_text()), file
