#!/usr/bin/env python3
"""Three servers as docs/operating/ha.md says, each in a network namespace of its own behind a bridge, with a real
kubectl: made, used, and hurt. What was acknowledged must be there afterwards."""
import http.client
import json
import shutil
import ssl
import subprocess
import threading
import time

import harness
from harness import check, wait_for
from lab import Lab, Server, run

harness.fetch_kubectl()
harness.enter_namespace()

PARTS = ["--disable", "kubelet,network,proxy", "--service-node-port-range", "30000-30199"]
MAPS = "/api/v1/namespaces/default/configmaps"

lab = Lab(PARTS)
a, b, c = (lab.servers[n] for n in "abc")
acknowledged = set()


def config_map(name):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": name}}


def write(server, name, timeout=10.0):
    status, _, body = server.ask("POST", MAPS, config_map(name), timeout)
    check(status == 201, f"write at {server.name}: {status} {body}")
    acknowledged.add(name)


def nothing_lost():
    for server in lab.servers.values():
        if server.process is None or server.process.poll() is not None:
            continue
        status, body, _ = server.get(MAPS, timeout=30)
        check(status == 200, f"list at {server.name}: {status}")
        there = {o["metadata"]["name"] for o in json.loads(body)["items"]}
        check(acknowledged <= there, f"{server.name} lost {sorted(acknowledged - there)[:5]}")


class Load:
    """Writers that go on for as long as it takes, each at whichever of its servers answers."""

    def __init__(self, name, servers, writers=4):
        self.over = False
        self.times = []
        self.failures = 0
        self.threads = [threading.Thread(target=self.write, args=(f"{name}-{i}", servers)) for i in range(writers)]
        for t in self.threads:
            t.start()

    def write(self, name, servers):
        n, turn, link = 0, 0, None
        while not self.over:
            server = servers[turn % len(servers)]
            link = link or server.connect(1.0)
            status, _, _ = server.ask("POST", MAPS, config_map(f"{name}-{n}"), connection=link)
            if status == 201:
                self.times.append(time.monotonic())
                acknowledged.add(f"{name}-{n}")
            else:
                # It may have happened or not: the name is not used again.
                self.failures += 1
                turn += 1
                link.close()
                link = None
                time.sleep(0.02)
            n += 1

    def stop(self):
        self.over = True
        for t in self.threads:
            t.join()
        times = sorted(self.times)
        check(len(times) > 10, "the writers wrote nothing")
        return max(y - x for x, y in zip(times, times[1:])), len(times)


def one_server_becomes_the_first_of_several():
    a.start()
    a.kubectl("create", "secret", "generic", "before", "--from-literal=password=swordfish")
    write(a, "before")
    line = b.refused("--server", f"https://{a.ip}:6443", "--token", lab.command("token", "create").stdout.strip())
    check("--cluster-init" in line, line)
    b.wipe()
    a.stop()
    a.start("--cluster-init")
    check(a.kubectl("get", "secret", "before", "-o", "name").stdout == "secret/before\n", "the data are gone")
    nothing_lost()


def others_join():
    token = lab.command("token", "create").stdout.strip()
    for server in (b, c):
        server.start("--server", f"https://{a.ip}:6443", "--token", token)
    lab.whole()
    table = lab.command("status").stdout
    check(table.count("voter") == 2 and "leader" in table, table)
    b.stop()
    b.start()  # knows who it is
    b.stop()
    b.start("--server", f"https://{a.ip}:6443", "--token", token)  # a unit file says so for ever
    lab.whole()


def wrong_joins():
    spare = Server(lab, "d", 4)
    try:
        refuse_joins_of(spare)
    finally:
        spare.remove()
    check(len(lab.status()["servers"]) == 3, "somebody came in")


def refuse_joins_of(spare):
    token = lab.command("token", "create").stdout.strip()
    at = f"https://{a.ip}:6443"
    prefix, cluster, secret = token.split("::")
    rows = [
        ([], "--token"), (["--token", "hello"], "no join token"),
        (["--token", f"{prefix}::{'0' * 64}::{secret}"], "not of the cluster"),
        (["--token", f"{prefix}::{cluster}::aaaaaa.bbbbbbbbbbbbbbbb"], "not known here"),
        (["--token", token, "--service-cidr", "10.96.0.0/16"], "--service-cidr"),
        (["--token", token, "--node-name", "b"], "named b already"),
    ]
    for flags, wanted in rows:
        line = spare.refused("--server", at, *flags)
        check(wanted in line, f"{flags}: {line}")
        check(secret.split(".")[1] not in line, "the token is shown")
        spare.wipe()
    line = spare.refused("--server", "https://10.77.0.99:6443", "--token", token)
    check("cannot join at https://10.77.0.99:6443" in line, line)
    spare.wipe()
    spare.begin()  # a cluster of its own
    wait_for("another cluster", (spare.data / "kubeconfig").exists)
    spare.stop()
    line = spare.refused("--server", at, "--token", token)
    check("holds a cluster already" in line, line)
    spare.wipe()
    body = {"token": secret, "name": "d", "id": "7", "address": "https://10.77.0.4:6443",
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600)), "settings": {}}
    status, _, text = a.ask("POST", "/skiff/v1/join", body)
    check(status == 409 and "clock is 1 h 0 min ahead" in text, text)
    for path in ("/skiff/v1/status", "/skiff/v1/encryption"):
        bare = http.client.HTTPSConnection(a.ip, 6443, timeout=5, context=ssl._create_unverified_context())
        bare.request("GET", path)
        check(bare.getresponse().status == 403, f"{path} without a certificate")


def every_server_serves():
    for server in (a, b, c):
        write(server, f"by-{server.name}")
        for reader in (a, b, c):
            status, _, _ = reader.get(f"{MAPS}/by-{server.name}")
            check(status == 200, f"written at {server.name}, not seen at {reader.name}")
    check(c.kubectl("get", "configmaps", "-o", "name").stdout.count("by-") == 3, "kubectl at c")
    ips = json.loads(b.kubectl("get", "endpoints", "kubernetes", "-o", "json").stdout)
    wait_for("all endpoints", lambda: len(json.loads(
        b.kubectl("get", "endpoints", "kubernetes", "-o", "json").stdout)["subsets"][0]["addresses"]) == 3, 30, 1)
    check(ips["subsets"], "endpoints")


def addresses_are_given_once():
    """All three servers hand out service addresses and node ports of a small range at once."""
    def make(server, number):
        for i in range(15):
            body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"svc-{number}-{i}"},
                    "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
            status, _, text = server.ask("POST", "/api/v1/namespaces/default/services", body)
            if status != 201:
                problems.append(f"{server.name}: {status} {text}")
    problems = []
    threads = [threading.Thread(target=make, args=(s, n)) for n, s in enumerate((a, b, c, a, b, c))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(not problems, str(problems[:3]))
    items = json.loads(a.get("/api/v1/namespaces/default/services")[1])["items"]
    check(len(items) == 91, f"{len(items)} services")
    ips = [o["spec"]["clusterIP"] for o in items]
    ports = [o["spec"]["ports"][0]["nodePort"] for o in items if o["spec"]["type"] == "NodePort"]
    check(len(set(ips)) == len(ips), "an address was given twice")
    check(len(set(ports)) == len(ports), "a node port was given twice")


def the_leader_is_killed_under_load():
    leader = lab.leader()
    load = Load("kill", lab.others(leader))
    time.sleep(2)
    leader.kill()
    time.sleep(5)
    pause, count = load.stop()
    print(f"     kill -9 of the leader under load: pause {pause:.2f} s, {count} writes, {load.failures} failed")
    check(pause < 2, f"pause of {pause:.2f} s")
    nothing_lost()
    leader.start()
    lab.whole()
    nothing_lost()


def the_leader_is_cut_off():
    leader = lab.leader()
    rest = lab.others(leader)
    load = Load("cut", rest)
    time.sleep(1)
    leader.cut(True)
    time.sleep(4)
    inside = subprocess.run(["ip", "netns", "exec", leader.space, str(harness.tools_dir() / "kubectl"), "--kubeconfig",
                             str(leader.data / "kubeconfig"), "create", "configmap", "lonely"],
                            capture_output=True, text=True, timeout=60)
    pause, count = load.stop()
    # kubectl asks again for some seconds, as it does of every server that says Retry-After.
    check(inside.returncode != 0 and "nothing was written" in inside.stderr, inside.stderr)
    print(f"     leader cut off: pause {pause:.2f} s, {count} writes")
    check(pause < 3, f"pause of {pause:.2f} s")
    leader.cut(False)
    lab.whole()
    nothing_lost()
    check(a.get(f"{MAPS}/lonely")[0] == 404, "a refused write happened")


def lose_packets(server, on):
    """One in ten, by netem, or by nftables where the kernel has no netem."""
    netem = subprocess.run(["tc", "-n", server.space, "qdisc", "add" if on else "del", "dev", "eth0", "root", "netem"] +
                           (["loss", "10%", "delay", "5ms"] if on else []), capture_output=True, text=True)
    if netem.returncode == 0:
        return True
    rules = ("table ip loss {\n chain in {\n  type filter hook input priority 0;\n  numgen random mod 10 0 drop\n }\n}\n"
             if on else "delete table ip loss\n")
    done = subprocess.run(["ip", "netns", "exec", server.space, "nft", "-f", "-"], input=rules, capture_output=True,
                          text=True)
    return done.returncode == 0


def packets_are_lost():
    if not all([lose_packets(s, True) for s in (a, b, c)]):
        print("     SKIP: neither netem nor nftables here")
        return
    load = Load("loss", [a, b, c])
    time.sleep(8)
    pause, count = load.stop()
    print(f"     one packet in ten lost: longest pause {pause:.2f} s, {count} writes, {load.failures} failed")
    for s in (a, b, c):
        lose_packets(s, False)
    lab.whole()
    nothing_lost()


def the_leader_is_stopped_and_goes_on():
    leader = lab.leader()
    load = Load("stop", lab.others(leader))
    time.sleep(1)
    leader.pause(True)
    time.sleep(4)
    pause, count = load.stop()
    print(f"     SIGSTOP of the leader: pause {pause:.2f} s, {count} writes")
    check(pause < 3, f"pause of {pause:.2f} s")
    leader.pause(False)
    lab.whole()
    nothing_lost()


def a_leader_that_leaves_hands_over():
    leader = lab.leader()
    load = Load("leave", lab.others(leader))
    time.sleep(1)
    leader.stop()
    time.sleep(2)
    pause, count = load.stop()
    print(f"     SIGTERM to the leader: pause {pause:.2f} s, {count} writes")
    check(pause < 2, f"pause of {pause:.2f} s")
    leader.start()
    lab.whole()
    nothing_lost()


def keys_are_rotated_everywhere():
    lab.command("encryption", "rotate")
    wait_for("everything rewritten", lambda: "rewriting" not in lab.command("encryption", "status").stdout, 20)
    firsts = {json.loads(s.get("/skiff/v1/encryption")[1])["encrypting"] for s in (a, b, c)}
    check(len(firsts) == 1, f"different keys: {firsts}")
    check("swordfish" in b.kubectl("get", "secret", "before", "-o", "go-template={{.data.password|base64decode}}")
          .stdout, "the secret")
    for s in (a, b, c):
        s.stop()
    for s in (a, b, c):
        s.begin()
    lab.whole()
    check("swordfish" in c.kubectl("get", "secret", "before", "-o", "go-template={{.data.password|base64decode}}")
          .stdout, "the secret after a restart")


def without_a_quorum():
    for s in (b, c):
        s.kill()
    wait_for("no quorum", lambda: not lab.status()["quorum"], 10)
    status, body, headers = a.get(f"{MAPS}/before")
    check(status == 200, f"read: {status} {body}")
    check("stale" in headers.get("Warning", ""), f"no warning: {headers.items()}")
    began = time.monotonic()
    status, _, body = a.ask("POST", MAPS, config_map("nobody"))
    took = time.monotonic() - began
    check(status == 503, f"write: {status} {body}")
    print(f"     a write without quorum: 503 after {took * 1000:.0f} ms")
    check(took < 1, f"the refusal took {took:.2f} s")
    check("NO QUORUM" in lab.command("status").stdout, "status")


def the_survivor_is_made_a_cluster():
    line = a.refused("--cluster-reset")
    check("in use" in line or "another" in line or "locked" in line, line)
    a.stop()
    done = subprocess.run(a.command("--cluster-reset"), capture_output=True, text=True, timeout=60)
    check(done.returncode == 0 and "cluster of its own" in done.stdout, done.stdout + done.stderr)
    a.start()
    write(a, "after-reset")
    check([s["name"] for s in lab.status()["servers"]] == ["a"], "others are still there")
    nothing_lost()
    b.begin()  # comes back with what it had: must change nothing
    time.sleep(3)
    write(a, "after-return")
    check([s["name"] for s in lab.status()["servers"]] == ["a"], "an old server came in")
    b.kill()


def three_again_and_back_to_one():
    token = lab.command("token", "create").stdout.strip()
    for s in (b, c):
        s.wipe()
        s.start("--server", f"https://{a.ip}:6443", "--token", token)
    lab.whole()
    write(c, "three-again")
    nothing_lost()
    for s in (c, b):
        lab.command("server", "remove", s.name)
        wait_for(f"{s.name} ends", lambda s=s: s.process.poll() is not None, 20)
        line = s.refused()
        check("was removed from its cluster" in line, line)
    lab.whole(1)
    write(a, "alone-again")
    a.stop()
    a.start()
    nothing_lost()


def a_snapshot_becomes_three_new_servers():
    """docs/operating/backup.md: new machines, of which one has the old pki directory and a snapshot."""
    snapshot, kept = lab.directory / "all.snapshot", lab.directory / "pki"
    lab.command("snapshot", "save", str(snapshot))
    shutil.copytree(a.data / "pki", kept)
    a.stop()
    for s in (a, b, c):
        s.wipe()
    a.data.mkdir()
    shutil.copytree(kept, a.data / "pki")
    check("restored" in lab.command("snapshot", "restore", str(snapshot)).stdout, "restore")
    a.start("--cluster-init")
    token = lab.command("token", "create").stdout.strip()
    for s in (b, c):
        s.start("--server", f"https://{a.ip}:6443", "--token", token)
    lab.whole()
    write(b, "restored")
    nothing_lost()
    secret = json.loads(c.kubectl("get", "secret", "before", "-o", "json").stdout)
    check(secret["data"]["password"] == "c3dvcmRmaXNo", "the secret cannot be read")


STEPS = [one_server_becomes_the_first_of_several, others_join, wrong_joins, every_server_serves,
         addresses_are_given_once, the_leader_is_killed_under_load, the_leader_is_cut_off, packets_are_lost,
         the_leader_is_stopped_and_goes_on, a_leader_that_leaves_hands_over, keys_are_rotated_everywhere,
         without_a_quorum, the_survivor_is_made_a_cluster, three_again_and_back_to_one, a_snapshot_becomes_three_new_servers]
raise SystemExit(harness.run_steps("cluster_ha", STEPS, lab))
