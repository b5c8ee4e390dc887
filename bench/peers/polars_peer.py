"""The benchmark's work in Polars, lazily and streaming: `polars_peer.py CASE DATA OUT THREADS` writes OUT/part.csv."""

import os
import sys

os.environ["POLARS_MAX_THREADS"] = sys.argv[4]

import polars as pl  # noqa: E402  (reads the variable when it is imported)


def wordcount(data: str) -> pl.LazyFrame:
    lines = pl.scan_csv(f"{data}/text.txt", has_header=False, separator="\x01", quote_char=None, schema={"line": pl.String})
    words = lines.select(pl.col("line").str.extract_all("[A-Za-z0-9]+").explode().alias("word")).drop_nulls()
    return words.group_by("word").agg(pl.len())


def join(data: str) -> pl.LazyFrame:
    orders = pl.scan_csv(f"{data}/orders.csv", schema_overrides={"o_orderdate": pl.String})
    items = pl.scan_csv(f"{data}/lineitem.csv", schema_overrides={"l_extendedprice": pl.String})
    joined = orders.join(items, left_on="o_orderkey", right_on="l_orderkey")
    return joined.select("o_orderkey", "o_orderdate", "o_orderpriority", "l_linenumber", "l_extendedprice")


def group(data: str) -> pl.LazyFrame:
    items = pl.scan_csv(f"{data}/lineitem.csv")
    return items.group_by("l_partkey").agg(pl.col("l_quantity").sum(), pl.len())


def group_strings(data: str) -> pl.LazyFrame:
    return pl.scan_csv(f"{data}/lineitem.csv").group_by("l_comment").agg(pl.len())


def group_two(data: str) -> pl.LazyFrame:
    quantity = pl.col("l_quantity")
    aggregates = [quantity.sum().alias("sum"), quantity.min().alias("min"), quantity.max().alias("max"), pl.len()]
    return pl.scan_csv(f"{data}/lineitem.csv").group_by("l_suppkey", "l_shipmode").agg(aggregates)


def distinct(data: str) -> pl.LazyFrame:
    return pl.scan_csv(f"{data}/lineitem.csv").select("l_partkey", "l_suppkey").unique()


def sort(data: str) -> pl.LazyFrame:
    items = pl.scan_csv(f"{data}/lineitem.csv", schema_overrides={"l_extendedprice": pl.String, "l_shipdate": pl.String})
    columns = ["l_shipdate", "l_orderkey", "l_linenumber", "l_extendedprice", "l_shipmode"]
    return items.select(columns).sort("l_shipdate", "l_orderkey", "l_linenumber")


def median(data: str) -> pl.LazyFrame:
    items = pl.scan_csv(f"{data}/lineitem.csv")
    return items.group_by("l_suppkey").agg(pl.col("l_quantity").sort().get((pl.len() + 1) // 2 - 1))


def top_per_group(data: str) -> pl.LazyFrame:
    items = pl.scan_csv(f"{data}/lineitem.csv").select("l_suppkey", "l_extendedprice", "l_orderkey")
    items = items.sort(["l_extendedprice", "l_orderkey"], descending=[True, False])
    return items.group_by("l_suppkey").agg(pl.col("l_orderkey").head(3)).explode("l_orderkey")


def pairs(data: str) -> pl.LazyFrame:
    orders = pl.scan_csv(f"{data}/orders.csv").select("o_custkey", "o_orderkey")
    joined = orders.join(orders, on="o_custkey").filter(pl.col("o_orderkey") < pl.col("o_orderkey_right"))
    return joined.group_by(pl.col("o_custkey") % 100).agg(pl.len())


CASES = {
    "wordcount": wordcount,
    "join": join,
    "group": group,
    "group-strings": group_strings,
    "group-two": group_two,
    "distinct": distinct,
    "sort": sort,
    "median": median,
    "top-per-group": top_per_group,
    "pairs": pairs,
}


def main(case: str, data: str, out: str) -> None:
    CASES[case](data).sink_csv(f"{out}/part.csv", include_header=False, engine="streaming")


main(*sys.argv[1:4])
