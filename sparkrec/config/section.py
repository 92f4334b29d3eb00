"""A section of the settings."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Cannot be changed, knows no other names than its own, and the sentence under a name says what it changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
