#!/usr/bin/env python3
"""Pods of one cluster on three machines: each node has addresses of its own to give, every pod and every node reaches
every pod, services spread over all of them, and the loss of a machine costs what ran there, nothing else. The
machines are network namespaces on one bridge with no way out."""
import collections
import ipaddress
import json
import subprocess
import sys
import time
import urllib.parse

import harness
from harness import check, wait_for
from lab import Lab

harness.fetch_kubectl()
harness.enter_namespace()

REPLICAS = 6
PORT = 8080
NODE_PORT = 30080
MANIFEST = (harness.ROOT / "configs" / "examples" / "web.yaml").read_text().replace(
    "replicas: 3", f"replicas: {REPLICAS}")

LISTENER = """
import socket, sys
s = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("up")
link, who = s.accept()
print(who[0])
"""

lab = Lab()
a, b, c = (lab.servers[n] for n in "abc")


def objects(kind, server=None):
    server = server or a
    return json.loads(server.kubectl("get", kind, "-o", "json").stdout)["items"]


def pods(server=None):
    """(name, address, node) of the pods that are ready and stay."""
    out = []
    for p in objects("pods", server):
        ready = any(k["type"] == "Ready" and k["status"] == "True" for k in p["status"].get("conditions", []))
        if ready and "deletionTimestamp" not in p["metadata"]:
            out.append((p["metadata"]["name"], p["status"]["podIP"], p["spec"]["nodeName"]))
    return out


def curl(where, url, seconds=3):
    done = subprocess.run(where + ["curl", "-sS", "-m", str(seconds), url], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else f"failed: {done.stderr.strip()}"


def fetch(server, url, seconds=3):
    """What a process on the server's machine gets."""
    return curl(["ip", "netns", "exec", server.space], url, seconds)


def fetch_from(pod, url):
    """What the pod gets: its demo program fetches for others."""
    node = lab.servers[pod[2]]
    answer = fetch(node, f"http://{pod[1]}:{PORT}/get?url={urllib.parse.quote(url, safe='')}", 6)
    return answer.splitlines()[-1] if answer else "nothing"


def spread(ask, wanted, times=90):
    """Asks until every one of `wanted` has answered; nobody else may, and no request may fail."""
    count = collections.Counter()
    for _ in range(times):
        answer = ask()
        check(answer in wanted, f"answered {answer!r}; so far {dict(count)}")
        count[answer] += 1
        if len(count) == len(wanted):
            return
    check(False, f"within {times} requests only {dict(count)}")


def routes(server):
    out = subprocess.run(["ip", "-n", server.space, "route", "show", "proto", "83"], capture_output=True, text=True)
    return sorted(" ".join(line.split()[:3]) for line in out.stdout.splitlines())


def ranges():
    return {n["metadata"]["name"]: n["spec"].get("podCIDR") for n in objects("nodes")}


def three_servers_come_up():
    a.start("--cluster-init")
    wait_for("the first node's range", lambda: ranges().get("a"), 10)
    check(ranges() == {"a": "10.42.0.0/24"}, str(ranges()))
    token = lab.command("token", "create").stdout.strip()
    for server in (b, c):
        server.start("--server", f"https://{a.ip}:6443", "--token", token)
    lab.whole()

    def ready():
        nodes = objects("nodes")
        return len(nodes) == 3 and all(
            any(k["type"] == "Ready" and k["status"] == "True" for k in n["status"].get("conditions", []))
            for n in nodes)
    wait_for("three nodes", ready, 20)
    given = ranges()
    check(len(set(given.values())) == 3 and all(given.values()), str(given))
    for server in lab.servers.values():
        wanted = sorted(f"{given[o.name]} via {o.ip}" for o in lab.others(server))
        wait_for(f"routes of {server.name}", lambda s=server, w=wanted: routes(s) == w, 10)


def pods_land_on_all_three():
    a.kubectl("apply", "-f", "-", stdin=MANIFEST)
    wait_for(f"{REPLICAS} pods", lambda: len(pods()) == REPLICAS, 30)
    given = ranges()
    there = pods()
    check({node for _, _, node in there} == set("abc"), str(there))
    check(len({ip for _, ip, _ in there}) == REPLICAS, f"addresses given twice: {there}")
    for name, ip, node in there:
        check(ipaddress.ip_address(ip) in ipaddress.ip_network(given[node]), f"{name}: {ip} on {node}: {given}")


def everybody_reaches_every_pod():
    there = pods()
    for name, ip, _ in there:
        for server in lab.servers.values():
            answer = fetch(server, f"http://{ip}:{PORT}/")
            check(answer == name, f"{name} from machine {server.name}: {answer}")
        for other in there:
            answer = fetch_from(other, f"http://{ip}:{PORT}/")
            check(answer == name, f"{name} from pod {other}: {answer}")


def process_in(pod):
    """A process in the pod's network namespace."""
    for shim in harness.shims_of(lab.servers[pod[2]].state):
        for pid in harness.children_of(shim):
            shown = subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "-o", "-4", "addr", "show", "eth0"],
                                   capture_output=True, text=True).stdout
            if f" {pod[1]}/" in shown:
                return str(pid)
    raise harness.Failure(f"no process of {pod}")


def seen_by(where, port, ask):
    """The address a listener behind `where` (a command prefix) sees when ask() is called."""
    listener = subprocess.Popen(where + [sys.executable, "-uc", LISTENER, str(port)], stdout=subprocess.PIPE, text=True)
    try:
        listener.stdout.readline()
        ask()
        return listener.stdout.readline().strip()
    finally:
        listener.kill()
        listener.wait()


def pods_see_whom_they_talk_to():
    """Nothing on the way rewrites the address of a pod that talks to one on another machine; to the rest of the world
    it shows its node's."""
    there = pods()
    one = next(p for p in there if p[2] == "a")
    other = next(p for p in there if p[2] == "b")
    inside = ["nsenter", "-t", process_in(other), "-n"]
    seen = seen_by(inside, 9000, lambda: fetch_from(one, f"http://{other[1]}:9000/"))
    check(seen == one[1], f"a pod at b sees {seen} instead of {one[1]}")
    seen = seen_by(["ip", "netns", "exec", c.space], 9001, lambda: fetch_from(one, f"http://{c.ip}:9001/"))
    check(seen == a.ip, f"machine c sees {seen} instead of {a.ip}")


def logs_come_from_everywhere():
    for name, _, _ in pods():
        for server in lab.servers.values():
            text = server.kubectl("logs", name).stdout
            check("listening on port" in text, f"logs of {name} at {server.name}: {text}")


def services_spread_over_all():
    there = pods()
    names = {name for name, _, _ in there}
    service = json.loads(a.kubectl("get", "service", "web", "-o", "json").stdout)["spec"]["clusterIP"]
    for server in lab.servers.values():
        wait_for(f"the proxy of {server.name}",
                 lambda s=server: fetch(s, f"http://{service}/") in names and
                 fetch(s, f"http://127.0.0.1:{NODE_PORT}/") in names, 10)
        spread(lambda s=server: fetch(s, f"http://{service}/"), names)
        spread(lambda s=server: fetch(s, f"http://127.0.0.1:{NODE_PORT}/"), names)
        neighbour = lab.others(server)[0]
        spread(lambda s=server, n=neighbour: fetch(s, f"http://{n.ip}:{NODE_PORT}/"), names)
    for pod in (next(p for p in there if p[2] == n) for n in "abc"):
        inside = ["nsenter", "-t", process_in(pod), "-n"]  # the demo program would keep its connection
        spread(lambda w=inside: curl(w, f"http://{service}/"), names)
        spread(lambda w=inside: curl(w, f"http://{b.ip}:{NODE_PORT}/"), names)


def routes_are_kept():
    """A route somebody removed comes back, a stale one of ours goes, and those of others stay."""
    wanted = routes(a)
    gone = wanted[0].split()[0]
    for words in (["del", gone], ["add", "10.42.77.0/24", "via", c.ip, "proto", "83"],
                  ["add", "10.42.78.0/24", "via", c.ip]):
        subprocess.run(["ip", "-n", a.space, "route"] + words, check=True)
    wait_for("routes put right", lambda: routes(a) == wanted, 10)
    left = subprocess.run(["ip", "-n", a.space, "route"], capture_output=True, text=True).stdout
    check("10.42.78.0/24" in left, left)


def a_killed_server_finds_its_pods():
    """The server of one machine dies: its pods go on, and are what they were when it comes back."""
    before = sorted(pods())
    name, ip, _ = next(p for p in before if p[2] == "b")
    b.kill()
    check(fetch(c, f"http://{ip}:{PORT}/") == name, "a pod died with its server")
    b.start()
    lab.whole()
    wait_for("the same pods", lambda: sorted(pods()) == before, 20)
    check(fetch(c, f"http://{ip}:{PORT}/") == name, "a pod is out of reach")


def without_a_quorum():
    """A server that starts alone knows its range: it has it from before."""
    before = sorted(pods())
    for server in lab.servers.values():
        server.kill()
    words = "pod network ready"
    seen = a.tail(10_000).count(words)
    a.begin()
    wait_for("the pod network", lambda: a.tail(10_000).count(words) > seen, 20)
    check(a.get("/readyz")[0] != 200, "ready without a quorum")
    for name, ip, _ in before:
        check(fetch(a, f"http://{ip}:{PORT}/") == name, f"{name} is out of reach")
    b.start()
    c.start()
    lab.whole()
    wait_for("the same pods", lambda: sorted(pods()) == before, 20)


def a_machine_is_lost():
    lost = c
    before = pods()
    lost.cut(True)
    lost.kill()
    harness.end_pods(lost.state)
    began = time.monotonic()
    left = [p for p in before if p[2] != "c"]
    for name, ip, _ in left:
        for server in (a, b):
            check(fetch(server, f"http://{ip}:{PORT}/") == name, f"{name} from {server.name}")
    wait_for("a leader of those left", lambda: a.get("/readyz")[0] == 200 and b.get("/readyz")[0] == 200, 20)

    def noticed():
        slices = objects("endpointslices", b)
        ready = [e for s in slices if s["metadata"]["name"].startswith("web")
                 for e in s.get("endpoints") or [] if e["conditions"]["ready"]]
        return {e["nodeName"] for e in ready} == {"a", "b"}
    wait_for("endpoints without the lost machine's", noticed, 70, 0.5)
    print(f"     the machine's pods left the service after {time.monotonic() - began:.1f} s")
    names = {name for name, _, _ in left}
    service = json.loads(b.kubectl("get", "service", "web", "-o", "json").stdout)["spec"]["clusterIP"]
    for server in (a, b):
        wait_for("the proxy", lambda s=server: all(fetch(s, f"http://{service}/", 1) in names for _ in range(10)), 10)
        spread(lambda s=server: fetch(s, f"http://{service}/"), names)
    # Its Node is taken away: so is the way there.
    b.kubectl("delete", "node", "c")
    for server in (a, b):
        wait_for(f"routes of {server.name}", lambda s=server: len(routes(s)) == 1, 10)


STEPS = [three_servers_come_up, pods_land_on_all_three, everybody_reaches_every_pod, pods_see_whom_they_talk_to,
         logs_come_from_everywhere, services_spread_over_all, routes_are_kept, a_killed_server_finds_its_pods, without_a_quorum,
         a_machine_is_lost]
raise SystemExit(harness.run_steps("cluster_pods", STEPS, lab))
