#!/usr/bin/env python3
"""What the planner's passes buy: five flows with and without them: stages, bytes shuffled, time.

    cargo build --release && python3 bench/passes.py [--only CASE] [--runs N] [--each] [--rows N]

Stages and bytes are the run's own report, the same in every run. Times are of whole processes, runs with and without the
passes in turn, medians; they are given as a ratio. Both must write the same rows. `--each` switches the passes off one by
one. Needs nothing but Python 3; everything it makes is in target/bench.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import check
import shop

HERE = Path(__file__).resolve().parent
BENCH = HERE.parent / "target" / "bench"
PROGRAM = HERE.parent / "target" / "release" / "gleamflow"
CASES = ["words", "site", "visits", "star", "days", "wide"]
# Every pass, in their order (`gleamflow plan --without-pass ?` names them).
PASSES = """merge-flattens dead-code common-subexpressions filter-pushdown column-pushdown broadcast-join redundant-groups
joined-groups sink-flattens lift-combine pack-combines fusion-blocks producer-consumer-fusion sibling-fusion mscr-fusion
map-only-merging local-choice switch-joins""".split()


@dataclass
class Measured:
    """What one way of planning took for one case."""

    stages: int = 0
    shuffled: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def main() -> None:
    options = arguments()
    shop.prepare(options.data, options.rows)
    (BENCH / "flows").mkdir(parents=True, exist_ok=True)
    shop.whole(BENCH / "flows" / "wide.yaml", write_wide)
    cases = options.only or CASES
    print_table({case: compare(case, options) for case in cases}, options)
    if options.each:
        print_each({case: one_by_one(case, options) for case in cases})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=CASES, help="run this case only (may be repeated)")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each, interleaved (default 5)")
    parser.add_argument("--rows", type=int, default=400_000, help="orders in the input (default 400000)")
    parser.add_argument("--each", action="store_true", help="also without each pass alone")
    options = parser.parse_args()
    if options.runs < 1 or options.rows < 1:
        parser.error("--runs and --rows must be at least 1")
    options.data = BENCH / "data" / f"shop-{options.rows}"
    return options


def compare(case: str, options: argparse.Namespace) -> dict[str, Measured]:
    """One round to warm the cache and compare the results, then the timed rounds in turn."""
    ways = {"with": [], "without": PASSES}
    results = {way: run(case, way, off, options, Measured()) for way, off in ways.items()}
    if results["with"] != results["without"]:
        sys.exit(f"{case}: the passes change the result: {results}")
    measured = {way: Measured() for way in ways}
    for turn in range(options.runs):
        for way, off in ways.items():
            run(case, way, off, options, measured[way])
            print(f"{case} {turn + 1}/{options.runs} {way}: {measured[way].seconds[-1]:.2f} s", flush=True)
    return measured


def one_by_one(case: str, options: argparse.Namespace) -> dict[str, Measured]:
    """Each pass alone switched off, once: stages and bytes do not change from run to run."""
    found = {"": Measured()} | {name: Measured() for name in PASSES}
    results = {name: run(case, "each", [name] if name else [], options, found[name]) for name in found}
    if len({str(result) for result in results.values()}) != 1:
        sys.exit(f"{case}: a pass changes the result: {results}")
    return found


def run(case: str, way: str, off: list[str], options: argparse.Namespace, measured: Measured) -> dict[str, check.Result]:
    """Runs a flow in a fresh output directory; notes what it took and gives what it wrote."""
    out = BENCH / "out" / f"passes-{case}" / way
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    flow = BENCH / "flows" / "wide.yaml" if case == "wide" else HERE / "flows" / "passes" / f"{case}.yaml"
    params = ["--param", f"data={options.data}", "--param", f"out={out}", "--report", "json"]
    switches = [word for name in off for word in ("--without-pass", name)]
    start = time.perf_counter()
    done = subprocess.run([PROGRAM, "run", flow, *params, *switches], capture_output=True, text=True)
    measured.seconds.append(time.perf_counter() - start)
    if done.returncode != 0:
        sys.exit(f"{case} failed (exit {done.returncode}):\n{done.stderr}")
    report = json.loads(done.stderr.splitlines()[-1])
    measured.stages = len(report["stages"])
    measured.shuffled = sum(stage["shuffledBytes"] for stage in report["stages"])
    return {sink.name: check.result(sink, ordered=False) for sink in sorted(out.iterdir())}


def write_wide(file) -> None:
    """207 operations over one source that are one stage: 41 chains of map, groupBy, combine, map, write, and a map and a write."""
    file.write("apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: passes-wide}\nspec:\n  params:\n")
    file.write("    - {name: data, value: data}\n    - {name: out, value: out}\n  steps:\n")
    step = lambda text: file.write(f"    - {{{text}}}\n")
    step('name: visits, read: {tsv: {paths: ["$(params.data)/few.tsv"]}}')
    for n in range(41):
        step(f"name: m{n}, from: [visits], map: {{lua: 'function(person, page) return page:sub(1, {n % 7 + 1}), #person + {n} end'}}")
        step(f"name: g{n}, groupBy: {{key: [1]}}")
        step(f"name: c{n}, combine: {{lua: 'function(x, y) return x + y end'}}")
        step(f"name: f{n}, map: {{lua: 'function(page, total) return page, total + {n} end'}}")
        step(f'name: w{n}, write: {{tsv: {{path: "$(params.out)/w{n}"}}}}')
    step("name: x, from: [visits], map: {lua: 'function(person) return person end'}")
    step('name: w, write: {tsv: {path: "$(params.out)/w"}}')


def print_table(table: dict[str, dict[str, Measured]], options: argparse.Namespace) -> None:
    print(f"\nMedian of {options.runs}, with and without the passes in turn.\n")
    print("| flow | stages with (without) | shuffled with (without) | time without : with |")
    print("|---|---|---|---|")
    for case, measured in table.items():
        ours, plain = measured["with"], measured["without"]
        print(
            f"| {case} | {ours.stages} ({plain.stages}) | {size(ours.shuffled)} ({size(plain.shuffled)}) "
            f"| {plain.median / ours.median:.2f}× |"
        )


def print_each(table: dict[str, dict[str, Measured]]) -> None:
    print("\nStages and bytes shuffled without one pass, where they differ.\n")
    print("| without | " + " | ".join(table) + " |")
    print("|---|" + "---|" * len(table))
    for name in PASSES:
        cells = [cell(found[name], found[""]) for found in table.values()]
        if any(cells):
            print(f"| {name} | " + " | ".join(cells) + " |")


def cell(one: Measured, all_passes: Measured) -> str:
    if (one.stages, one.shuffled) == (all_passes.stages, all_passes.shuffled):
        return ""
    return f"{one.stages}, {size(one.shuffled)}"


def size(count: int) -> str:
    return f"{count / 1e6:.2f} MB"


if __name__ == "__main__":
    main()
