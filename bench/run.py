#!/usr/bin/env python3
"""Gleamflow beside DuckDB, Polars, hand-written LuaJIT and, where asked for, Spark: whole processes, same cores, same inputs, warm cache.

    cargo build --release && python3 bench/run.py [--only CASE] [--runs N] [--cores N] [--spark]

Prints a Markdown table of medians, ratios and peak memory. Every competitor's result is compared with the others'
before anything is timed. Needs Python 3 with venv, and `luajit` on the PATH (Debian: `apt-get install luajit`);
for Spark, Java 17 and half a gigabyte of PyPI.
Everything it makes is in target/bench.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import check
import data

HERE = Path(__file__).resolve().parent
BENCH = HERE.parent / "target" / "bench"
PACKAGES = ["duckdb==2.0.0", "polars==2.1.0", "tpchgen-cli==4.0.0"]
SPARK = "pyspark==4.3.0"
SPARK_CASES = ["wordcount", "join", "group", "group-strings", "group-two", "distinct", "sort"]
CASES = ["wordcount", "wordcount-renamed", "join", "group", "group-strings", "group-two", "distinct", "sort"]
CASES += ["median", "top-per-group", "pairs"]
# The renamed word count is the same work for everyone but us.
WORK = {"wordcount-renamed": "wordcount"}
COMPETITORS = ["gleamflow", "duckdb", "polars", "luajit", "spark"]


@dataclass
class Measured:
    """What one competitor took for one case."""

    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def main() -> None:
    options = arguments()
    set_up(PACKAGES + [SPARK] * options.spark)
    data.prepare(options.data, options.scale, BENCH)
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: options.cores]))
    table = {case: compare(case, options) for case in options.only or CASES}
    print_table(table, options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=CASES, help="run this case only (may be repeated)")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each competitor, interleaved (default 5)")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="cores for everyone (default: all)")
    parser.add_argument("--scale", type=int, default=1, help="TPC-H scale factor (default 1)")
    parser.add_argument("--memory", default=None, help="gleamflow's --memory (default: its own)")
    parser.add_argument("--without", action="append", default=[], choices=COMPETITORS, help="leave this competitor out")
    parser.add_argument("--spark", action="store_true", help="beside Spark too (needs Java 17)")
    options = parser.parse_args()
    if not options.spark:
        options.without.append("spark")
    if options.runs < 1 or options.cores < 1:
        parser.error("--runs and --cores must be at least 1")
    options.data = BENCH / "data" / f"sf{options.scale}"
    return options


def set_up(packages: list[str]) -> None:
    """A virtual environment with the competitors, once."""
    BENCH.mkdir(parents=True, exist_ok=True)
    listed = BENCH / "installed.txt"
    installed = listed.read_text().split("\n") if listed.exists() else []
    if not set(packages) <= set(installed):
        subprocess.run([sys.executable, "-m", "venv", BENCH / "venv"], check=True)
        subprocess.run([BENCH / "venv" / "bin" / "pip", "install", "--quiet", *packages], check=True)
        listed.write_text("\n".join(packages))


def compare(case: str, options: argparse.Namespace) -> dict[str, Measured]:
    """One round to warm the cache and check the results, then the timed rounds, competitors in turn."""
    rivals = [name for name in COMPETITORS if name not in options.without and command(name, case, options)]
    agree(case, rivals, options)
    measured = {name: Measured() for name in rivals}
    for turn in range(options.runs):
        for name in rivals:
            seconds, peak = run(name, case, options)
            print(f"{case} {turn + 1}/{options.runs} {name}: {seconds:.2f} s, {peak / 2**20:.0f} MiB", flush=True)
            measured[name].seconds.append(seconds)
            measured[name].peak_bytes = max(measured[name].peak_bytes, peak)
    return measured


def agree(case: str, rivals: list[str], options: argparse.Namespace) -> None:
    """Stops the benchmark where two competitors did not compute the same."""
    found = {}
    for name in rivals:
        run(name, case, options)
        found[name] = canonical(case, output(name, case))
        print(f"{case} {name}: {found[name]}", flush=True)
    if len(set(found.values())) != 1:
        sys.exit(f"{case}: the results differ: " + "; ".join(f"{name}: {result}" for name, result in found.items()))


def canonical(case: str, path: Path) -> check.Result:
    return check.result(path, ordered=case == "sort")


def run(name: str, case: str, options: argparse.Namespace) -> tuple[float, int]:
    """Runs one competitor in a fresh output directory; gives wall seconds and peak resident bytes of the process."""
    shutil.rmtree(output(name, case), ignore_errors=True)
    output(name, case).mkdir(parents=True)
    errors = BENCH / "out" / f"{case}-{name}.stderr"
    with open(errors, "wb") as stderr:
        start = time.perf_counter()
        child = subprocess.Popen(command(name, case, options), stdout=subprocess.DEVNULL, stderr=stderr)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{name} failed on {case} (exit {child.returncode}):\n{errors.read_text(errors='replace')}")
    # Spark's memory is that of a process of its own, which is not waited for.
    return seconds, 0 if name == "spark" else usage.ru_maxrss * 1024


def output(name: str, case: str) -> Path:
    return BENCH / "out" / case / name


def command(name: str, case: str, options: argparse.Namespace) -> list | None:
    """The competitor's command line; none where it does not take part."""
    work, out = WORK.get(case, case), output(name, case)
    if name == "gleamflow":
        program = HERE.parent / "target" / "release" / "gleamflow"
        limits = ["--threads", str(options.cores)] + (["--memory", options.memory] if options.memory else [])
        params = ["--param", f"data={options.data}", "--param", f"out={out}"]
        return [program, "run", HERE / "flows" / f"{case}.yaml", *params, *limits]
    if name == "luajit":
        script = HERE / "peers" / f"{work}.lua"
        return ["luajit", script, options.data, out] if script.exists() else None
    if name == "spark" and work not in SPARK_CASES:
        return None
    python = BENCH / "venv" / "bin" / "python"
    return [python, HERE / "peers" / f"{name}_peer.py", work, options.data, out, str(options.cores)]


def print_table(table: dict[str, dict[str, Measured]], options: argparse.Namespace) -> None:
    """Seconds and peak memory of each, and how many times our time each took (above 1: we are faster)."""
    print(f"\nMedian of {options.runs}, {options.cores} cores, {', '.join(PACKAGES[:2])}; in brackets: time over gleamflow's.\n")
    print("| case | " + " | ".join(COMPETITORS) + " |")
    print("|---|" + "---|" * len(COMPETITORS))
    for case, measured in table.items():
        ours = measured.get("gleamflow")
        print(f"| {case} | " + " | ".join(cell(measured.get(name), ours) for name in COMPETITORS) + " |")


def cell(one: Measured | None, ours: Measured | None) -> str:
    if one is None:
        return "–"
    ratio = f" ({one.median / ours.median:.2f}×)" if ours is not None and one is not ours else ""
    memory = f", {one.peak_bytes / 2**20:.0f} MiB" if one.peak_bytes else ""
    return f"{one.median:.2f} s{ratio}{memory}"


if __name__ == "__main__":
    main()
