"""Read raw files as text columns named as in `events`; nothing is parsed, nothing is dropped."""

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DecimalType, DoubleType, FloatType, LongType, StringType, StructType

from sparkrec.prepare.inputs import Piece, check_columns

MALFORMED = "_malformed"
TEXT_COLUMNS = ("user_id", "item_id", "event_type", "event_ts", "price", "category", "brand", "query")


def read_clicks(spark: SparkSession, piece: Piece) -> DataFrame:
    """Return the raw rows of one kind of file.

    Out  TEXT_COLUMNS as strings (null where empty), but for event_ts and price that have a type; `raw` (the row again,
         for the quarantine), `is_malformed`, `source_file`. A row is one raw row.
    """
    source = piece.source
    names = source.raw_names()
    if source.format == "csv":
        rows = _read_csv(spark, piece)
    elif source.format == "json":
        rows = (
            spark.read.schema(_text_schema(tuple(names)))
            .option("recursiveFileLookup", True)
            .option("columnNameOfCorruptRecord", MALFORMED)
            .json(list(piece.paths))
        )
    else:
        reader = spark.read if source.format == "delta" else spark.read.option("recursiveFileLookup", True)
        rows = reader.format(source.format).load(piece.paths[0] if len(piece.paths) == 1 else list(piece.paths))
        check_columns(source, tuple(rows.columns), piece.paths[0])
        rows = rows.withColumn(MALFORMED, F.lit(None).cast("string"))
    mapped = {name: _mapped(getattr(source.columns, name)) for name in TEXT_COLUMNS}
    mapped |= {name: _id(rows, getattr(source.columns, name)) for name in ("user_id", "item_id")}
    mapped["price"] = _typed(rows, source.columns.price)
    mapped["event_ts"] = _time(rows, source.columns.event_ts, piece.time_kind)
    as_json = F.to_json(F.struct(*(F.col(f"`{name}`") for name in names)))
    return rows.select(
        *(text.alias(name) for name, text in mapped.items()),
        (F.col(f"`{source.event_by_value.column}`") if source.event_by_value else F.lit(None))
        .cast("string")
        .alias("event_value"),
        F.coalesce(F.col(MALFORMED), as_json).alias("raw"),
        F.col(MALFORMED).isNotNull().alias("is_malformed"),
        F.col("_metadata.file_path").alias("source_file"),
    )


def _read_csv(spark: SparkSession, piece: Piece) -> DataFrame:
    source, paths = piece.source, list(piece.paths)
    reader = spark.read.option("header", source.header).option("sep", source.separator)
    reader = reader.option("recursiveFileLookup", True)
    columns = piece.columns
    if columns is None:
        columns = tuple(reader.csv(paths).columns)
        check_columns(source, columns, paths[0])
    if source.file_columns and not source.header:
        columns = tuple(source.file_columns)
    return (
        reader.schema(_text_schema(columns))
        .option("mode", "PERMISSIVE")
        .option("columnNameOfCorruptRecord", MALFORMED)
        # With a header: files whose columns differ from the first one's are an error, not shifted values.
        .option("enforceSchema", not source.header)
        .csv(paths)
    )


def _text_schema(columns: tuple[str, ...]) -> StructType:
    schema = StructType()
    for name in (*columns, MALFORMED):
        schema = schema.add(name, StringType())
    return schema


def _typed(rows: DataFrame, name: str | None) -> Column:
    # A number that becomes text and a number again takes longer than all else that is done to a row.
    is_text = name is None or isinstance(rows.schema[name].dataType, StringType)
    return _mapped(name) if is_text else F.col(f"`{name}`")


def _id(rows: DataFrame, name: str) -> Column:
    """Return an id as text: 52 also where a column of whole numbers with gaps was written as 52.0."""
    kind, number = rows.schema[name].dataType, F.col(f"`{name}`")
    if not isinstance(kind, (FloatType, DoubleType, DecimalType)):
        return _mapped(name)
    is_whole = number % 1 == 0
    if not isinstance(kind, DecimalType):
        # Beyond these neighbours are one number already: no id, rather than somebody else's.
        is_whole &= F.abs(number) < (2**24 if isinstance(kind, FloatType) else 2**53)
    return F.when(is_whole, number.try_cast("decimal(38,0)").cast("string"))


def _time(rows: DataFrame, name: str, kind: str | None) -> Column:
    """Return the time column; nanoseconds, which Spark hands over as numbers, become its timestamps."""
    is_number = isinstance(rows.schema[name].dataType, LongType)  # Arrow calls INT96 nanoseconds, too
    if kind is None or not is_number or not kind.startswith("timestamp[ns"):
        return _typed(rows, name)
    instant = F.timestamp_micros(F.call_function("div", F.col(f"`{name}`"), F.lit(1000)))
    return instant if "tz=" in kind else instant.cast("timestamp_ntz")


def _mapped(names: str | list[str] | None) -> Column:
    if names is None:
        return F.lit(None).cast("string")
    choices = [names] if isinstance(names, str) else names
    texts = [F.nullif(F.trim(F.col(f"`{name}`").cast("string")), F.lit("")) for name in choices]
    return texts[0] if len(texts) == 1 else F.coalesce(*texts)
