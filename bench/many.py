"""Memory of operators with many flows: `cargo run --release -p e2e -- up python3 bench/many.py --finished 10000 --waiting 1000`.

Makes one flow run, copies it (with its status: finished), and makes others that wait (suspended), while no operator runs; then starts
two operators, and measures: the most that one holds while it takes them all in, what it holds after, seconds until a new small flow is
complete, and requests to the API server per copy. With `--check` it fails where that is beyond what is promised.
"""

import argparse
import http.client
import json
import re
import subprocess
import sys
import threading
import time

from cluster import HOME, WORK, Peak, complete, flow, install, kubectl, memory, requests

PROMISED_MB = 64
THREADS = 4


def call(connection, method, path, body):
    connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{method} {path}: {answer.status} {text.decode(errors='replace')[:500]}")
    return json.loads(text)


def make(port, bodies, first):
    """Objects, each with the status of a first one of its kind, if there is one: a run of its own, that is over."""
    path = f"/apis/gleamflow.io/v1alpha1/namespaces/{WORK}/gleamflows"

    def some(part):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for body in part:
            made = call(connection, "POST", path, body)
            if first is not None:
                text = json.dumps(first["status"]).replace(first["metadata"]["uid"], made["metadata"]["uid"])
                call(connection, "PUT", f"{path}/{made['metadata']['name']}/status", {**made, "status": json.loads(text)})

    threads = [threading.Thread(target=some, args=(bodies[n::THREADS],)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def proxy():
    process = subprocess.Popen(["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, text=True)
    return process, int(re.search(r":(\d+)", process.stdout.readline()).group(1))


def operators(count):
    kubectl("scale", "deployment", "gleamflow-operator", "-n", HOME, f"--replicas={count}")
    while len(memory()["gleamflow-operator"]) != count:
        time.sleep(0.2)
    kubectl("rollout", "status", "deployment", "gleamflow-operator", "-n", HOME, "--timeout=120s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--finished", type=int, default=10_000)
    parser.add_argument("--waiting", type=int, default=1_000)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    install()
    complete([flow("first")])
    first = json.loads(kubectl("get", "gleamflow", "first", "-n", WORK, "-o", "json"))
    operators(0)
    process, port = proxy()
    begun = time.monotonic()
    make(port, [flow(f"done-{n}") for n in range(options.finished)], first)
    waiting = [flow(f"waits-{n}") for n in range(options.waiting)]
    for one in waiting:
        one["spec"]["suspend"] = True
    make(port, waiting, None)
    process.terminate()
    print(f"{options.finished} finished and {options.waiting} waiting flows made in {time.monotonic() - begun:.0f} s", flush=True)
    peak = Peak()
    peak.start()
    operators(2)
    seconds = complete([flow("last")])
    suspended = [f"gleamflow/waits-{n}" for n in range(options.waiting)]
    kubectl("wait", "-n", WORK, "--for=condition=Suspended", "--timeout=300s", *suspended[-1:])
    time.sleep(30)
    most, _ = peak.end()
    asked = sum(requests().values())
    now = sorted((size for size, _ in memory()["gleamflow-operator"]), reverse=True)
    print(f"operator: {most['gleamflow-operator']:.1f} MB at most, then {', '.join(f'{size:.1f}' for size in now)}")
    print(f"a new flow is complete after {seconds:.1f} s; {asked} requests, {asked / max(1, options.finished + options.waiting):.2f} per flow")
    if options.check and most["gleamflow-operator"] > PROMISED_MB:
        sys.exit(f"an operator held more than {PROMISED_MB} MB")


if __name__ == "__main__":
    main()
