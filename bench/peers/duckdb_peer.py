"""The benchmark's work in DuckDB: `duckdb_peer.py CASE DATA OUT THREADS` writes OUT/part.csv."""

import sys

import duckdb

QUERIES = {
    "wordcount": """
        SELECT word, count(*) FROM (
            SELECT unnest(regexp_extract_all(line, '[A-Za-z0-9]+')) AS word
            FROM read_csv('{data}/text.txt', columns = {{'line': 'VARCHAR'}}, header = false, delim = '\x01', quote = '',
                          escape = '', auto_detect = false))
        GROUP BY word""",
    "join": """
        SELECT o_orderkey, o_orderdate, o_orderpriority, l_linenumber, l_extendedprice
        FROM read_csv('{data}/orders.csv', types = {{'o_orderdate': 'VARCHAR'}})
        JOIN read_csv('{data}/lineitem.csv', types = {{'l_extendedprice': 'VARCHAR'}}) ON o_orderkey = l_orderkey""",
    "group": """
        SELECT l_partkey, sum(l_quantity)::BIGINT, count(*) FROM read_csv('{data}/lineitem.csv') GROUP BY l_partkey""",
    "group-strings": """
        SELECT l_comment, count(*) FROM read_csv('{data}/lineitem.csv') GROUP BY l_comment""",
    "group-two": """
        SELECT l_suppkey, l_shipmode, sum(l_quantity)::BIGINT, min(l_quantity), max(l_quantity), count(*)
        FROM read_csv('{data}/lineitem.csv') GROUP BY l_suppkey, l_shipmode""",
    "distinct": """
        SELECT DISTINCT l_partkey, l_suppkey FROM read_csv('{data}/lineitem.csv')""",
    "sort": """
        SELECT l_shipdate, l_orderkey, l_linenumber, l_extendedprice, l_shipmode
        FROM read_csv('{data}/lineitem.csv', types = {{'l_extendedprice': 'VARCHAR'}})
        ORDER BY l_shipdate, l_orderkey, l_linenumber""",
    "median": """
        SELECT l_suppkey, quantile_disc(l_quantity, 0.5) FROM read_csv('{data}/lineitem.csv') GROUP BY l_suppkey""",
    "top-per-group": """
        SELECT l_suppkey, l_orderkey FROM (
            SELECT l_suppkey, l_orderkey,
                   row_number() OVER (PARTITION BY l_suppkey ORDER BY l_extendedprice DESC, l_orderkey) AS place
            FROM read_csv('{data}/lineitem.csv'))
        WHERE place <= 3""",
    "pairs": """
        WITH orders AS MATERIALIZED (SELECT o_custkey, o_orderkey FROM read_csv('{data}/orders.csv'))
        SELECT a.o_custkey % 100, count(*) FROM orders a
        JOIN orders b ON a.o_custkey = b.o_custkey AND a.o_orderkey < b.o_orderkey
        GROUP BY 1""",
}


def main(case: str, data: str, out: str, threads: str) -> None:
    connection = duckdb.connect()
    connection.execute(f"SET threads = {int(threads)}")
    # A group or a join has no order to keep; a sort keeps its own.
    connection.execute("SET preserve_insertion_order = false")
    query = QUERIES[case].format(data=data)
    connection.execute(f"COPY ({query}) TO '{out}/part.csv' (FORMAT csv, HEADER false)")


main(*sys.argv[1:])
