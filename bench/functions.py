#!/usr/bin/env python3
"""Functions that people write, each in a flow and in a plain LuaJIT script that reads the same lines and writes the same rows.

    cargo build --release && python3 bench/functions.py [--only SHAPE] [--runs N] [--rows N] [--program PATH]

Whole processes in turn, user time (all threads), the least of each; a ratio above 1 says that the flow needs less than the script.
Both must write the same rows. Needs Python 3 and `luajit` on the PATH; everything it makes is in target/bench.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

from functions_shapes import SHAPES, Shape

HERE = Path(__file__).resolve().parent
BENCH = HERE.parent / "target" / "bench" / "functions"
FIELDS = 8

# What every script begins with: rows out, as a flow's tsv has them.
SCRIPT = r"""
local out = assert(io.open(arg[2], "w"))
local function row(...)
  local width = select("#", ...)
  if width == 1 then
    out:write((...), "\n")
  elseif width == 2 then
    local a, b = ...
    out:write(a, "\t", b, "\n")
  elseif width == 3 then
    local a, b, c = ...
    out:write(a, "\t", b, "\t", c, "\n")
  elseif width > 0 then
    out:write(table.concat({ ... }, "\t"), "\n")
  end
end
PRELUDE
local step = FUNCTION
for line in io.lines(arg[1]) do
  BODY
end
END
out:close()
"""

BODIES = {
    "map": "row(step(line:match(PATTERN)))",
    "filter": 'if step(line:match(PATTERN)) then out:write(line, "\\n") end',
    "forEach": "step(line:match(PATTERN))",
    "parallelDo": "step(line:match(PATTERN))",
    "flatMap": """
  local iterator, state, control = step(line:match(PATTERN))
  if type(iterator) == "table" then
    for i = 1, #iterator do
      row(iterator[i])
    end
  else
    for a, b, c in iterator, state, control do
      if b == nil then row(a) elseif c == nil then row(a, b) else row(a, b, c) end
    end
  end""",
}

REDUCE = """
  local key, values = reduce_by(line:match(PATTERN))
  local before = groups[key]
  groups[key] = before and merge(before, values) or values"""


def main() -> None:
    options = arguments()
    BENCH.mkdir(parents=True, exist_ok=True)
    data = BENCH / f"rows-{options.rows}.tsv"
    if not data.exists():
        write_rows(data, options.rows)
    shapes = [shape for shape in SHAPES if not options.only or shape.name in options.only]
    results = [(shape, *measure(shape, data, options)) for shape in shapes]
    print(f"\nUser seconds for {options.rows:,} rows, the least of {options.runs}; above 1: less than the script.\n")
    print("| function | flow | LuaJIT script | script : flow |\n|---|---|---|---|")
    for shape, ours, theirs in results:
        print(f"| {shape.title} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f} |")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=[shape.name for shape in SHAPES], help="this shape only (may be repeated)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, in turn (default 3)")
    parser.add_argument("--rows", type=int, default=400_000, help="rows of the input (default 400,000)")
    parser.add_argument("--program", type=Path, default=HERE.parent / "target" / "release" / "gleamflow", help="the gleamflow to run")
    options = parser.parse_args()
    if options.runs < 1 or options.rows < 1:
        parser.error("--runs and --rows must be at least 1")
    return options


def write_rows(path: Path, rows: int) -> None:
    """Rows of eight fields: key, number, time, address, path, words, pairs, amount in cents. Always the same ones."""
    draw = random.Random(7)
    words = [f"{a}{b}" for a in ("al", "be", "co", "du", "ev", "fo", "gi") for b in ("ra", "mo", "sk", "tin", "ver")]
    with open(path, "w", encoding="ascii") as file:
        for i in range(rows):
            time = f"2024-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}T{draw.randint(0, 23):02}:{i % 60:02}:07"
            pairs = ";".join(f"{word}={draw.randint(0, 99)}" for word in draw.sample(words, 3))
            fields = [f"k{draw.randint(1, 1000)}", i % 9973, time, f"10.{i % 250}.{i % 13}.{i % 7}"]
            fields += [f"/shop/{draw.choice(words)}/{i % 97}?id={i}", " ".join(draw.choices(words, k=5)), pairs, draw.randint(1, 99_999)]
            file.write("\t".join(map(str, fields)) + "\n")


def measure(shape: Shape, data: Path, options: argparse.Namespace) -> tuple[float, float]:
    """The least user seconds of the flow and of the script."""
    folder = BENCH / shape.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "flow.yaml").write_text(flow(shape, data, folder))
    (folder / "script.lua").write_text(script(shape))
    commands = [
        [options.program, "run", folder / "flow.yaml"],
        ["luajit", folder / "script.lua", data, folder / "script.tsv"],
    ]
    best = [float("inf"), float("inf")]
    for _ in range(options.runs):
        for at, command in enumerate(commands):
            for before in folder.glob("out*"):
                shutil.rmtree(before)
            best[at] = min(best[at], run(command))
            if at == 0:
                ours = sorted(b"".join(part.read_bytes() for part in folder.glob("out*/**/part-*")).splitlines())
    if shape.same and ours != sorted((folder / "script.tsv").read_bytes().splitlines()):
        sys.exit(f"{shape.name}: the flow and the script wrote different rows (see {folder})")
    print(f"{shape.name}: {best[0]:.2f} s, script {best[1]:.2f} s", flush=True)
    return best[0], best[1]


def run(command: list) -> float:
    """Runs a program to its end; its user seconds."""
    errors = BENCH / "stderr"
    with open(errors, "wb") as stderr:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed (exit {child.returncode}):\n{errors.read_text(errors='replace')}")
    return usage.ru_utime


def flow(shape: Shape, data: Path, folder: Path) -> str:
    """The flow of a shape: its own steps between reading and writing."""
    spec = "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: functions}\nspec:\n"
    if shape.prelude:
        spec += "  lua: |\n" + indent(shape.prelude, 4)
    spec += f"  steps:\n    - name: rows\n      read: {{tsv: {{paths: [{data}]}}}}\n"
    if shape.side:
        spec += f"    - name: prices\n      read: {{range: {{from: 0, to: 1000}}}}\n    - name: priced\n      map:\n        lua: |\n{indent(shape.side, 10)}"
    if shape.before:
        spec += f"    - name: before\n      from: [rows]\n      map:\n        lua: |\n{indent(shape.before, 10)}"
    spec += f"    - name: step\n      from: [{'before' if shape.before else 'rows'}]\n"
    if shape.side:
        spec += "      sideInputs: [{name: side, from: priced, as: map}]\n"
    spec += f"      {shape.kind}:\n"
    if shape.kind == "parallelDo":
        spec += "        outputs: [a, b, c]\n"
    if shape.kind == "reduceBy":
        spec += "        key: [1]\n"
    spec += f"        lua: |\n{indent(shape.function, 10)}"
    outputs = ["step.a", "step.b", "step.c"] if shape.kind == "parallelDo" else ["step"]
    for at, output in enumerate(outputs):
        spec += f"    - name: out{at}\n      from: [{output}]\n      write: {{tsv: {{path: {folder}/out{at}}}}}\n"
    return spec


def indent(text: str, by: int) -> str:
    return "".join(" " * by + line + "\n" for line in text.strip().splitlines())


def script(shape: Shape) -> str:
    """The same by hand."""
    prelude, end = shape.prelude, ""
    pattern = "'^" + "\\t".join(["([^\\t]*)"] * FIELDS) + "'"
    if shape.kind == "reduceBy":
        count = shape.values
        names = ", ".join(f"v{i}" for i in range(1, count + 1))
        both = ", ".join([f"a[{i}]" for i in range(1, count + 1)] + [f"b[{i}]" for i in range(1, count + 1)])
        prelude += f"\nlocal groups, before = {{}}, {shape.before}\nlocal step\n"
        prelude += f"local function pack(k, {names}) return k, {{{names}}} end\nlocal function reduce_by(...) return pack(before(...)) end\n"
        targets = ", ".join(f"a[{i}]" for i in range(1, count + 1))
        prelude += f"local function merge(a, b) {targets} = step({both}) return a end\n"
        end = "for key, values in pairs(groups) do row(key, unpack(values)) end"
        text = SCRIPT.replace("local step = FUNCTION", "step = FUNCTION").replace("BODY", REDUCE)
    else:
        text = SCRIPT.replace("BODY", BODIES[shape.kind])
        if shape.kind == "forEach":
            prelude = "local emit = row\n" + prelude
        elif shape.kind == "parallelDo":
            prelude = "local emit = {a = row, b = row, c = row}\n" + prelude
        if shape.side:
            prelude += f"\nlocal side = {{}}\nlocal priced = {shape.side}\nfor i = 0, 999 do local k, v = priced(i) side[k] = v end\n"
        if shape.before:
            prelude += f"\nlocal before = {shape.before}\n"
            text = text.replace("line:match(PATTERN)", "before(line:match(PATTERN))")
    return text.replace("PATTERN", pattern).replace("PRELUDE", prelude).replace("FUNCTION", shape.function).replace("END", end)


if __name__ == "__main__":
    main()
