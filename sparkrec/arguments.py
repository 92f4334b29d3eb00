"""What a job may be asked for on the command line, and what is checked of it before Spark starts."""

import argparse
from dataclasses import dataclass
from datetime import date

from sparkrec.config import Settings, Source, load_settings, load_source
from sparkrec.errors import RefusedError
from sparkrec.prepare.inputs import Input, latest_sample_day, resolve_input

SAMPLE = "conf/sources/sample.yaml"
OF_JOBS = {
    "prepare": ("source", "input"),
    "recommend": ("force",),
    "evaluate": ("against", "format"),
    "nightly": ("source", "input", "force"),
}
"""The arguments that not all jobs take."""
MEANING: dict[str, dict[str, object]] = {
    "config": {"metavar": "FILE", "default": "conf/local.yaml", "help": "settings (conf/local.yaml)"},
    "lake": {"metavar": "PATH", "help": "folder of the tables (lake.root)"},
    "set": {"metavar": "section.key=value", "action": "append", "default": [], "help": "change one setting"},
    "source": {"metavar": "FILE", "help": "mapping of the raw format, from conf/sources/"},
    "input": {"metavar": "PATH", "help": "raw clicks: a file, a folder or a glob"},
    "force": {"action": "store_true", "help": "publish although a check raises doubts"},
    "format": {"choices": ("html", "json"), "default": "html", "help": "of the report (html)"},
    "against": {
        "metavar": "VERSION",
        "action": "append",
        "default": [],
        "help": "compare with this model",
    },
}


@dataclass(frozen=True)
class Asked:
    """What a job was asked for: parsed and checked."""

    date: date
    settings: Settings
    source: Source | None = None
    input: Input | None = None
    force: bool = False
    """Publish although a check raises doubts."""
    against: tuple[str, ...] = ()
    """Versions of models to compare the night's with."""
    format: str = "html"
    """Of the report: html or json."""

    @property
    def clicks(self) -> tuple[Source, Input]:
        """The source and the input of a job that reads raw clicks."""
        if self.source is None or self.input is None:
            raise RefusedError("raw clicks are read with --source and --input")
        return self.source, self.input


def parse(job: str, description: str, words: list[str]) -> Asked:
    """Return what a job was asked for; without --date the night is the sample's last day."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--date", metavar="YYYY-MM-DD", type=_day, help="the night to run (the sample's last day)")
    for name in ("config", "lake", "set", *OF_JOBS.get(job, ())):
        parser.add_argument(f"--{name}", **MEANING[name])  # type: ignore[arg-type]
    told = vars(parser.parse_args(words))
    settings = load_settings(told["config"], told["set"], told["lake"])
    more = {"force": told.get("force", False), "against": tuple(told.get("against", ()))}
    more["format"] = told.get("format", "html")
    if "input" not in told:
        return Asked(told["date"] or latest_sample_day(load_source(SAMPLE)), settings, **more)
    return Asked(*_clicks(told["source"], told["input"], told["date"], settings), **more)


def _clicks(
    source: str | None, place: str | None, day: date | None, settings: Settings
) -> tuple[date, Settings, Source, Input]:
    on_sample = source is None and place is None
    if source is None and not on_sample:
        raise RefusedError("--input needs --source FILE, the mapping of its format; conf/sources/ has those that exist")
    mapping = load_source(source or SAMPLE)
    if day is None and not on_sample:
        raise RefusedError("--date YYYY-MM-DD is needed with a --source of your own: the night to run")
    run_date = day or latest_sample_day(mapping)
    return run_date, settings, mapping, resolve_input(mapping, place, run_date)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"wanted a day such as 2019-10-31, found '{text}'") from error
