#!/usr/bin/env python3
"""Two servers over one etcd as docs/operating/etcd.md says, with a real kubectl and Debian's etcd on loopback: made,
used, and hurt. What was acknowledged must be there afterwards, and watches tell everything once."""
import http.client
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time

import harness
from harness import Cluster, Failure, check, wait_for

if shutil.which("etcd") is None:
    harness.skip("needs etcd (Debian's etcd-server)")
harness.fetch_kubectl()
harness.enter_namespace()

MAPS = "/api/v1/namespaces/default/configmaps"
WEB = str(harness.ROOT / "configs" / "examples" / "web.yaml")
WORK = pathlib.Path(tempfile.mkdtemp(prefix="skiff-etcd-"))
TAKE_OVER = 15.0  # what docs/operating/etcd.md promises: another leads
HANGS = 15.0  # a silent etcd is noticed


class Etcd:
    """Debian's etcd on loopback."""

    def __init__(self, name, port, flags=()):
        self.name, self.flags = name, list(flags)
        self.scheme = "https" if flags else "http"
        self.url = f"{self.scheme}://127.0.0.1:{port}"
        self.peer = f"http://127.0.0.1:{port + 1}"
        self.log = open(WORK / f"{name}.log", "ab")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            ["etcd", "--name", self.name, "--data-dir", str(WORK / self.name), "--listen-client-urls", self.url,
             "--advertise-client-urls", self.url, "--listen-peer-urls", self.peer, "--initial-advertise-peer-urls",
             self.peer, "--initial-cluster", f"{self.name}={self.peer}"] + self.flags,
            stdout=self.log, stderr=self.log, start_new_session=True)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def call(self, path, body):
        """Through the gateway, as etcdctl would."""
        link = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=10)
        try:
            link.request("POST", path, json.dumps(body))
            answer = link.getresponse()
            text = answer.read().decode()
            check(answer.status == 200, f"etcd: {path}: {answer.status} {text}")
            return json.loads(text)
        finally:
            link.close()

    def answers(self):
        try:
            return self.call("/v3/maintenance/status", {})
        except (OSError, http.client.HTTPException, Failure):
            return None


class Server(Cluster):
    """A skiff server over an etcd, at an address of its own."""

    def __init__(self, name, etcd, number, flags=()):
        self.name, self.ip = name, f"10.99.0.{number}"
        subprocess.run(["ip", "addr", "add", self.ip + "/32", "dev", "lo"], check=True)
        super().__init__(flags=["--node-name", name, "--datastore", etcd.url, "--bind-address", self.ip, "--node-ip",
                                self.ip] + list(flags))

    def refused(self, *flags):
        """The one line it ends with."""
        done = subprocess.run([self.skiff, "server", "--data-dir", str(self.data)] + self.flags + list(flags),
                              capture_output=True, text=True, timeout=60)
        lines = [line for line in done.stderr.splitlines() if line.startswith("skiff:")]
        check(done.returncode == 1 and len(lines) == 1, f"{flags}: {done.returncode}: {done.stderr}")
        return lines[0]

    def connect(self, timeout=10.0):
        pki = self.data / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(str(pki / "admin.crt"), str(pki / "admin.key"))
        return http.client.HTTPSConnection(self.ip, 6443, timeout=timeout, context=context)

    def ask(self, method, path, body=None, timeout=10.0, link=None):
        """(status, document, headers); status 0: no answer."""
        own = link is None
        try:
            link = link or self.connect(timeout)
            link.request(method, path, json.dumps(body) if body is not None else None,
                         {"Content-Type": "application/json"})
            answer = link.getresponse()
            text = answer.read().decode(errors="replace")
            return answer.status, json.loads(text) if text.startswith("{") else text, answer.headers
        except (OSError, http.client.HTTPException) as problem:
            return 0, str(problem), {}
        finally:
            if own and link:
                link.close()

    def command(self, *words):
        return self.skiff_command(*words, "--data-dir", str(self.data)).stdout

    def status(self):
        return json.loads(self.command("status", "-o", "json"))

    def metric(self, name):
        for line in self.kubectl("get", "--raw", "/metrics").stdout.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise Failure(f"no metric {name}")

    def write(self, name):
        status, document, _ = self.ask("POST", MAPS, config_map(name))
        check(status == 201, f"write at {self.name}: {status} {document}")
        return int(document["metadata"]["resourceVersion"])


def config_map(name, **annotations):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "annotations": annotations}}


class Watch:
    """Reads a watch of all ConfigMaps on a thread of its own, and goes on after the last seen revision when it breaks."""

    def __init__(self, server, revision):
        self.server, self.revision = server, revision
        self.events, self.errors = [], []
        self.over = False
        self.breaks = 0
        self.link = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over and not self.errors:
            try:
                self.link = self.server.connect(60)
                self.link.request("GET", f"{MAPS}?watch=true&resourceVersion={self.revision}")
                answer = self.link.getresponse()
                if answer.status != 200:
                    self.errors.append(json.loads(answer.read()))
                    return
                while line := answer.readline():
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        self.errors.append(event["object"])
                        return
                    self.revision = int(event["object"]["metadata"]["resourceVersion"])
                    self.events.append((self.revision, event["type"], event["object"]["metadata"]["name"]))
            except (OSError, http.client.HTTPException, ValueError, AttributeError):
                pass
            if not self.over:
                self.breaks += 1
                time.sleep(0.1)

    def stop(self):
        self.over = True
        if self.link and self.link.sock:
            try:
                self.link.sock.shutdown(2)
            except OSError:
                pass
        self.thread.join(5)


class Load:
    """Writers that go on for as long as it takes; what was acknowledged is noted with its revision."""

    def __init__(self, name, servers):
        self.over = False
        self.done, self.refusals = {}, []
        self.threads = [threading.Thread(target=self.write, args=(f"{name}-{i}", s)) for i, s in enumerate(servers * 2)]
        for t in self.threads:
            t.start()

    def write(self, name, server):
        n = 0
        link = server.connect()
        while not self.over:
            n += 1
            status, document, _ = server.ask("POST", MAPS, config_map(f"{name}-{n}"), link=link)
            if status == 201:
                self.done[f"{name}-{n}"] = int(document["metadata"]["resourceVersion"])
            else:
                self.refusals.append((status, document))
                link.close()
                time.sleep(0.05)
        link.close()

    def stop(self):
        self.over = True
        for t in self.threads:
            t.join()


etcd = Etcd("one", 2379)
OTHERS = ["--disable", "kubelet,network,proxy"]
a = Server("a", etcd, 1)
b = Server("b", etcd, 2, OTHERS)
more = []


def listed(server):
    status, document, _ = server.ask("GET", MAPS)
    check(status == 200, f"list at {server.name}: {status} {document}")
    return {o["metadata"]["name"] for o in document["items"]}, int(document["metadata"]["resourceVersion"])


def ready_pods():
    return [p for p in a.json("get", "pods", "-l", "app=web")["items"]
            if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", []))]


def leader():
    for s in a.status()["servers"]:
        if s["role"] == "leader":
            return s["name"]
    return None


def endpoints():
    """Where default/kubernetes leads."""
    slices = a.json("get", "endpointslice", "kubernetes") if a.process.poll() is None else \
        b.json("get", "endpointslice", "kubernetes")
    return sorted(ip for e in slices["endpoints"] for ip in e["addresses"])


def no_etcd_no_start():
    line = a.refused()
    check("cannot connect to 127.0.0.1:2379" in line, line)
    line = a.refused("--datastore", "http://127.0.0.1:2379/v3")
    check("has a path" in line, line)


def one_server_with_pods():
    etcd.start()
    wait_for("etcd", etcd.answers, 20)
    print(f"     first start to /readyz: {a.start():.2f} s")
    a.kubectl("apply", "-f", WEB)
    wait_for("three ready pods", lambda: len(ready_pods()) == 3, 30)
    a.kubectl("create", "secret", "generic", "pass", "--from-literal=word=swordfish")
    dump = etcd.call("/v3/kv/range", {"key": "Lw==", "range_end": "MA=="})
    check("swordfish" not in json.dumps(dump) and "c3dvcmRmaXNo" not in json.dumps(dump), "the Secret lies open in etcd")


def another_joins():
    line = b.refused()
    check("holds a cluster already" in line and "--token" in line, line)
    token = a.command("token", "create").strip()
    join = ["--server", f"https://{a.ip}:6443", "--token"]
    line = b.refused(*join, token, "--node-name", "a")
    check("named a already" in line, line)
    line = b.refused(*join, token, "--datastore-prefix", "/elsewhere")
    check("holds no cluster" in line, line)
    b.flags += join + [token]
    b.start()
    check(b.kubectl("get", "secret", "pass", "-o", "go-template={{.data.word|base64decode}}").stdout == "swordfish",
          "the second server does not read the first one's Secret")
    servers = wait_for("two servers", lambda: len(a.status()["servers"]) == 2 and a.status()["servers"])
    check([(s["name"], s["role"]) for s in servers] == [("a", "leader"), ("b", "follower")], servers)
    wait_for("default/kubernetes leads to both", lambda: endpoints() == [a.ip, b.ip], 10)
    mine = a.json("get", "secret", "pass")["metadata"]["resourceVersion"]
    check(b.json("get", "secret", "pass")["metadata"]["resourceVersion"] == mine, "revisions differ")


def another_cluster_is_kept_out():
    stranger = Server("c", etcd, 3, OTHERS + ["--datastore-prefix", "/other"])
    more.append(stranger)
    stranger.start()
    check(stranger.kubectl("get", "secret", "pass", ok=False).returncode != 0, "clusters mix")
    stranger.stop()
    line = stranger.refused("--datastore-prefix", "/skiff")
    check("is another cluster's" in line, line)
    check(len(ready_pods()) == 3, "pods")


def one_writes_and_the_other_sees():
    watch = subprocess.Popen([str(harness.tools_dir() / "kubectl"), "--kubeconfig", str(b.kubeconfig), "get",
                              "configmaps", "--watch-only", "--no-headers", "--output-watch-events"],
                             stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(1)
        a.kubectl("create", "configmap", "seen", "--from-literal=k=v")
        a.kubectl("annotate", "configmap", "seen", "by=a")
        a.kubectl("delete", "configmap", "seen")
        lines = [watch.stdout.readline().split() for _ in range(3)]
    finally:
        watch.kill()
        watch.wait()
    check([line[0] for line in lines] == ["ADDED", "MODIFIED", "DELETED"], lines)
    for i in range(20):
        revision = (a, b)[i % 2].write(f"read-{i}")
        status, document, _ = (b, a)[i % 2].ask("GET", f"{MAPS}/read-{i}")
        check(status == 200 and int(document["metadata"]["resourceVersion"]) == revision, f"read-{i}: {status}")


def no_increment_is_lost():
    conflicts = []

    def raise_it(server, times):
        link = server.connect()
        while times > 0:
            _, document, _ = server.ask("GET", f"{MAPS}/counter", link=link)
            count = document["metadata"]["annotations"]
            count["n"] = str(int(count["n"]) + 1)
            status, answer, _ = server.ask("PUT", f"{MAPS}/counter", document, link=link)
            if status == 200:
                times -= 1
            elif status == 409:
                conflicts.append(1)
            else:
                raise Failure(f"{status} {answer}")
        link.close()
    a.ask("POST", MAPS, config_map("counter", n="0"))
    threads = [threading.Thread(target=raise_it, args=(s, 50)) for s in (a, b, a, b)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    n = b.json("get", "configmap", "counter")["metadata"]["annotations"]["n"]
    print(f"     200 increments by four clients at two servers, {len(conflicts)} conflicts")
    check(n == "200", f"the counter stands at {n}")


def etcd_is_killed_under_load():
    _, start = listed(a)
    watches = [Watch(a, start), Watch(b, start)]
    load = Load("load", [a, b])
    for _ in range(2):
        time.sleep(1.5)
        etcd.kill()
        wait_for("the refusal", lambda: a.ask("POST", MAPS, config_map("nobody"))[0] == 503, 5)
        status, document, headers = a.ask("GET", f"{MAPS}/counter")
        check(status == 200 and "stale" in headers.get("Warning", ""), f"{status} {document} {headers}")
        check(a.ask("GET", "/readyz")[0] != 200, "/readyz")
        check("NO ETCD" in a.command("status"), "status")
        etcd.start()
        wait_for("writes again", lambda: a.ask("POST", MAPS, config_map(f"again-{time.monotonic()}"))[0] == 201, 20, 0.02)
    time.sleep(1)
    load.stop()
    last = a.write("last")
    for watch in watches:
        wait_for("the last event", lambda w=watch: w.revision >= last or w.errors, 10)
        watch.stop()
    refused = {status for status, _ in load.refusals}
    print(f"     {len(load.done)} writes acknowledged, {len(load.refusals)} refused; watches broke "
          f"{sum(w.breaks for w in watches)} times")
    check(len(load.done) > 100 and refused <= {0, 503}, f"{len(load.done)} writes, refusals {refused}")
    for server, watch in zip((a, b), watches):
        names, _ = listed(server)
        check(set(load.done) <= names, f"{server.name} lost {sorted(set(load.done) - names)[:5]}")
        check(not watch.errors, f"the watch at {server.name}: {watch.errors}")
        revisions = [e[0] for e in watch.events]
        check(revisions == sorted(set(revisions)), f"{server.name} tells revisions twice or out of order")
        told = {e[2]: e[0] for e in watch.events}
        wrong = [n for n, r in load.done.items() if told.get(n) != r]
        check(not wrong, f"the watch at {server.name} lacks {wrong[:5]}")
    check(watches[0].events == watches[1].events, "the servers tell different things")
    check(a.metric("skiff_etcd_rereads_total") == 0, "everything was read anew")


def etcd_hangs():
    etcd.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        wait_for("/readyz fails", lambda: a.ask("GET", "/readyz")[0] != 200, HANGS + 1)
        print(f"     etcd that hangs is noticed after {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        status, document, _ = a.ask("POST", MAPS, config_map("nobody"))
        check(status == 503 and time.monotonic() - began < 2, f"{status} {document}")
        check(a.ask("GET", f"{MAPS}/counter")[0] == 200, "read")
    finally:
        etcd.process.send_signal(signal.SIGCONT)
    wait_for("writes again", lambda: a.ask("POST", MAPS, config_map("woken"))[0] in (201, 409), 20)


def compaction_ends_watches_and_nothing_else():
    _, old = listed(b)
    watch = Watch(b, old)
    wait_for("the watch", lambda: watch.link and watch.link.sock, 5)
    time.sleep(0.3)
    # b is away while etcd forgets: its watch of etcd breaks, and what it missed is gone.
    b.process.send_signal(signal.SIGSTOP)
    try:
        etcd.kill()
        etcd.start()
        wait_for("writes again", lambda: a.ask("POST", MAPS, config_map("missed-0"))[0] == 201, 20, 0.05)
        newest = [a.write(f"missed-{i}") for i in range(1, 20)][-1]
        etcd.call("/v3/kv/compaction", {"revision": str(newest)})
    finally:
        b.process.send_signal(signal.SIGCONT)
    wait_for("410", lambda: watch.errors, 15)
    watch.stop()
    check(watch.errors[0]["code"] == 410 and watch.errors[0]["reason"] in ("Expired", "Gone"), watch.errors)
    check(b.metric("skiff_etcd_rereads_total") == 1, "not read anew")
    names, revision = listed(b)
    check({f"missed-{i}" for i in range(20)} <= names and revision >= newest, "the list after it")
    status, document, _ = a.ask("GET", f"{MAPS}?watch=true&resourceVersion=2", timeout=5)
    told = status if status != 200 else document["object"]["code"]
    check(told == 410, f"a watch from before the compaction: {status} {document}")
    lists = a.kubectl("get", "configmap", "missed-7", "-o", "name").stdout
    check(lists == "configmap/missed-7\n", lists)


def the_leader_dies():
    if wait_for("a leader", leader, 20) != "a":  # the one with the pods is to die
        b.stop()
        wait_for("a leads", lambda: leader() == "a", 20)
        b.start()
    a.kill()
    began = time.monotonic()
    b.kubectl("create", "deployment", "late", "--image=skiff/demo", "--replicas=2")

    def pods():
        return len(b.json("get", "pods", "-l", "app=late")["items"]) == 2
    wait_for("the other server's controllers", pods, TAKE_OVER)
    print(f"     kill -9 of the leader to the pods' objects: {time.monotonic() - began:.1f} s")
    # Its lease in etcd ran out, and so it is gone from the list.
    check([(s["name"], s["role"]) for s in b.status()["servers"]] == [("b", "leader")], b.status())
    wait_for("default/kubernetes leads to the living", lambda: endpoints() == [b.ip], 10)
    a.start()
    wait_for("the pods run", lambda: all(p["status"]["phase"] == "Running" for p in
                                         b.json("get", "pods", "-l", "app=late")["items"]), 20)
    check(len(ready_pods()) == 3, "pods that ran")
    check(leader() == "b", "the leader has changed")


def a_leader_that_stops_hands_over():
    b.stop()
    began = time.monotonic()
    wait_for("a leads", lambda: leader() == "a", 5)
    print(f"     SIGTERM of the leader to the next: {time.monotonic() - began:.2f} s")


def over_tls():
    if shutil.which("openssl") is None:
        print("     SKIP: no openssl to make etcd's certificates with")
        return

    def openssl(*words):
        subprocess.run(["openssl"] + list(words), check=True, capture_output=True, cwd=WORK)
    (WORK / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "ca.key",
            "-out", "ca.crt", "-subj", "/CN=etcd-ca", "-days", "2")
    for name in ("server", "client"):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key",
                "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                f"{name}.crt", "-days", "2", "-extfile", "names")
    tls = Etcd("tls", 2479, ["--cert-file", str(WORK / "server.crt"), "--key-file", str(WORK / "server.key"),
                             "--trusted-ca-file", str(WORK / "ca.crt"), "--client-cert-auth"])
    more.append(tls)
    tls.start()
    d = Server("d", tls, 4, OTHERS)
    more.append(d)
    wait_for("etcd asks for a certificate", lambda: "not trusted" in d.refused(), 10)
    line = d.refused("--datastore-cafile", str(WORK / "ca.crt"))
    check("wants a client certificate" in line, line)
    d.flags += ["--datastore-cafile", str(WORK / "ca.crt"), "--datastore-certfile", str(WORK / "client.crt"),
                "--datastore-keyfile", str(WORK / "client.key")]
    d.start()
    d.write("by-tls")


class Everything:
    """What run_steps shows and removes."""

    def tail(self, lines):
        return "\n".join(f"{s.name}: {s.tail(lines // 2)}" for s in (a, b))

    def remove(self):
        for server in [a, b] + [s for s in more if isinstance(s, Server)]:
            server.remove()
        for one in [etcd] + [e for e in more if isinstance(e, Etcd)]:
            one.kill()
            one.log.close()
        shutil.rmtree(WORK, ignore_errors=True)


STEPS = [no_etcd_no_start, one_server_with_pods, another_joins, another_cluster_is_kept_out,
         one_writes_and_the_other_sees, no_increment_is_lost, etcd_is_killed_under_load, etcd_hangs,
         compaction_ends_watches_and_nothing_else, the_leader_dies, a_leader_that_stops_hands_over, over_tls]
raise SystemExit(harness.run_steps("etcd_datastore", STEPS, Everything()))
