"""The product on the cluster of the tests, as figures: `cargo run --release -p e2e -- up python3 bench/cluster.py`.

Installs the chart, then measures, and prints a table: memory of idle agents and operators, what parts of it are, and at the most
under a burst of small flows; requests to the API server per flow; seconds from apply to Complete, alone and in the burst. Memory is
that of processes on this machine (the private cluster of the tests, not kind). `--hops` adds one edge of a shuffle beside a bare
tonic stream (`cargo run --release -p executor --example hop`). With `--check` it fails where a figure is beyond what is promised.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOME, WORK = "gleamflow", "bench"
PROGRAMS = ["gleamflow-agent", "gleamflow-operator", "gleamflow-executor"]
# What is promised: MB of an idle process, seconds and requests of a small flow, the least part of a bare stream's rate.
IDLE_MB = {"gleamflow-agent": 10, "gleamflow-operator": 16}
SMALL_FLOW_SECONDS, SMALL_FLOW_REQUESTS, HOP_RATIO = 5, 10, 0.5
IDLE_SECONDS = 30


def run(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}{done.stdout}")
    return done.stdout


def kubectl(*arguments, text=None):
    return run("kubectl", *arguments, text=text)


def install():
    tag = re.search(r'IMAGE_TAG: &str = "(.*?)"', (ROOT / "e2e/src/prepare.rs").read_text()).group(1)
    settings = [f"image.tag={tag}", f"executorImage.tag={tag}", "replicas=2"]
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    chart = str(ROOT / "charts/gleamflow")
    run("helm", "install", "gleamflow", chart, "-n", HOME, "--create-namespace", "--wait", "--timeout", "90s", *arguments)
    nodes = len(json.loads(kubectl("get", "nodes", "-o", "json"))["items"])
    while len(memory()["gleamflow-agent"]) < nodes:
        time.sleep(0.2)
    kubectl("create", "namespace", WORK)


def memory():
    """Per program a list of processes: resident, and what of that is no file's, in MB."""
    found = {program: [] for program in PROGRAMS}
    for process in pathlib.Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            program = os.path.basename(command[0].decode(errors="replace"))
            if program not in found:
                continue
            status = (process / "status").read_text()
        except OSError:
            continue  # It has ended.
        size = {field: int(kib) * 1024 / 1e6 for field, kib in re.findall(r"(VmRSS|RssAnon):\s*(\d+)", status)}
        if len(size) < 2:
            continue  # It is ending: it has no memory any more.
        found[program].append((size["VmRSS"], size["RssAnon"]))
    return found


class Peak(threading.Thread):
    """The most that one process of each program held, and all processes of each program at a time."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over, self.one, self.all = False, {}, {}

    def run(self):
        while not self.over:
            for program, sizes in memory().items():
                most = max((size for size, _ in sizes), default=0)
                self.one[program] = max(self.one.get(program, 0), most)
                self.all[program] = max(self.all.get(program, 0), sum(size for size, _ in sizes))
            time.sleep(0.25)

    def end(self):
        self.over = True
        self.join()
        return self.one, self.all


def requests():
    """Requests of all operators to the API server, watches and events aside."""
    total = {}
    pods = kubectl("get", "pods", "-n", HOME, "-l", "gleamflow.io/role=operator", "-o", "name").split()
    for pod in pods:
        page = kubectl("get", "--raw", f"/api/v1/namespaces/{HOME}/pods/{pod.split('/')[1]}:8080/proxy/metrics")
        for labels, count in re.findall(r"gleamflow_operator_api_requests_total\{(.*?)\} (\d+)", page):
            if "leases" not in labels and "events" not in labels:
                total[labels] = total.get(labels, 0) + int(count)
    return total


def flow(name):
    steps = [
        {"name": "lines", "read": {"inline": {"lines": ["a b a", "b c a"]}}},
        {"name": "words", "flatMap": {"lua": "function(line) return line:gmatch('%w+') end"}},
        {"name": "counts", "count": {}},
        {"name": "show", "write": {"stdout": {"format": "%s %d"}}},
    ]
    return {"apiVersion": "gleamflow.io/v1alpha1", "kind": "GleamFlow", "metadata": {"name": name}, "spec": {"steps": steps}}


def complete(flows):
    """Applies flows and waits for all of them; seconds."""
    names = [flow["metadata"]["name"] for flow in flows]
    start = time.monotonic()
    kubectl("apply", "-n", WORK, "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": flows}))
    places = [f"gleamflow/{name}" for name in names]
    kubectl("wait", "-n", WORK, "--for=condition=Complete", "--timeout=300s", *places)
    return time.monotonic() - start


def idle():
    """Memory of agents and operators that have nothing to do: the most in a while, a while after they began."""
    time.sleep(IDLE_SECONDS)
    most = {}
    for _ in range(IDLE_SECONDS):
        for program in IDLE_MB:
            sizes = sorted(memory()[program], reverse=True)
            most[program] = max(most.get(program, sizes), sizes)
        time.sleep(1)
    return most


def hops():
    """Lines of the bench of one hop: what it is, and its rates; the ratios of wall time."""
    text = run("cargo", "run", "--release", "--quiet", "-p", "executor", "--example", "hop")
    rows, ratios = [], []
    for line in text.splitlines():
        name, rates = line.split(" wall")
        rows.append((f"one hop: {name.strip()}", f"wall{rates}"))
        ratios.append(float(re.match(r".*?: ([\d.]+)", rates).group(1)))
    return rows, ratios


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--flows", type=int, default=60, help="flows in the burst")
    parser.add_argument("--hops", action="store_true", help="with one edge of a shuffle beside a bare stream")
    parser.add_argument("--check", action="store_true", help="fail where a figure is beyond what is promised")
    options = parser.parse_args()
    install()
    rows, beyond = [], []

    def add(name, value, holds=True):
        rows.append((name, value))
        if not holds:
            beyond.append(name)

    for program, sizes in idle().items():
        told = ", ".join(f"{size:.1f} ({own:.1f})" for size, own in sizes)
        add(f"{program}, idle: MB resident at most in {IDLE_SECONDS} s (of them its own)", told, sizes[0][0] < IDLE_MB[program])
    before = requests()
    alone = sorted(complete([flow(f"alone-{number}")]) for number in range(5))
    told = ", ".join(f"{seconds:.2f}" for seconds in alone)
    add("a small flow, seconds from apply to Complete", told, alone[len(alone) // 2] < SMALL_FLOW_SECONDS)
    after = requests()
    spent = {labels: count - before.get(labels, 0) for labels, count in after.items()}
    each = sum(spent.values()) / len(alone)
    add("requests to the API server per small flow", f"{each:.1f}", each <= SMALL_FLOW_REQUESTS)
    told = ", ".join(f"{count / len(alone):.1f} {labels}" for labels, count in sorted(spent.items()) if count)
    add("  which are", told.replace('"', ""))
    peak = Peak()
    peak.start()
    seconds = complete([flow(f"burst-{number}") for number in range(options.flows)])
    one, every = peak.end()
    add(f"{options.flows} small flows at once, seconds to the last Complete", f"{seconds:.1f}")
    each = (sum(requests().values()) - sum(after.values())) / options.flows
    add("requests per flow of the burst", f"{each:.1f}", each <= SMALL_FLOW_REQUESTS)
    for program in PROGRAMS:
        add(f"{program} in the burst, at most: MB resident, one (all)", f"{one[program]:.1f} ({every[program]:.1f})")
    for program, sizes in idle().items():
        told = ", ".join(f"{size:.1f} ({own:.1f})" for size, own in sizes)
        add(f"{program}, idle again: MB resident (of them its own)", told)
    if options.hops:
        lines, ratios = hops()
        for (name, value), ratio in zip(lines, ratios):
            add(name, value, ratio >= HOP_RATIO)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
    if options.check and beyond:
        raise SystemExit("beyond what is promised: " + "; ".join(beyond))


if __name__ == "__main__":
    main()
