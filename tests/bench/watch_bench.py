#!/usr/bin/env python3
"""Watches over HTTPS, measured from outside: what idle ones cost, and how fast one write reaches a thousand."""
import base64
import http.client
import json
import ssl
import re
import subprocess
import sys
import time

import cluster_bench
from cluster_bench import TOKEN, creates, rss_mb
from harness import Cluster, check, wait_for

WATCH = "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=3600"


def certificate(cluster):
    """The administrator's certificate and key out of the kubeconfig, in one file."""
    text = cluster.kubeconfig.read_text()
    pem = [base64.b64decode(re.search(name + r": (\S+)", text).group(1))
           for name in ("client-certificate-data", "client-key-data")]
    path = cluster.data / "admin.pem"
    path.write_bytes(b"".join(pem))
    return str(path)


class Watchers:
    def __init__(self, count, path=WATCH, credential=TOKEN):
        self.process = subprocess.Popen([sys.argv[1], "6443", credential, path, str(count)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        check(line == f"open {count}\n", f"watches opened: {line}")

    def figures(self):
        """Seconds from the first event to the last, events, watches that ended."""
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        seconds, events, ended = self.process.stdout.readline().split()
        return float(seconds), int(events), int(ended)

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def config_maps(cluster):
    """How many there are, and the revision at which they were counted."""
    path = "/api/v1/namespaces/default/configmaps?limit=1"
    meta = json.loads(cluster.kubectl("get", f"--raw={path}").stdout)
    return len(meta["items"]) + meta["metadata"].get("remainingItemCount", 0), meta["metadata"]["resourceVersion"]


def fan_out(cluster, watchers, seconds):
    """Creates as fast as 64 connections can while `watchers` look on."""
    before, revision = config_maps(cluster)
    load = Watchers(watchers, f"{WATCH}&resourceVersion={revision}")
    rate, p99, bad = creates(cluster, seconds=seconds, prefix=f"w{watchers}")
    made = config_maps(cluster)[0] - before
    wait_for("the last event", lambda: load.figures()[1] >= made * (watchers - load.figures()[2]), 60, 0.5)
    elapsed, events, ended = load.figures()
    load.stop()
    print(f"{watchers} watches: {events / elapsed:10.0f} events/s   (goal 200000), {ended} dropped, "
          f"{made} creates at {rate:.0f}/s, p99 {p99:.1f} ms, {bad} refused")


def paced_creates(cluster, prefix, rate=200, seconds=5):
    """Milliseconds, median and p99, of creates that come at their own pace over one connection."""
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", 6443, context=context)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    began, times = time.monotonic(), []
    for n in range(rate * seconds):
        time.sleep(max(0.0, began + n / rate - time.monotonic()))
        body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{prefix}-{n}"},
                           "data": {"a": "x" * 380}})
        start = time.monotonic()
        connection.request("POST", "/api/v1/namespaces/default/configmaps", body, headers)
        answer = connection.getresponse()
        answer.read()
        check(answer.status == 201, f"create: {answer.status}")
        times.append((time.monotonic() - start) * 1000)
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def unharmed(cluster, watchers):
    """200 creates a second, which `watchers` make 200,000 events a second, beside the same with nobody watching."""
    alone = paced_creates(cluster, "alone")
    _, revision = config_maps(cluster)
    load = Watchers(watchers, f"{WATCH}&resourceVersion={revision}")
    watched = paced_creates(cluster, "watched")
    ended = load.figures()[2]
    load.stop()
    print(f"200 creates/s: p50 {alone[0]:.1f} ms, p99 {alone[1]:.1f} ms; before {watchers} watches: "
          f"p50 {watched[0]:.1f} ms, p99 {watched[1]:.1f} ms, {ended} dropped")


def idle_watchers(cluster, count, what, credential):
    """Each on a TLS connection of its own. What the first crowd leaves would make the second look cheap."""
    before = rss_mb(cluster.process.pid)
    load = Watchers(count, WATCH.replace("configmaps", "secrets"), credential)
    time.sleep(5)
    each = (rss_mb(cluster.process.pid) - before) * 1024 * 1024 / count
    load.stop()
    time.sleep(5)
    left = rss_mb(cluster.process.pid) - before
    print(f"an idle watch, {what:20} {each:8.0f} bytes (goal 20480); {left:.1f} MB stay when {count} have left")


def main():
    cluster = Cluster(flags=["--token", TOKEN, "--disable", "kubelet,network,proxy"])
    try:
        cluster.start()
        time.sleep(6)
        for what, credential in (("a client certificate", certificate(cluster)), ("a token", TOKEN)):
            idle_watchers(cluster, 10000, what, credential)
        rate, p99, _ = creates(cluster, seconds=5)
        print(f"no watches: creates at {rate:.0f}/s, p99 {p99:.1f} ms")
        unharmed(cluster, 1000)
        fan_out(cluster, 10, 5)
        fan_out(cluster, 1000, 10)
    finally:
        cluster.remove()


cluster_bench.prepare()
main()
