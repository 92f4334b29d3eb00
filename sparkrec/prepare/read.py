"""Read raw files as text columns named as in `events`; nothing is parsed, nothing is dropped."""

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructType

from sparkrec.config import Source
from sparkrec.prepare.inputs import Input, check_columns

MALFORMED = "_malformed"
TEXT_COLUMNS = ("user_id", "item_id", "event_type", "event_ts", "price", "category", "brand", "query")


def read_clicks(spark: SparkSession, source: Source, place: Input) -> DataFrame:
    """Return the raw rows.

    Out  TEXT_COLUMNS as strings (null where empty), `raw` (the row again, for the quarantine), `is_malformed`,
         `source_file`. A row is one raw row.
    """
    if source.format == "csv":
        rows = _read_csv(spark, source, place)
    elif source.format == "json":
        schema = _text_schema(tuple(source.columns.raw_names()))
        rows = (
            spark.read.schema(schema)
            .option("recursiveFileLookup", True)
            .option("columnNameOfCorruptRecord", MALFORMED)
            .json(place.path)
        )
    else:
        reader = spark.read if source.format == "delta" else spark.read.option("recursiveFileLookup", True)
        rows = reader.format(source.format).load(place.path)
        check_columns(source, tuple(rows.columns), place.path)
        rows = rows.withColumn(MALFORMED, F.lit(None).cast("string"))
    mapped = {name: _mapped(getattr(source.columns, name)) for name in TEXT_COLUMNS}
    as_json = F.to_json(F.struct(*(F.col(f"`{name}`") for name in source.columns.raw_names())))
    return rows.select(
        *(text.alias(name) for name, text in mapped.items()),
        F.coalesce(F.col(MALFORMED), as_json).alias("raw"),
        F.col(MALFORMED).isNotNull().alias("is_malformed"),
        F.col("_metadata.file_path").alias("source_file"),
    )


def _read_csv(spark: SparkSession, source: Source, place: Input) -> DataFrame:
    reader = spark.read.option("header", source.header).option("sep", source.separator)
    reader = reader.option("recursiveFileLookup", True)
    columns = place.columns
    if columns is None:
        columns = tuple(reader.csv(place.path).columns)
        check_columns(source, columns, place.path)
    if source.file_columns and not source.header:
        columns = tuple(source.file_columns)
    return (
        reader.schema(_text_schema(columns))
        .option("mode", "PERMISSIVE")
        .option("columnNameOfCorruptRecord", MALFORMED)
        # With a header: files whose columns differ from the first one's are an error, not shifted values.
        .option("enforceSchema", not source.header)
        .csv(place.path)
    )


def _text_schema(columns: tuple[str, ...]) -> StructType:
    schema = StructType()
    for name in (*columns, MALFORMED):
        schema = schema.add(name, StringType())
    return schema


def _mapped(names: str | list[str] | None) -> Column:
    if names is None:
        return F.lit(None).cast("string")
    choices = [names] if isinstance(names, str) else names
    texts = [F.trim(F.col(f"`{name}`").cast("string")) for name in choices]
    return F.coalesce(*(F.when(text != "", text) for text in texts))
