"""The same work in DuckDB: raw Parquet -> events with sessions, items, the last 50 events per user, as Parquet.

python benchmarks/peers/duckdb_prepare.py RAW OUT THREADS
"""

import shutil
import sys
import time
from pathlib import Path

import duckdb

STANDING = """
CREATE TEMP TABLE standing AS
SELECT * FROM (
    SELECT nullif(trim(user_id), '') AS user_id, nullif(trim(item_id), '') AS item_id, event_type,
        try_cast(replace(event_time, ' UTC', '') AS timestamp) AS event_ts, price,
        nullif(trim(category), '') AS category, nullif(trim(brand), '') AS brand, nullif(trim(query), '') AS query
    FROM read_parquet($raw))
WHERE user_id IS NOT NULL AND event_ts IS NOT NULL AND event_type IN ('view', 'cart', 'purchase', 'search')
    AND (item_id IS NOT NULL OR event_type = 'search') AND (price IS NULL OR price BETWEEN 0 AND 1e12)
"""
# A duplicate has the same moment as the row before it, so that it neither opens a session nor hides a gap.
EVENTS = """
CREATE TEMP TABLE events AS
SELECT user_id, item_id, event_type, event_ts, user_id || '@' || started AS session_id, price, category, brand, query,
    event_date, place
FROM (
    SELECT *, max(opens) OVER up_to_here AS started, count_if(NOT is_again) OVER up_to_here AS place
    FROM (
        SELECT *, event_ts::date AS event_date,
            CASE WHEN lag(event_ts) OVER w IS NULL OR event_ts - lag(event_ts) OVER w > INTERVAL 30 MINUTE
                THEN epoch(event_ts)::bigint END AS opens,
            coalesce(event_ts = lag(event_ts) OVER w AND event_type = lag(event_type) OVER w
                AND item_id IS NOT DISTINCT FROM lag(item_id) OVER w, false) AS is_again
        FROM (SELECT * FROM standing ANTI JOIN bots
            ON standing.user_id = bots.user_id AND standing.event_ts::date = bots.event_date)
        WINDOW w AS (PARTITION BY user_id ORDER BY event_ts, item_id, event_type))
    WINDOW up_to_here AS (PARTITION BY user_id ORDER BY event_ts, item_id, event_type
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW))
WHERE NOT is_again
"""
# Repeated rows do not make a bot: whoever has enough rows is counted again without them.
BOTS = """
CREATE TEMP TABLE bots AS
WITH many AS (SELECT user_id, event_ts::date AS event_date FROM standing GROUP BY ALL HAVING count(*) > 1000)
SELECT user_id, event_date FROM (
    SELECT DISTINCT user_id, event_ts::date AS event_date, event_ts, item_id, event_type
    FROM standing SEMI JOIN many ON standing.user_id = many.user_id AND standing.event_ts::date = many.event_date)
GROUP BY ALL HAVING count(*) > 1000
"""
ITEMS = """
CREATE TEMP TABLE items AS
SELECT item_id, (row_number() OVER (ORDER BY item_id) + 1)::integer AS item_idx, * EXCLUDE item_id FROM (
    SELECT item_id, min(event_date) AS first_seen, max(event_date) AS last_seen, count(*) AS num_events,
        arg_max(category, event_ts) AS category, arg_max(brand, event_ts) AS brand, arg_max(price, event_ts) AS price
    FROM events WHERE item_id IS NOT NULL GROUP BY item_id)
"""
HISTORIES = """
COPY (SELECT user_id, list(coalesce(item_idx, 1) ORDER BY place) AS item_idxs,
        list(event_type ORDER BY place) AS event_types, list(epoch_us(event_ts) ORDER BY place) AS event_tss,
        list(events.price::float ORDER BY place) AS prices
    FROM (SELECT * FROM events QUALIFY place > max(place) OVER (PARTITION BY user_id) - 50) AS events
    LEFT JOIN items USING (item_id) GROUP BY user_id)
TO '{out}/histories.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)
"""


def main(raw: str, out: str, threads: int) -> None:
    shutil.rmtree(out, ignore_errors=True)
    Path(out).mkdir(parents=True)
    started = time.monotonic()
    connection = duckdb.connect()
    connection.execute(f"SET threads = {threads}; SET memory_limit = '10GB'; SET preserve_insertion_order = false")
    connection.execute(f"SET temp_directory = '{out}/spill'")
    connection.execute(STANDING.replace("$raw", f"'{raw}/*.parquet'"))
    connection.execute(BOTS)
    connection.execute(EVENTS)
    connection.execute("DROP TABLE standing")
    connection.execute(
        f"COPY (SELECT * EXCLUDE place FROM events) TO '{out}/events'"
        " (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARTITION_BY (event_date))"
    )
    connection.execute(ITEMS)
    connection.execute(f"COPY items TO '{out}/items.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")
    connection.execute(HISTORIES.replace("{out}", out))
    seconds = time.monotonic() - started
    (events, sessions) = connection.execute("SELECT count(*), count(DISTINCT session_id) FROM events").fetchall()[0]
    print(f"duckdb: {events:,} events, {sessions:,} sessions; done in {seconds:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
