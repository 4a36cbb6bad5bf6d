#!/usr/bin/env python3
"""The main job, with a real kubectl: a Deployment and a Service, a rolling update that loses no request, images
imported and pulled, and a server that is killed under load."""
import collections
import json
import os
import pathlib
import shutil
import sys
import threading
import time

import harness
from harness import Cluster, Failure, Registry, check, http_get, wait_for

harness.fetch_kubectl()
harness.enter_namespace()
cluster = Cluster()
WEB = str(harness.ROOT / "configs" / "examples" / "web.yaml")


def ready_pods(selector="app=web"):
    items = cluster.json("get", "pods", "-l", selector)["items"]
    return [p for p in items if "deletionTimestamp" not in p["metadata"]
            and any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", []))]


def service_ip():
    return cluster.json("get", "service", "web")["spec"]["clusterIP"]


def node_ip():
    addresses = cluster.json("get", "nodes")["items"][0]["status"]["addresses"]
    return next(a["address"] for a in addresses if a["type"] == "InternalIP")


def spread(host, port, requests=90):
    seen = collections.Counter()
    for _ in range(requests):
        status, body = http_get(host, port)
        check(status == 200, f"status {status} from {host}:{port}")
        seen[body.strip()] += 1
    return seen


class Hammer:
    """Requests in a loop, each on a new connection."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.good, self.errors = 0, []
        self.over = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.over:
            try:
                status, _ = http_get(self.host, self.port)
                if status == 200:
                    self.good += 1
                else:
                    self.errors.append(str(status))
            except OSError as problem:
                self.errors.append(repr(problem))
            time.sleep(0.005)

    def stop(self):
        self.over = True
        self.thread.join()


def start_server():
    print(f"     first start to /readyz through kubectl: {cluster.start():.3f} s")


def node_is_ready():
    def ready():
        nodes = cluster.json("get", "nodes")["items"]
        return nodes and any(c["type"] == "Ready" and c["status"] == "True"
                             for c in nodes[0]["status"]["conditions"])
    wait_for("a Ready node", ready)
    print("     " + cluster.kubectl("get", "nodes").stdout.strip().replace("\n", "\n     "))


def apply_web():
    began = time.monotonic()
    out = cluster.kubectl("apply", "-f", WEB).stdout
    check("deployment.apps/web created" in out and "service/web created" in out, out)
    wait_for("3 Ready pods", lambda: len(ready_pods()) == 3, 30, 0.02)
    print(f"     apply to 3 Ready: {time.monotonic() - began:.2f} s")
    out = cluster.kubectl("rollout", "status", "deployment/web", "--timeout=30s").stdout
    check("successfully rolled out" in out, out)


def show_it():
    out = cluster.kubectl("get", "all", "-o", "wide").stdout
    for word in ("pod/web-", "service/web", "deployment.apps/web", "replicaset.apps/web-", "3/3", "skiff/demo"):
        check(word in out, f"get all lacks {word}:\n{out}")
    out = cluster.kubectl("describe", "deployment", "web").stdout
    check("ScalingReplicaSet" in out and "3 available" in out, out)
    pod = ready_pods()[0]["metadata"]["name"]
    out = cluster.kubectl("describe", "pod", pod).stdout
    check("Successfully assigned default/" in out and "Started" in out, out)
    check("Endpoints:" in cluster.kubectl("describe", "service", "web").stdout, "describe service")
    check("Allocated resources" in cluster.kubectl("describe", "node").stdout, "describe node")
    out = cluster.kubectl("logs", pod).stdout
    check("listening on port 8080" in out, "logs: " + out)
    out = cluster.kubectl("logs", "deployment/web", "--all-pods=true", "--tail=5").stdout
    check("listening" in out, "logs of the deployment: " + out)
    out = cluster.kubectl("explain", "deployment.spec.replicas").stdout
    check("replicas" in out and "integer" in out, out)
    check(cluster.kubectl("diff", "-f", WEB).stdout == "", "diff of what was applied")
    out = cluster.kubectl("apply", "-f", WEB).stdout
    check("deployment.apps/web unchanged" in out, out)


def requests_spread():
    for host, port in ((service_ip(), 80), (node_ip(), 30080), ("127.0.0.1", 30080)):
        seen = spread(host, port)
        check(len(seen) == 3 and min(seen.values()) >= 5, f"{host}:{port} spread over {dict(seen)}")


def a_pod_reaches_its_service():
    pods = {p["metadata"]["name"]: p["status"]["podIP"] for p in ready_pods()}
    for address in pods.values():  # by way of the service, now and then to itself
        for _ in range(6):
            status, body = http_get(address, 8080, f"/get?url=http://{service_ip()}/")
            check(status == 200 and body.strip() in pods, f"{address}: {status} {body}")


def scale():
    cluster.kubectl("scale", "deployment/web", "--replicas=5")
    wait_for("5 Ready pods", lambda: len(ready_pods()) == 5)
    cluster.kubectl("scale", "deployment/web", "--replicas=3")
    wait_for("3 pods", lambda: len(cluster.json("get", "pods", "-l", "app=web")["items"]) == 3)


def rolling_update_loses_nothing():
    cluster.image("tag", "skiff/demo", "skiff/demo:v2")
    hammers = [Hammer(service_ip(), 80), Hammer(node_ip(), 30080)]
    try:
        cluster.kubectl("set", "image", "deployment/web", "web=skiff/demo:v2")
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        wait_for("the old pods to go", lambda: len(cluster.json("get", "pods", "-l", "app=web")["items"]) == 3)
        cluster.kubectl("rollout", "undo", "deployment/web")
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        wait_for("the old pods to go", lambda: len(cluster.json("get", "pods", "-l", "app=web")["items"]) == 3)
    finally:
        for hammer in hammers:
            hammer.stop()
    errors = [e for hammer in hammers for e in hammer.errors]
    good = sum(hammer.good for hammer in hammers)
    check(not errors, f"{len(errors)} of {good + len(errors)} requests failed: {errors[:3]}")
    print(f"     {good} requests, no error")
    image = cluster.json("get", "deployment", "web")["spec"]["template"]["spec"]["containers"][0]["image"]
    check(image == "skiff/demo", image)
    check("3" in cluster.kubectl("rollout", "history", "deployment/web").stdout, "rollout history")


def run_pod(name, image, seconds=30):
    cluster.kubectl("run", name, f"--image={image}", "--restart=Never")
    wait_for(f"pod {name} Running", lambda: cluster.json("get", "pod", name)["status"]["phase"] == "Running", seconds)
    address = cluster.json("get", "pod", name)["status"]["podIP"]

    def answers():
        try:
            return http_get(address, 8000)[1] == "busybox says hello\n"
        except OSError:
            return False
    wait_for(f"{name} to answer", answers, 10)


HTTPD = ["sh", "-c", "echo $GREETING from $(hostname); exec httpd -f -p 8000 -h /www"]


def imported_image():
    archive = cluster.data / "busybox.tar"
    harness.docker_archive(archive, "local/busybox:1", HTTPD)
    cluster.image("import", str(archive))
    check("local/busybox:1" in cluster.image("ls").stdout, "image ls")
    run_pod("imported", "local/busybox:1")
    out = cluster.kubectl("logs", "imported").stdout
    check(out == "hello from imported\n", "logs: " + repr(out))


def pulled_image():
    registry = Registry(str(cluster.data))
    try:
        registry.push("team/busybox", "2", HTTPD)
        run_pod("pulled", "127.0.0.1:5000/team/busybox:2")
        events = cluster.kubectl("get", "events", "--field-selector", "involvedObject.name=pulled").stdout
        check("Successfully pulled image" in events, events)
    finally:
        registry.stop()


def bad_pods_say_why():
    cluster.kubectl("run", "nowhere", "--image=127.0.0.1:5999/none:1")
    cluster.kubectl("run", "nocommand", "--image=local/busybox:1", "--command", "--", "/no/such/file")
    cluster.kubectl("run", "huge", "--image=skiff/demo",
                    '--overrides={"spec":{"containers":[{"name":"huge","image":"skiff/demo",'
                    '"resources":{"requests":{"memory":"9Ti"}}}]}}')

    def reason(pod):
        statuses = cluster.json("get", "pod", pod)["status"].get("containerStatuses", [{}])
        state = statuses[0].get("state", {})
        return next(iter(state.values()), {}).get("reason", "")
    wait_for("ImagePullBackOff", lambda: reason("nowhere") in ("ErrImagePull", "ImagePullBackOff"))
    wait_for("a start error", lambda: reason("nocommand") in ("RunContainerError", "StartError", "CrashLoopBackOff"))
    wait_for("Insufficient memory", lambda: "Insufficient memory" in cluster.kubectl("describe", "pod", "huge").stdout)
    cluster.kubectl("delete", "pod", "nowhere", "nocommand", "huge", "imported", "pulled", "--grace-period=1")


def container_ids():
    out = {}
    for pod in cluster.json("get", "pods", "-l", "app=web")["items"]:
        for status in pod["status"]["containerStatuses"]:
            out[pod["metadata"]["name"]] = (status["containerID"], status["restartCount"])
    return out


def killed_under_load():
    before = container_ids()
    shims = sorted(cluster.shims())
    hammer = Hammer(service_ip(), 80)
    acknowledged = []
    over = threading.Event()

    def write(writer):
        n = 0
        while not over.is_set():
            name = f"kept-{writer}-{n}"
            done = cluster.kubectl("create", "configmap", name, f"--from-literal=n={n}", ok=False)
            if done.returncode == 0:
                acknowledged.append(name)
            n += 1
    writers = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in writers:
        thread.start()
    time.sleep(1.5)
    cluster.kill()
    over.set()
    for thread in writers:
        thread.join()
    print(f"     killed -9; start to /readyz: {cluster.start():.3f} s; {len(acknowledged)} writes acknowledged")
    kept = {c["metadata"]["name"] for c in cluster.json("get", "configmaps")["items"]}
    check(len(acknowledged) > 5 and not set(acknowledged) - kept, f"lost: {set(acknowledged) - kept}")
    wait_for("3 Ready pods", lambda: len(ready_pods()) == 3)
    time.sleep(2)
    hammer.stop()
    check(container_ids() == before, f"containers changed: {before} -> {container_ids()}")
    check(sorted(cluster.shims()) == shims, "shims changed")
    check(not hammer.errors, f"{len(hammer.errors)} requests failed while the server was down: {hammer.errors[:3]}")
    wait_for("requests to spread", lambda: len(spread(service_ip(), 80)) == 3, 10)


def upgraded():
    """Another executable takes the old one's place, as an upgrade does; the server is started again with it."""
    before, shims = container_ids(), sorted(cluster.shims())
    hammer = Hammer(service_ip(), 80)
    fresh = cluster.data / "skiff"
    shutil.copy(cluster.skiff, fresh)
    with open(fresh, "ab") as program:
        program.write(b"another build")
    cluster.stop()
    cluster.skiff = str(fresh)
    cluster.start()
    wait_for("3 Ready pods", lambda: len(ready_pods()) == 3)
    time.sleep(1)
    hammer.stop()
    check(container_ids() == before and sorted(cluster.shims()) == shims, "containers or shims changed")
    check(not hammer.errors, f"{len(hammer.errors)} requests failed during the upgrade: {hammer.errors[:3]}")
    name = sorted(before)[0]
    cluster.kubectl("delete", "pod", name, "--timeout=30s")  # an old shim obeys the new server
    wait_for("3 Ready pods", lambda: len(ready_pods()) == 3 and name not in container_ids())


def delete_everything():
    cluster.kubectl("delete", "-f", WEB, "--timeout=60s")
    wait_for("no pod", lambda: not cluster.json("get", "pods")["items"], 60)
    wait_for("no shim", lambda: not cluster.shims(), 10)
    left = [line for line in open("/proc/mounts") if cluster.state in line]
    check(not left, f"mounts left: {left}")


sys.exit(harness.run_steps("first minute", [
    start_server, node_is_ready, apply_web, show_it, requests_spread, a_pod_reaches_its_service, scale,
    rolling_update_loses_nothing, imported_image, pulled_image, bad_pods_say_why, killed_under_load,
    upgraded, delete_everything,
], cluster))
