"""The benchmark's work in Spark, on this machine alone: `spark_peer.py CASE DATA OUT THREADS` writes OUT/part-*.csv."""

import sys

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f


def table(spark: SparkSession, data: str, name: str) -> DataFrame:
    """All columns as text: what needs a number says so, and nothing is read twice to find out."""
    return spark.read.csv(f"{data}/{name}.csv", header=True, escape='"')


def wordcount(spark: SparkSession, data: str) -> DataFrame:
    words = spark.read.text(f"{data}/text.txt").select(f.explode(f.expr("regexp_extract_all(value, '[A-Za-z0-9]+', 0)")).alias("word"))
    return words.groupBy("word").count()


def join(spark: SparkSession, data: str) -> DataFrame:
    orders = table(spark, data, "orders").withColumn("key", f.col("o_orderkey").cast("long"))
    items = table(spark, data, "lineitem").withColumn("key", f.col("l_orderkey").cast("long"))
    return orders.join(items, "key").select("key", "o_orderdate", "o_orderpriority", "l_linenumber", "l_extendedprice")


def group(spark: SparkSession, data: str) -> DataFrame:
    items = table(spark, data, "lineitem")
    return items.groupBy(f.col("l_partkey").cast("long")).agg(f.sum(f.col("l_quantity").cast("long")), f.count("*"))


def group_strings(spark: SparkSession, data: str) -> DataFrame:
    return table(spark, data, "lineitem").groupBy("l_comment").count()


def group_two(spark: SparkSession, data: str) -> DataFrame:
    quantity = f.col("l_quantity").cast("long")
    aggregates = [f.sum(quantity), f.min(quantity), f.max(quantity), f.count("*")]
    return table(spark, data, "lineitem").groupBy(f.col("l_suppkey").cast("long"), "l_shipmode").agg(*aggregates)


def distinct(spark: SparkSession, data: str) -> DataFrame:
    return table(spark, data, "lineitem").select(f.col("l_partkey").cast("long"), f.col("l_suppkey").cast("long")).distinct()


def sort(spark: SparkSession, data: str) -> DataFrame:
    order, line = (f.col(name).cast("long").alias(name) for name in ("l_orderkey", "l_linenumber"))
    items = table(spark, data, "lineitem").select("l_shipdate", order, line, "l_extendedprice", "l_shipmode")
    return items.sort("l_shipdate", "l_orderkey", "l_linenumber")


CASES = {
    "wordcount": wordcount,
    "join": join,
    "group": group,
    "group-strings": group_strings,
    "group-two": group_two,
    "distinct": distinct,
    "sort": sort,
}


def main(case: str, data: str, out: str, threads: str) -> None:
    settings = {
        "spark.driver.memory": "8g",
        "spark.ui.enabled": "false",
        # One process of few cores gains nothing from the 200 pieces that are the default.
        "spark.sql.shuffle.partitions": str(4 * int(threads)),
    }
    builder = SparkSession.builder.master(f"local[{threads}]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    CASES[case](spark, data).write.csv(out, mode="overwrite", escape='"')
    spark.stop()


main(*sys.argv[1:])
