#!/usr/bin/env python3
"""A whole server, measured from outside: size, starts, time to Ready, memory, idle CPU and writes, durable creates."""
import os
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import harness  # noqa: E402
from harness import Cluster, http_get  # noqa: E402,F401

IDLE_SECONDS = int(os.environ.get("IDLE_SECONDS", "60"))
WEB = str(harness.ROOT / "configs" / "examples" / "web.yaml")
TOKEN = "bench-token"


def prepare():
    harness.fetch_kubectl()
    harness.enter_namespace()


def rss_mb(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def written_bytes(pid):
    text = pathlib.Path(f"/proc/{pid}/io").read_text()
    return int(re.search(r"write_bytes: (\d+)", text).group(1))


def ready_after_exec(cluster):
    """Seconds from exec to the first `ok` of /readyz, asked every millisecond."""
    import http.client
    import ssl
    context = ssl._create_unverified_context()
    began = time.monotonic()
    cluster.process = subprocess.Popen([cluster.skiff, "server", "--data-dir", str(cluster.data)] + cluster.flags,
                                       stdout=cluster.log, stderr=cluster.log, start_new_session=True)
    while time.monotonic() - began < 20:
        try:
            connection = http.client.HTTPSConnection("127.0.0.1", 6443, timeout=1, context=context)
            connection.request("GET", "/readyz")
            if connection.getresponse().read() == b"ok":
                return time.monotonic() - began
        except OSError:
            time.sleep(0.001)
    raise SystemExit("not ready within 20 s: " + cluster.tail())


def creates(cluster, connections=64, seconds=10, prefix="b"):
    script = cluster.data / "create.lua"
    script.write_text(
        'local n, id = 0, 0\nlocal threads = 0\n'
        'function setup(thread) threads = threads + 1; thread:set("id", threads) end\n'
        'request = function()\n  n = n + 1\n'
        '  local body = string.format(\'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s-%d-%d"},'
        '"data":{"a":"%s"}}\', "' + prefix + '", id, n, string.rep("x", 380))\n'
        '  return wrk.format("POST", "/api/v1/namespaces/default/configmaps", '
        f'{{["Authorization"]="Bearer {TOKEN}", ["Content-Type"]="application/json"}}, body)\nend\n'
        'response = function(status) if status ~= 201 then wrk.thread:stop() end end\n'
        'done = function(summary, latency) print(string.format("P99 %f", latency:percentile(99) / 1000)) end\n')
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script),
                          "https://127.0.0.1:6443"], capture_output=True, text=True).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
    p99 = float(re.search(r"P99 ([\d.]+)", out).group(1))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return rate, p99, int(bad.group(1)) if bad else 0


def keys(cluster):
    text = cluster.kubectl("get", "--raw=/metrics").stdout
    return int(float(re.search(r"^skiff_store_keys (\S+)", text, re.M).group(1)))


def fsyncs_per_second(directory, seconds=2):
    path = directory / "fsync"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        os.write(fd, b"x" * 4096)
        os.fdatasync(fd)
        count += 1
    os.close(fd)
    path.unlink()
    return count / seconds


def etcd_puts(bench, directory):
    """Puts a second of a lone etcd at 64 connections over plain HTTP, its p99 in ms; None where there is none."""
    out = subprocess.run([bench, str(directory), "1", "etcd"], capture_output=True, text=True).stdout
    found = re.search(r"etcd puts, +64 connections +(\d+) /s.*p99 +([\d.]+) ms", out)
    return (float(found.group(1)), float(found.group(2))) if found else None


def durable_creates(cluster, bench, turns=3):
    """Creates, and etcd's puts and the bare disk beside them in turns, since the machine is not the same all the time."""
    ratios = []
    for turn in range(turns):
        before = keys(cluster)
        rate, p99, bad = creates(cluster, seconds=5, prefix=f"b{turn}")
        made = keys(cluster) - before
        print(f"durable creates, 64 connections {rate:8.0f} /s    (goal 5000), p99 {p99:.1f} ms (goal 50), {bad} refused, {made} new keys")
        fsyncs = fsyncs_per_second(cluster.data)
        print(f"  beside them: one bare fdatasync after another {fsyncs:.0f}/s; ratio {rate / fsyncs:.2f}")
        etcd = etcd_puts(bench, cluster.data) if bench else None
        if etcd:
            print(f"  beside them: etcd {etcd[0]:.0f} puts/s, p99 {etcd[1]:.1f} ms; ratio {rate / etcd[0]:.2f}")
            ratios.append(rate / etcd[0])
    if ratios:
        print(f"creates to etcd's puts, median  {sorted(ratios)[len(ratios) // 2]:8.2f}       (goal 3; {min(ratios):.2f}..{max(ratios):.2f})")


def main():
    cluster = Cluster(flags=["--token", TOKEN])
    try:
        size = os.path.getsize(cluster.skiff) / 1e6
        print(f"binary                          {size:8.1f} MB    (goal 20)")
        print(f"first start to /readyz          {ready_after_exec(cluster) * 1000:8.0f} ms    (goal 300)")
        cluster.stop()
        starts = []
        for _ in range(5):
            starts.append(ready_after_exec(cluster) * 1000)
            cluster.stop()
        print(f"start to /readyz, median of 5   {sorted(starts)[2]:8.0f} ms    (goal 50; {min(starts):.0f}..{max(starts):.0f})")
        cluster.start()
        harness.wait_for("a node", lambda: "Ready" in cluster.kubectl("get", "nodes").stdout)
        began = time.monotonic()
        cluster.kubectl("apply", "-f", WEB)
        harness.wait_for("3 Ready", lambda: cluster.json("get", "deployment", "web")["status"].get("readyReplicas") == 3,
                         30, 0.01)
        print(f"apply of 3 replicas to 3 Ready  {time.monotonic() - began:8.2f} s     (goal 1)")
        time.sleep(5)
        pid = cluster.process.pid
        cpu, io = cpu_seconds(pid), written_bytes(pid)
        time.sleep(IDLE_SECONDS)
        share = (cpu_seconds(pid) - cpu) / IDLE_SECONDS * 100
        per_hour = (written_bytes(pid) - io) / IDLE_SECONDS * 3600 / 1000
        shims = [rss_mb(p) for p in cluster.shims()]
        print(f"server resident                 {rss_mb(pid):8.1f} MB    (goal 25)")
        print(f"a shim resident, largest of {len(shims)}   {max(shims):8.2f} MB    (goal 2)")
        print(f"idle CPU over {IDLE_SECONDS} s             {share:8.2f} %     (goal 0.2)")
        print(f"idle writes                     {per_hour:8.0f} KB/h  (goal 50)")
        durable_creates(cluster, sys.argv[1] if len(sys.argv) > 1 else None)
    finally:
        cluster.remove()


if __name__ == "__main__":
    prepare()
    main()
