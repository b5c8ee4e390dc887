"""The product on the cluster of the tests, as figures: `cargo run --release -p e2e -- up python3 bench/cluster.py`.

Installs the chart, then measures, and prints a table: memory of idle agents and operators, what parts of it are, and at the most
under a burst of small flows; requests to the API server per flow; seconds from apply to Complete, alone and in the burst. Memory is
that of processes on this machine (the private cluster of the tests, not kind). `--hops` adds one edge of a shuffle beside a bare
tonic stream (`cargo run --release -p executor --example hop`).
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
    """Per program a list of processes: resident, and what of that is no file's, in MiB."""
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
        size = {field: int(re.search(rf"{field}:\s*(\d+)", status).group(1)) / 1024 for field in ("VmRSS", "RssAnon")}
        found[program].append((size["VmRSS"], size["RssAnon"]))
    return found


class Peak(threading.Thread):
    """The most that each program held, summed over its processes and of one process."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over, self.one = False, {}

    def run(self):
        while not self.over:
            for program, sizes in memory().items():
                most = max((size for size, _ in sizes), default=0)
                self.one[program] = max(self.one.get(program, 0), most)
            time.sleep(0.25)

    def end(self):
        self.over = True
        self.join()
        return self.one


def requests():
    """Requests of all operators to the API server, watches and events aside."""
    total = {}
    pods = kubectl("get", "pods", "-n", HOME, "-l", "gleamflow.io/role=operator", "-o", "name").split()
    for pod in pods:
        page = kubectl("get", "--raw", f"/api/v1/namespaces/{HOME}/pods/{pod.split('/')[1]}:8080/proxy/metrics")
        for labels, count in re.findall(r"gleamflow_operator_api_requests_total\{(.*?)\} (\d+)", page):
            if "leases" not in labels:
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--flows", type=int, default=60, help="flows in the burst")
    parser.add_argument("--hops", action="store_true", help="with one edge of a shuffle beside a bare stream")
    options = parser.parse_args()
    install()
    time.sleep(5)
    rows, idle = [], memory()
    for program in PROGRAMS[:2]:
        sizes = ", ".join(f"{size:.1f} ({own:.1f})" for size, own in idle[program])
        rows.append((f"{program}, idle: MiB resident (of them its own)", sizes))
    before = requests()
    alone = [complete([flow(f"alone-{number}")]) for number in range(5)]
    rows.append(("a small flow, seconds from apply to Complete", ", ".join(f"{seconds:.2f}" for seconds in sorted(alone))))
    after = requests()
    spent = {labels: count - before.get(labels, 0) for labels, count in after.items()}
    rows.append(("requests to the API server per small flow", f"{sum(spent.values()) / len(alone):.1f}"))
    told = ", ".join(f"{count / len(alone):.1f} {labels}" for labels, count in sorted(spent.items()) if count)
    rows.append(("  which are", told.replace('"', "")))
    peak = Peak()
    peak.start()
    seconds = complete([flow(f"burst-{number}") for number in range(options.flows)])
    most = peak.end()
    rows.append((f"{options.flows} small flows at once, seconds to the last Complete", f"{seconds:.1f}"))
    rows.append(("requests per flow of the burst", f"{(sum(requests().values()) - sum(after.values())) / options.flows:.1f}"))
    for program in PROGRAMS:
        rows.append((f"{program}, the largest in the burst: MiB resident", f"{most[program]:.1f}"))
    if options.hops:
        hops = run("cargo", "run", "--release", "--quiet", "-p", "executor", "--example", "hop")
        rows.extend(("one hop: " + line.split(" wall")[0].strip(), "wall" + line.split(" wall")[1]) for line in hops.splitlines())
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


if __name__ == "__main__":
    main()
