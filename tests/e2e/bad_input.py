#!/usr/bin/env python3
"""What users get wrong: each must be one clear line (or Status) and must cost nothing that was acknowledged."""
import http.client
import json
import os
import ssl
import subprocess
import sys

import harness
from harness import Cluster, check

harness.fetch_kubectl()
harness.enter_namespace()
TOKEN = "test-token"
cluster = Cluster(flags=["--token", TOKEN, "--disable", "kubelet,proxy"])


def refused(*flags, data=None):
    """What `skiff server FLAGS` says on its way out."""
    done = subprocess.run([cluster.skiff, "server", "--data-dir", str(data or cluster.data)] + list(flags),
                          capture_output=True, text=True, timeout=30)
    check(done.returncode == 1, f"{flags}: exit code {done.returncode}")
    lines = [line for line in done.stderr.splitlines() if line.startswith("skiff:")]
    check(len(lines) == 1, f"{flags}: not one line: {done.stderr}")
    return lines[0]


def ask(method, path, body=None, kind="application/json", token=TOKEN, port=6443):
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=ssl._create_unverified_context())
    headers = {"Content-Type": kind}
    if token:
        headers["Authorization"] = "Bearer " + token
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


def start():
    cluster.start()
    cluster.kubectl("create", "configmap", "kept", "--from-literal=a=b")


def wrong_flags():
    check("did you mean --data-dir" in refused("--data-dri", "x"), "misspelt flag")
    check("--https-port" in refused("--https-port", "many"), "not a number")
    check("unknown component" in refused("--disable", "everything"), "component")
    check("no such file" in refused("--config", "/no/such/file"), "config")


def busy_port_and_locked_data():
    other = str(cluster.data) + "-other"
    line = refused("--disable", "kubelet,proxy", data=other)
    check("in use" in line and "--https-port" in line, line)
    subprocess.run(["rm", "-rf", other], check=True)
    line = refused("--https-port", "7443", "--disable", "kubelet,proxy")
    check("another" in line or "in use" in line or "locked" in line, line)


def bad_bodies():
    maps = "/api/v1/namespaces/default/configmaps"
    rows = [
        ("{", 400), ("[" * 200000, 400), ('{"kind":"ConfigMap"', 400), ("null", 400), ('"text"', 400),
        ('{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"}}', 400),
        ('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":7}}', 400),
        ('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"Not A Name"}}', 422),
        ('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kept"}}', 409),
        ('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"' + "x" * (4 << 20) + '"}}', 413),
        ('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"' + "x" * (2 << 20) + '"}}', 422),
    ]
    for body, expected in rows:
        status, text = ask("POST", maps, body)
        check(status == expected and '"kind":"Status"' in text, f"{body[:60]}: {status}, not {expected}: {text[:200]}")
    strict = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"colour":"red"}'
    status, text = ask("POST", maps + "?fieldValidation=Strict", strict)
    check(status == 400 and 'unknown field \\"colour\\"' in text, f"strict: {status} {text}")
    check(ask("POST", maps + "?fieldValidation=Ignore", strict)[0] == 201, "ignore")
    check(ask("POST", maps, "<a/>", "application/xml")[0] == 415, "xml")
    check(ask("GET", maps, token=None)[0] == 401 and ask("GET", maps, token="guess")[0] == 401, "who are you")
    check(ask("GET", "/apis/none/v1/things")[0] == 404, "unknown group")
    stale = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kept","resourceVersion":"1"}}'
    check(ask("PUT", maps + "/kept", stale)[0] == 409, "stale")
    check(ask("GET", "/readyz")[1] == "ok", "the server is still there")


def bad_archives():
    path = cluster.data / "bad.tar"
    path.write_bytes(os.urandom(100000))
    for file in (str(path), "/no/such/file"):
        done = cluster.image("import", file, ok=False)
        check(done.returncode == 1 and done.stderr.startswith("skiff image import:"), done.stderr)


def damaged_database():
    cluster.stop()
    database = cluster.data / "state.db"
    good = database.read_bytes()
    database.write_bytes(os.urandom(4096) + good[4096:])
    line = refused("--disable", "kubelet,proxy")
    check("state.db" in line, line)
    database.write_bytes(good)
    cluster.start()
    check(cluster.json("get", "configmap", "kept")["data"] == {"a": "b"}, "what was acknowledged is there")


def full_disk():
    small = Cluster(flags=["--token", TOKEN, "--disable", "kubelet,proxy", "--https-port", "7443"])
    disk = small.data / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(disk)]).returncode != 0:
        print("SKIP: a small file system cannot be mounted here")
        return
    home, small.data, small.kubeconfig = small.data, disk, disk / "kubeconfig"
    small.tail = lambda: (home / "server.log").read_text(errors="replace")[-2000:]
    maps = "/api/v1/namespaces/default/configmaps"
    kept = []

    def create(name, size=50000):
        body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "x" * size}})
        status, text = ask("POST", maps, body, port=7443)
        if status == 201:
            kept.append(name)
        return status, text

    def all_there():
        names = {item["metadata"]["name"] for item in json.loads(ask("GET", maps, port=7443)[1])["items"]}
        return set(kept) <= names

    try:
        small.start()
        check(create("first")[0] == 201, "room at first")
        free = os.statvfs(disk)
        (disk / "filler").write_bytes(b"x" * (free.f_bavail * free.f_bsize - (1 << 20)))
        for i in range(200):
            status, text = create(f"filling-{i}")
            if status != 201:
                break
        check(status == 503 and "disk is full" in text, f"{status} {text[:300]}")
        check(all_there(), "reads go on, and show all that was acknowledged")
        check("store" in ask("GET", "/readyz?verbose", port=7443)[1], "readiness says so")
        (disk / "filler").unlink()
        harness.wait_for("writing again", lambda: create(f"again-{len(kept)}")[0] == 201, 10)
        check(ask("GET", "/readyz", port=7443)[1] == "ok", "ready again")
        small.kill()
        small.start()
        check(all_there(), "after a kill and a restart too")
    finally:
        small.remove()
        subprocess.run(["rm", "-rf", str(home)], check=True)


sys.exit(harness.run_steps("bad input", [
    start, wrong_flags, busy_port_and_locked_data, bad_bodies, bad_archives, damaged_database, full_disk,
], cluster))
