"""What a table promises, and how rows are held to it."""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    ByteType,
    DataType,
    DateType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructType,
    TimestampType,
)

from sparkrec.errors import ContractError


@dataclass(frozen=True)
class Table:
    """A table's promise: `schema` with a comment per column, its key and its partition column."""

    name: str
    row: str
    schema: StructType
    key: tuple[str, ...] = ()
    partition: str | None = None

    @property
    def in_files(self) -> StructType:
        """The columns that files hold; the partition is in their path."""
        return StructType([field for field in self.schema if field.name != self.partition])


def conform(frame: DataFrame, table: Table) -> DataFrame:
    """Return exactly the contract's columns, in its order; raise on every missing or mistyped one at once."""
    found = {field.name: field.dataType for field in frame.schema}
    wrong = [
        f"{field.name}: want {field.dataType.simpleString()}, got {_type_of(found.get(field.name))}"
        for field in table.schema
        if _type_of(found.get(field.name)) != field.dataType.simpleString()
    ]
    if wrong:
        raise ContractError(f"{table.name}: " + "; ".join(wrong))
    return frame.select(*(F.col(name) for name in table.schema.names))


def accept(frame: DataFrame, table: Table, where: str) -> DataFrame:
    """Return the contract's columns of a table that users wrote; those they left out are null, but for its first."""
    known = [field for field in table.schema if field.name in frame.columns]
    strange = [name for name in frame.columns if name not in table.schema.names]
    if strange or table.schema[0].name not in frame.columns:
        raise ContractError(
            f"{where}: wanted {table.schema[0].name} and, where there is a need, {', '.join(table.schema.names[1:])};"
            f" found {', '.join(frame.columns)}"
        )
    told = {field.name: F.col(field.name).cast(field.dataType) for field in known}
    return frame.select(
        *(told.get(field.name, F.lit(None).cast(field.dataType)).alias(field.name) for field in table.schema)
    )


def _type_of(found: DataType | None) -> str:
    return "nothing" if found is None else found.simpleString()


# StructType.fromDDL would need a live session.
_KINDS: dict[str, DataType] = {
    kind.simpleString(): kind
    for kind in (
        StringType(),
        DateType(),
        TimestampType(),
        BooleanType(),
        IntegerType(),
        LongType(),
        DoubleType(),
        FloatType(),
        ArrayType(IntegerType()),
        ArrayType(ByteType()),
        ArrayType(LongType()),
        ArrayType(StringType()),
        ArrayType(FloatType()),
        MapType(StringType(), LongType()),
        MapType(StringType(), DoubleType()),
    )
}


def columns_of(*columns: tuple[str, str, str]) -> StructType:
    schema = StructType()
    for name, kind, comment in columns:
        schema = schema.add(name, _KINDS[kind], True, {"comment": comment})
    return schema
