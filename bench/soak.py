"""Hours of work and kills: `cargo run --release -p e2e -- up python3 bench/soak.py --minutes 60`.

Flows of six kinds arrive all the time, a few at once, each with a result that is computed here as well; every minute a process is
killed (SIGKILL): an executor, one of its slots, an agent, the leading operator, or the one that stands by. Every result must be
exact. Prints what was done and what was killed, and the resident memory of operators and agents over time; ends with 1 if a result
was wrong, a flow failed or hung, or memory has grown by more than a third from the second fifth of the time to the last. Memory and
kills are of processes on this machine: this is for the private cluster of the tests, not for kind.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cluster import HOME, install, kubectl, memory, run  # noqa: E402

WORK = "soak"
LONGEST = 240


def read_range(to):
    return {"name": "numbers", "read": {"range": {"to": to}}}


def show(form):
    return {"name": "show", "write": {"stdout": {"format": form, "preview": False}}}


def words(dice):
    lines = [" ".join(dice.choice("abcdefgh") * dice.randint(1, 3) for _ in range(20)) for _ in range(200)]
    counts = collections.Counter(word for line in lines for word in line.split())
    steps = [
        {"name": "lines", "read": {"inline": {"lines": lines}}},
        {"name": "words", "flatMap": {"lua": "function(line) return line:gmatch('%S+') end"}},
        {"name": "counts", "count": {}},
        show("%s %d"),
    ]
    return steps, [f"{word} {count}" for word, count in counts.items()]


def sums(dice):
    to, keys = dice.randint(200_000, 1_000_000), dice.randint(2, 500)
    expected = [0] * keys
    for number in range(to):
        expected[number % keys] += number
    steps = [
        read_range(to),
        {"name": "dealt", "roundRobin": {}, "partitions": 4},
        {"name": "keyed", "map": {"lua": f"function(n) return n % {keys}, n end"}},
        {"name": "sums", "reduceBy": {"key": [1], "lua": "function(a, b) return a + b end"}},
        show("%d %d"),
    ]
    return steps, [f"{key} {total}" for key, total in enumerate(expected)]


def joined(dice):
    left, keys = dice.randint(20_000, 100_000), dice.randint(10, 900)
    steps = [
        read_range(left),
        {"name": "left", "map": {"lua": f"function(n) return n % {keys}, n end"}},
        {"name": "some", "read": {"range": {"to": keys, "step": 2}}},
        {"name": "right", "map": {"lua": "function(n) return n, -n end"}},
        {"name": "both", "join": {"key": [1]}, "from": ["left", "right"], "partitions": 5},
        {"name": "keys", "map": {"lua": "function(key) return key end"}},
        {"name": "counts", "count": {}},
        show("%d %d"),
    ]
    counts = collections.Counter(number % keys for number in range(left) if number % keys % 2 == 0)
    return steps, [f"{key} {count}" for key, count in counts.items()]


def piped(dice):
    to = dice.randint(5_000, 50_000)
    steps = [
        read_range(to),
        {"name": "dealt", "roundRobin": {}, "partitions": 6},
        {"name": "odd", "pipe": {"command": "sed -n '/[13579]$/p'"}, "deterministic": True},
        {"name": "last", "map": {"lua": "function(text) return text:sub(-1) end"}},
        {"name": "counts", "count": {}},
        show("%s %d"),
    ]
    counts = collections.Counter(str(number)[-1] for number in range(to) if number % 2)
    return steps, [f"{digit} {count}" for digit, count in counts.items()]


def largest(dice):
    to, most = dice.randint(100_000, 500_000), dice.randint(1, 50)
    steps = [
        read_range(to),
        {"name": "mixed", "map": {"lua": "function(n) return (n * 7919) % 1000003 end"}},
        {"name": "best", "top": {"n": most, "by": [{"field": 1, "order": "desc"}]}},
        show("%d"),
    ]
    return steps, [str(value) for value in sorted(((n * 7919) % 1000003 for n in range(to)), reverse=True)[:most]]


def distinct(dice):
    to, different = dice.randint(100_000, 400_000), dice.randint(100, 5_000)
    steps = [
        read_range(to),
        {"name": "folded", "map": {"lua": f"function(n) return 'k' .. n % {different} end"}},
        {"name": "once", "distinct": {}, "partitions": 3},
        show("%s"),
    ]
    return steps, [f"k{number}" for number in range(different)]


KINDS = [words, sums, joined, piped, largest, distinct]


class Soak:
    def __init__(self, options):
        self.dice, self.options = random.Random(options.seed), options
        self.begun, self.number = time.monotonic(), 0
        self.expected, self.since = {}, {}
        self.done, self.killed = collections.Counter(), collections.Counter()
        self.wrong, self.sizes, self.lasted = [], [], []

    def minutes(self):
        return (time.monotonic() - self.begun) / 60

    def arrive(self):
        """Keeps some flows under way."""
        flows = []
        while len(self.expected) < self.options.flows:
            make = self.dice.choice(KINDS)
            steps, rows = make(self.dice)
            name = f"{make.__name__}-{self.number}"
            self.number += 1
            self.expected[name], self.since[name] = sorted(rows), time.monotonic()
            metadata, executors = {"name": name}, {"maxReplicas": 3}
            spec = {"steps": steps, "executors": executors}
            flows.append({"apiVersion": "gleamflow.io/v1alpha1", "kind": "GleamFlow", "metadata": metadata, "spec": spec})
        if flows:
            kubectl("apply", "-n", WORK, "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": flows}))

    def look(self):
        """Checks what is over, and removes it."""
        objects = json.loads(kubectl("get", "gleamflows", "-n", WORK, "-o", "json"))["items"]
        for flow in objects:
            name, status = flow["metadata"]["name"], flow.get("status", {})
            conditions = {one["type"]: one for one in status.get("conditions", []) if one["status"] == "True"}
            waited = time.monotonic() - self.since.get(name, time.monotonic())
            if name not in self.expected:
                continue
            if "Complete" in conditions:
                rows = sorted(run("gleamflow", "output", "-n", WORK, name).splitlines())
                if rows != self.expected[name]:
                    self.wrong.append(f"{name}: {len(rows)} rows for {len(self.expected[name])}, or other ones")
            elif "Failed" in conditions:
                self.wrong.append(f"{name} failed: {conditions['Failed']['message']}")
            elif waited > LONGEST:
                self.wrong.append(f"{name} is not done after {LONGEST} s: {json.dumps(status.get('conditions'))}")
            else:
                continue
            self.lasted.append(waited)
            self.done[name.split("-")[0]] += 1
            del self.expected[name]
            kubectl("delete", "gleamflow", "-n", WORK, name, "--wait=false")

    def kill(self):
        """Ends some process without a word."""
        what = self.dice.choice(["executor", "slot", "agent", "leader", "standby"])
        victim = {"executor": executors, "slot": slots, "agent": agents, "leader": leaders, "standby": standbys}[what]()
        if victim:
            self.killed[what] += 1
            os.kill(self.dice.choice(victim), signal.SIGKILL)

    def measure(self):
        found = memory()
        for program in ("gleamflow-agent", "gleamflow-operator"):
            self.sizes.extend((self.minutes(), program, size, own) for size, own in found[program])

    def tell(self):
        """How far it is."""
        most = {program: max(size for _, of, size, _ in self.sizes if of == program) for program in {one[1] for one in self.sizes}}
        done, killed = sum(self.done.values()), sum(self.killed.values())
        print(f"{self.minutes():.0f} minutes: {done} flows done, {killed} killed, MB resident at most {most}", flush=True)

    def grown(self):
        """Memory in each fifth of the time; whether the last is much above the second, per program."""
        bad = []
        for program in ("gleamflow-agent", "gleamflow-operator"):
            fifths = [[] for _ in range(5)]
            for minute, of, size, _ in self.sizes:
                if of == program:
                    fifths[min(4, int(minute / self.options.minutes * 5))].append(size)
            medians = [statistics.median(fifth) if fifth else float("nan") for fifth in fifths]
            most = max((size for fifth in fifths for size in fifth), default=0)
            print(f"{program}: MB resident, median per fifth {', '.join(f'{m:.1f}' for m in medians)}; at most {most:.1f}")
            if medians[4] > medians[1] * 4 / 3:
                bad.append(f"{program} has grown")
        return bad


def processes(program, *arguments):
    found = []
    for process in pathlib.Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes().split(b"\0") if process.name.isdigit() else []
        except OSError:
            continue
        words = [word.decode(errors="replace") for word in command]
        if words and os.path.basename(words[0]) == program and list(arguments) == words[1:1 + len(arguments)]:
            found.append(int(process.name))
    return found


def executors():
    return processes("gleamflow-executor", "executor")


def slots():
    return processes("gleamflow-executor", "slot")


def agents():
    return processes("gleamflow-agent")


def operators(leading):
    """Operator processes that lead, or do not: told apart by their pods' names."""
    lease = json.loads(kubectl("get", "lease", "gleamflow-operator", "-n", HOME, "-o", "json"))
    leader = lease["spec"].get("holderIdentity", "")
    found = []
    for process in processes("gleamflow-operator"):
        try:
            environment = (pathlib.Path("/proc") / str(process) / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        pod = next((word[9:].decode() for word in environment if word.startswith(b"POD_NAME=")), "")
        if (leader.split("/")[0] == pod) == leading:
            found.append(process)
    return found


def leaders():
    return operators(True)


def standbys():
    return operators(False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--flows", type=int, default=4, help="flows under way at a time")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.minutes} minutes", flush=True)
    install()
    kubectl("create", "namespace", WORK)
    soak = Soak(options)
    next_kill, next_look, next_word = 1.0, 0.0, 5.0
    while soak.minutes() < options.minutes or soak.expected:
        if soak.minutes() < options.minutes:
            soak.arrive()
            if soak.minutes() >= next_kill:
                next_kill += 1.0
                soak.kill()
        if soak.minutes() >= next_look:
            next_look += 0.5
            soak.measure()
        if soak.minutes() >= next_word:
            next_word += 5.0
            soak.tell()
        soak.look()
        if soak.wrong:
            break
        time.sleep(1)
    lasted = sorted(soak.lasted) or [float("nan")]
    print(f"{sum(soak.done.values())} flows, {dict(soak.done)}; killed {dict(soak.killed)}")
    print(f"seconds per flow: median {statistics.median(lasted):.1f}, longest {lasted[-1]:.1f}")
    problems = soak.wrong + (soak.grown() if not soak.wrong else [])
    for problem in problems:
        print(f"WRONG: {problem}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
