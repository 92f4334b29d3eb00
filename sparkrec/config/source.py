"""A source maps a raw click format onto the columns of `events`."""

from datetime import date
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import ConfigDict, Field, field_validator, model_validator

from sparkrec.config.settings import Section

EventWord = Literal["view", "cart", "purchase", "search", "favourite", "remove"]


class Columns(Section):
    """Which raw column holds what. A list means: the first of these that has a value."""

    user_id: str
    """Who did it."""
    item_id: str
    """What it was done to; may be empty for a search."""
    event_type: str
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
    """ISO-like text (with or without zone), or a number counted from 1970 in UTC."""
    zone: str = "UTC"
    """Zone of `event_date`, and of ISO text that names none."""

    @field_validator("zone")
    @classmethod
    def known_zone(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError(f"'{zone}' is not a time zone; wanted a name such as Asia/Shanghai or UTC")
        return ZoneInfo(zone).key


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
    event_types: dict[str, EventWord]
    """The source's word for an event: ours."""
    period_start: date | None = None
    """First day the source means to cover; earlier rows are quarantined."""

    @model_validator(mode="after")
    def columns_are_known(self) -> "Source":
        if self.format != "csv" or self.header:
            return self
        if not self.file_columns:
            raise ValueError("a csv without header needs file_columns, the names of its columns in order")
        missing = [name for name in self.columns.raw_names() if name not in self.file_columns]
        if missing:
            raise ValueError(f"columns names {', '.join(missing)}, file_columns has {', '.join(self.file_columns)}")
        return self
