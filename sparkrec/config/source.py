"""A source maps a raw click format onto the columns of `events`."""

from datetime import date
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import ConfigDict, Field, field_validator, model_validator

from sparkrec.config.section import Section

EventWord = Literal["view", "cart", "purchase", "search", "favourite", "remove"]


class Columns(Section):
    """Which raw column holds what. A list means: the first of these that has a value."""

    user_id: str
    """Who did it."""
    item_id: str
    """What it was done to; may be empty for a search."""
    event_type: str | None = None
    """What was done, in the source's own words (see event_types)."""
    event_ts: str
    """When (see time)."""
    price: str | None = None
    """Price of the item in the source's currency."""
    category: str | list[str] | None = None
    """Category of the item."""
    brand: str | None = None
    """Brand of the item."""
    query: str | None = None
    """Words that were searched for."""

    def raw_names(self) -> list[str]:
        """Every raw column that the mapping names, once, in the order of the fields."""
        named: list[str] = []
        for value in self.model_dump().values():
            named.extend(value if isinstance(value, list) else [value] if value else [])
        return list(dict.fromkeys(named))


class Time(Section):
    """How the source writes time."""

    unit: Literal["iso", "seconds", "millis", "micros"]
    """ISO-like text or a timestamp column (with or without zone), or a number counted from 1970 in UTC."""
    zone: str = "UTC"
    """Zone of `event_date`, and of times that name none."""

    @field_validator("zone")
    @classmethod
    def known_zone(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError(f"'{zone}' is not a time zone; wanted a name such as Asia/Shanghai or UTC")
        return ZoneInfo(zone).key


class EventByValue(Section):
    """What was done, told by a number: a rating of 4 and more is a purchase."""

    column: str
    """Raw column that holds the number."""
    at_least: float
    """From this value on it is `then`, below it `otherwise`, without a number it is unknown."""
    then: EventWord
    """Event from the value on."""
    otherwise: EventWord
    """Event below it."""


class Part(Section):
    """Files of the same delivery that have other columns, such as buys beside clicks."""

    files: str
    """Names of these files, as a pattern."""
    file_columns: list[str] | None = None
    """csv without header: the names of the columns, in order."""
    columns: Columns
    """The mapping."""
    event_always: EventWord | None = None
    """What every row of these files is."""


class Source(Section):
    """One raw click format."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """Short name, for messages."""
    format: Literal["csv", "json", "parquet", "delta"]
    """File format. Compressed csv and json (gz, bz2, zst) are read as they are."""
    path: str | None = None
    """Where the files are when no --input is given; {date} stands for the run's date."""
    header: bool = True
    """csv: the first line names the columns."""
    separator: str = Field(",", min_length=1)
    """csv: what separates two values."""
    file_columns: list[str] | None = None
    """csv without header: the names of the columns, in order."""
    columns: Columns
    """The mapping."""
    time: Time
    """How time is written."""
    event_types: dict[str, EventWord] = Field({})
    """The source's word for an event: ours."""
    event_always: EventWord | None = None
    """What every row is, where no column says it."""
    event_by_value: EventByValue | None = None
    """What a row is, where a number says it."""
    files: str | None = None
    """Names of the files that these columns describe, as a pattern, where `also` describes others."""
    also: list[Part] = Field([])
    """Files of the same delivery with other columns."""
    period_start: date | None = None
    """First day the source means to cover; earlier rows are quarantined."""

    @model_validator(mode="after")
    def one_way_to_tell_events(self) -> "Source":
        parts: list[Source | Part] = [self, *self.also]
        for part in parts:
            by_value = part.event_by_value if isinstance(part, Source) else None
            if [part.columns.event_type, part.event_always, by_value].count(None) != 2:
                raise ValueError("wanted one of columns.event_type, event_always and event_by_value")
            if part.columns.event_type and not self.event_types:
                raise ValueError("columns.event_type needs event_types, what the source's words mean")
        if self.also and not self.files:
            raise ValueError("`also` needs `files`, the names of the files that the first columns describe")
        return self

    @model_validator(mode="after")
    def columns_are_known(self) -> "Source":
        if self.format != "csv" or self.header:
            return self
        parts: list[Source | Part] = [self, *self.also]
        for part in parts:
            if not part.file_columns:
                raise ValueError("a csv without header needs file_columns, the names of its columns in order")
            missing = [name for name in part.columns.raw_names() if name not in part.file_columns]
            if missing:
                raise ValueError(f"columns names {', '.join(missing)}, file_columns has {', '.join(part.file_columns)}")
        return self

    def raw_names(self) -> list[str]:
        """Every raw column that the mapping names, once."""
        extra = [self.event_by_value.column] if self.event_by_value else []
        return list(dict.fromkeys([*self.columns.raw_names(), *extra]))

    def parts(self) -> list["Source"]:
        """Return a source per kind of file; itself where there is one kind."""
        if not self.also:
            return [self]
        first = self.model_copy(update={"also": []})
        return [
            first,
            *(
                first.model_copy(
                    update={
                        "files": part.files,
                        "file_columns": part.file_columns,
                        "columns": part.columns,
                        "event_always": part.event_always,
                        "event_by_value": None,
                    }
                )
                for part in self.also
            ),
        ]
