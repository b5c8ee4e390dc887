"""More data than fits a hand, on the cluster of the tests: `cargo run --release -p e2e -- up python3 bench/large.py`.

A word count of 2 GB (the text of `run.py`, in parts) and the TPC-H join of `run.py` without broadcast, each with an executor on every
node, and with the leading operator killed once, when a third of the tasks is done. The rows must be those of DuckDB. Prints seconds,
processor seconds of the executors and agents (other work on the machine does not change those much), what each agent took and
gave, and, with `--alone`, the processor seconds of `gleamflow run` for the same. Everything it makes is in target/bench.
`--prepare` makes the inputs and DuckDB's rows only, without a cluster; `--namespace` uses a release and a namespace that are there.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import check  # noqa: E402
import data  # noqa: E402
import run as laptop  # noqa: E402
from cluster import HOME, install, kubectl, run  # noqa: E402

CLAIM = "large"
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 3600


def steps(case, parts):
    if case == "wordcount":
        return [
            {"name": "lines", "read": {"text": {"paths": [f"text-{part}.txt" for part in range(parts)]}}},
            {"name": "words", "flatMap": {"lua": "function(line) return line:gmatch('%w+') end"}},
            {"name": "pairs", "map": {"lua": "function(word) return word, 1 end"}},
            {"name": "counts", "reduceBy": {"key": [1], "lua": "function(x, y) return x + y end"}},
            {"name": "out", "write": {"csv": {"path": f"out-{case}"}}},
        ]
    orders, lines = ["o_orderkey", "o_orderdate", "o_orderpriority"], ["l_orderkey", "l_linenumber", "l_extendedprice"]
    return [
        {"name": "orders", "read": {"csv": {"paths": ["orders.csv"], "header": True, "columns": orders}}},
        {"name": "lineitem", "read": {"csv": {"paths": ["lineitem.csv"], "header": True, "columns": lines}}},
        {"name": "joined", "from": ["orders", "lineitem"], "join": {"key": [1], "broadcast": "never"}},
        {"name": "out", "write": {"csv": {"path": f"out-{case}"}}},
    ]


def flow(case, parts, executors):
    volume = {"persistentVolumeClaim": {"claimName": CLAIM}}
    spec = {"steps": steps(case, parts), "storage": {"volume": volume}}
    spec["executors"] = {"minReplicas": executors, "maxReplicas": executors}
    return {"apiVersion": "gleamflow.io/v1alpha1", "kind": "GleamFlow", "metadata": {"name": case}, "spec": spec}


def share(folder, namespace):
    """A volume of all nodes, as the tests make it: a folder of this machine."""
    access = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    volume = access | {"capacity": {"storage": "1Gi"}, "hostPath": {"path": str(folder), "type": "Directory"}}
    claim = access | {"volumeName": CLAIM, "resources": {"requests": {"storage": "1Gi"}}}
    objects = [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": CLAIM}, "spec": volume},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": CLAIM, "namespace": namespace}, "spec": claim},
    ]
    kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


class Processors(threading.Thread):
    """Processor seconds of all processes of some programs, also of those that have ended since."""

    def __init__(self, programs):
        super().__init__(daemon=True)
        self.programs, self.over, self.spent, self.first = programs, False, {}, None

    def run(self):
        while not self.over:
            self.look()
            time.sleep(0.5)

    def look(self):
        for process in pathlib.Path("/proc").iterdir():
            try:
                program = os.path.basename((process / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace"))
                if process.name.isdigit() and program in self.programs:
                    stat = (process / "stat").read_text().rsplit(")", 1)[1].split()
                    self.spent[process.name, program] = (int(stat[11]) + int(stat[12])) / TICKS
            except OSError:
                continue  # It has ended.

    def of(self, program):
        return sum(seconds for (_, its), seconds in self.spent.items() if its == program)


def traffic():
    """MB that each node's agent has taken and given."""
    found = {}
    for pod in json.loads(kubectl("get", "pods", "-n", HOME, "-l", "gleamflow.io/role=agent", "-o", "json"))["items"]:
        name = pod["metadata"]["name"]
        page = kubectl("get", "--raw", f"/api/v1/namespaces/{HOME}/pods/{name}:8080/proxy/metrics")
        values = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        counted = [float(values[f"gleamflow_agent_{kind}_bytes_total"]) / 1e6 for kind in ("put", "fetch")]
        found[pod["spec"]["nodeName"]] = counted
    return found


def leader():
    return json.loads(kubectl("get", "lease", "gleamflow-operator", "-n", HOME, "-o", "json"))["spec"]["holderIdentity"]


def status(case, namespace):
    return json.loads(kubectl("get", "gleamflow", case, "-n", namespace, "-o", "json")).get("status", {})


def follow(case, namespace, kill):
    """Until it is over; kills the leader in the middle. Its last status, the nodes it was on, seconds."""
    start, killed, nodes = time.monotonic(), None, set()
    while time.monotonic() - start < PATIENCE:
        now = status(case, namespace)
        pods = json.loads(kubectl("get", "pods", "-n", namespace, "-l", f"gleamflow.io/flow={case}", "-o", "json"))["items"]
        nodes |= {pod["spec"].get("nodeName") for pod in pods if pod["status"]["phase"] == "Running"}
        done, known = (int(part) for part in now.get("progress", "0/1").split("/"))
        if kill and not killed and done * 3 >= known > 1 and now.get("phase") == "Running":
            killed = leader()
            kubectl("delete", "pod", killed, "-n", HOME, "--grace-period=0", "--force")
            print(f"{case}: leader {killed} is killed at {done}/{known}, {time.monotonic() - start:.1f} s", flush=True)
        if now.get("phase") in ("Succeeded", "Failed"):
            break
        time.sleep(1)
    seconds = time.monotonic() - start
    if now.get("phase") != "Succeeded" or kill and not killed:
        raise SystemExit(f"{case}: {json.dumps(now, indent=1)}; killed: {killed}")
    if kill and leader() == killed:
        raise SystemExit(f"{killed} still leads")
    if not str(now["currentRun"]["id"]).endswith("-1"):
        raise SystemExit(f"it ran twice: {now['currentRun']}")
    return now, nodes - {None}, seconds


def wanted(case, folder, parts):
    """What DuckDB makes of it."""
    out = laptop.BENCH / "out" / "large" / case
    if not out.exists():
        unfinished = out.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        peer = [laptop.BENCH / "venv" / "bin" / "python", HERE / "peers" / "duckdb_peer.py", case, folder, unfinished, "2"]
        subprocess.run(peer, check=True)
        unfinished.rename(out)
    if case != "wordcount":
        return check.result(out, ordered=False)
    times = out.with_name("wordcount-times")
    times.mkdir(exist_ok=True)
    rows = (line.rsplit(",", 1) for line in (out / "part.csv").read_text().splitlines())
    (times / "part.csv").write_text("".join(f"{word},{int(count) * parts}\n" for word, count in rows))
    return check.result(times, ordered=False)


def alone(case, parts, folder):
    """Processor seconds of `gleamflow run` for the same."""
    shutil.rmtree(folder / f"out-{case}", ignore_errors=True)
    whole = flow(case, parts, 1)
    del whole["spec"]["storage"], whole["spec"]["executors"]
    file = folder / f"{case}.yaml"
    file.write_text(json.dumps(whole))
    before = os.times()
    run("gleamflow", "run", str(file))
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def prepare(options, parts):
    """The inputs, and what is to come out."""
    laptop.set_up(laptop.PACKAGES)
    data.prepare(options.data, options.scale, laptop.BENCH)
    for case in options.only:
        wanted(case, options.data, parts)


def linked(options, parts):
    """The inputs on the shared volume: links, so that nothing is there twice."""
    folder = HERE.parent / "target" / "e2e" / "shared" / "large"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    for part in range(parts):
        os.link(options.data / "text.txt", folder / f"text-{part}.txt")
    for table in ("orders", "lineitem"):
        os.link(options.data / f"{table}.csv", folder / f"{table}.csv")
    return folder


def one(case, options, folder, parts):
    expected = wanted(case, options.data, parts)
    before = traffic()
    processors = Processors(["gleamflow-executor", "gleamflow-agent"])
    processors.look()
    idle = {program: processors.of(program) for program in processors.programs}
    processors.start()
    kubectl("apply", "-n", options.namespace, "-f", "-", text=json.dumps(flow(case, parts, options.executors)))
    now, nodes, seconds = follow(case, options.namespace, not options.spare)
    processors.over = True
    processors.join()
    found = check.result(folder / f"out-{case}", ordered=False)
    if found != expected:
        raise SystemExit(f"{case}: {found}, and DuckDB has {expected}")
    moved = {node: [round(now - then) for now, then in zip(sizes, before[node])] for node, sizes in traffic().items()}
    spent = {program: round(processors.of(program) - idle[program], 1) for program in processors.programs}
    print(f"{case}: {seconds:.1f} s on {len(nodes)} nodes, {found}; shuffled {now.get('bytesShuffled', 0) / 1e6:.0f} MB")
    print(f"  processor seconds {spent}; MB put to and fetched from each node's agent {moved}", flush=True)
    if options.alone:
        print(f"  gleamflow run: {alone(case, parts, folder):.1f} processor seconds", flush=True)
    if len(nodes) < 3 or any(min(sizes) <= 0 for sizes in moved.values()):
        raise SystemExit(f"{case}: not every node took part: {nodes}, {moved}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=["wordcount", "join"], help="run this case only")
    parser.add_argument("--megabytes", type=int, default=2000, help="of text")
    parser.add_argument("--scale", type=int, default=1, help="TPC-H scale factor")
    parser.add_argument("--executors", type=int, default=3)
    parser.add_argument("--spare", action="store_true", help="do not kill the leader")
    parser.add_argument("--alone", action="store_true", help="with `gleamflow run` for comparison")
    parser.add_argument("--prepare", action="store_true", help="make the inputs only")
    parser.add_argument("--namespace", help="run there, with the release that is there (default: install one)")
    options = parser.parse_args()
    options.data = laptop.BENCH / "data" / f"sf{options.scale}"
    options.only = options.only or ["wordcount", "join"]
    parts = max(1, round(options.megabytes * 1e6 / data.TEXT_BYTES))
    prepare(options, parts)
    if options.prepare:
        return
    if not options.namespace:
        install()
        options.namespace = "large"
        kubectl("create", "namespace", options.namespace)
    folder = linked(options, parts)
    share(folder, options.namespace)
    for case in options.only:
        one(case, options, folder, parts)


if __name__ == "__main__":
    main()
