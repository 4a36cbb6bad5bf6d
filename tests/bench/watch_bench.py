#!/usr/bin/env python3
"""Watches over HTTPS, measured from outside: what idle ones cost, and how fast one write reaches a thousand."""
import base64
import json
import re
import subprocess
import sys
import time

import cluster_bench
from cluster_bench import TOKEN, creates, keys, rss_mb
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


def fan_out(cluster, watchers, seconds):
    """Creates as fast as 64 connections can while `watchers` look on."""
    revision = json.loads(cluster.kubectl("get", "--raw=/api/v1/configmaps?limit=1").stdout)["metadata"]["resourceVersion"]
    load = Watchers(watchers, f"{WATCH}&resourceVersion={revision}")
    before = keys(cluster)
    rate, p99, bad = creates(cluster, seconds=seconds, prefix=f"w{watchers}")
    made = keys(cluster) - before
    wait_for("the last event", lambda: load.figures()[1] >= made * (watchers - load.figures()[2]), 60, 0.5)
    elapsed, events, ended = load.figures()
    load.stop()
    print(f"{watchers} watches: {events / elapsed:10.0f} events/s   (goal 200000), {ended} dropped, "
          f"{made} creates at {rate:.0f}/s, p99 {p99:.1f} ms, {bad} refused")


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
        fan_out(cluster, 10, 5)
        fan_out(cluster, 1000, 10)
    finally:
        cluster.remove()


cluster_bench.prepare()
main()
