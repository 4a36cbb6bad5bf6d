#!/usr/bin/env python3
"""docs/operating/backup.md, as a new user would follow it: history, undo, snapshots, restore, fork."""
import json
import os
import re
import signal
import subprocess
import tempfile

import harness
from harness import Cluster, check, wait_for

harness.fetch_kubectl()
harness.enter_namespace()
PORT = 6543
FLAGS = ["--https-port", str(PORT), "--bind-address", "127.0.0.1", "--disable", "kubelet,network,proxy",
         "--snapshot-schedule", "6h", "--snapshot-retention", "2"]
cluster = Cluster(flags=FLAGS)
work = tempfile.mkdtemp(prefix="skiff-e2e-backup-")
SNAPSHOT = os.path.join(work, "before-upgrade.snapshot")
seen = {}


def skiff(*args, ok=True):
    return cluster.skiff_command(*args, "--data-dir", str(cluster.data), ok=ok)


def apply(text):
    return cluster.kubectl("apply", "-f", "-", stdin=text)


def deployment(replicas, image="web:1"):
    return json.dumps({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                 "template": {"metadata": {"labels": {"app": "web"}},
                              "spec": {"containers": [{"name": "web", "image": image}]}}}})


def start():
    cluster.start()
    cluster.kubectl("create", "namespace", "shop")
    wait_for("the default account", lambda: cluster.kubectl(
        "-n", "shop", "get", "serviceaccount", "default", ok=False).returncode == 0)
    apply(deployment(1))
    cluster.kubectl("-n", "shop", "create", "configmap", "settings", "--from-literal=colour=red")
    cluster.kubectl("-n", "shop", "create", "secret", "generic", "password", "--from-literal=word=swordfish")


def history_of_an_object():
    cluster.kubectl("-n", "shop", "scale", "deployment/web", "--replicas=3")
    text = skiff("history", "deployment", "web", "-n", "shop").stdout
    check("created deployment.apps/web" in text, text)
    check("spec.replicas: 1 \u2192 3" in text, text)
    check("system:admin/kubectl" in text, text)
    check("managedFields" not in text, text)
    changes = json.loads(skiff("history", "deployment", "web", "-n", "shop", "-o", "json").stdout)
    check(changes[0]["verb"] == "created" and changes[0]["object"]["spec"]["replicas"] == 1, str(changes[0])[:300])
    seen["one replica"] = changes[0]["revision"]
    check(all(a["revision"] < b["revision"] for a, b in zip(changes, changes[1:])), "order")


def secrets_are_not_shown():
    cluster.kubectl("-n", "shop", "patch", "secret", "password", "-p", '{"stringData":{"word":"marlin"}}')
    text = skiff("history", "secret", "password", "-n", "shop").stdout
    check("data.word" in text and "not shown" in text, text)
    check("c3dvcmRmaXNo" not in text and "bWFybGlu" not in text, text)


def history_of_a_kind_and_a_namespace():
    text = skiff("history", "configmaps", "-n", "shop").stdout
    check("created configmap/settings" in text, text)
    text = skiff("history", "-n", "shop", "--limit", "0").stdout
    for name in ("deployment.apps/web", "configmap/settings", "secret/password"):
        check(name in text, name + " is missing: " + text)


def exact_reads():
    at = f"?resourceVersion={seen['one replica']}&resourceVersionMatch=Exact"
    path = "/apis/apps/v1/namespaces/shop/deployments"
    one = json.loads(cluster.kubectl("get", "--raw", f"{path}/web{at}").stdout)
    check(one["spec"]["replicas"] == 1, "GET")
    many = json.loads(cluster.kubectl("get", "--raw", path + at).stdout)
    check([d["spec"]["replicas"] for d in many["items"]] == [1], "LIST")


def history_outlives_the_process():
    before = skiff("history", "deployment", "web", "-n", "shop").stdout
    cluster.kill()
    cluster.start()
    after = skiff("history", "deployment", "web", "-n", "shop").stdout
    check(after.startswith(before.splitlines()[0]) and "spec.replicas: 1 \u2192 3" in after, after)
    exact_reads()
    at = f"limit=1&resourceVersion={seen['one replica']}&resourceVersionMatch=Exact"
    page = json.loads(cluster.kubectl("get", "--raw", "/api/v1/namespaces?" + at).stdout)
    rest = json.loads(cluster.kubectl(
        "get", "--raw", "/api/v1/namespaces?limit=100&continue=" + page["metadata"]["continue"]).stdout)
    names = [n["metadata"]["name"] for n in page["items"] + rest["items"]]
    check(len(page["items"]) == 1 and names == sorted(set(names)) and "shop" in names, str(names))


def undo():
    text = skiff("undo", "deployment", "web", "-n", "shop", "--dry-run").stdout
    check("(dry run)" in text and "3 \u2192 1" in text, text)
    check(cluster.json("-n", "shop", "get", "deployment", "web")["spec"]["replicas"] == 3, "a dry run changed something")
    skiff("undo", "deployment", "web", "-n", "shop")
    check(cluster.json("-n", "shop", "get", "deployment", "web")["spec"]["replicas"] == 1, "undo")
    check("skiff-undo" in skiff("history", "deployment", "web", "-n", "shop").stdout, "the undo's author")
    skiff("undo", "deployment", "web", "-n", "shop")
    check(cluster.json("-n", "shop", "get", "deployment", "web")["spec"]["replicas"] == 3, "undo of an undo")
    skiff("undo", "deployment", "web", "-n", "shop", "--to-revision", str(seen["one replica"]))
    check(cluster.json("-n", "shop", "get", "deployment", "web")["spec"]["replicas"] == 1, "--to-revision")


def undo_of_a_deletion():
    uid = cluster.json("-n", "shop", "get", "configmap", "settings")["metadata"]["uid"]
    seen["before"] = json.loads(cluster.kubectl("get", "--raw", "/skiff/v1/store").stdout)["revision"]
    cluster.kubectl("-n", "shop", "delete", "configmap", "settings")
    check("deleted configmap/settings" in skiff("history", "configmap", "settings", "-n", "shop").stdout, "deleted")
    skiff("undo", "configmap", "settings", "-n", "shop")
    back = cluster.json("-n", "shop", "get", "configmap", "settings")
    check(back["data"] == {"colour": "red"} and back["metadata"]["uid"] != uid, str(back))


def what_cannot_be_undone():
    rows = [
        (("undo", "configmap", "never", "-n", "shop"), "nothing to undo"),
        (("undo", "configmap", "settings", "-n", "shop", "--to-revision", "1"), "no longer kept|did not exist"),
        (("undo", "-n", "shop"), "--to-revision"),
        (("undo", "configmap", "-n", "shop"), "name one object"),
        (("history", "configmap", "never", "-n", "shop"), "does not exist"),
        (("history", "nonsense", "x"), "resource type"),
    ]
    for words, expected in rows:
        done = skiff(*words, ok=False)
        check(done.returncode == 1 and re.search(expected, done.stderr), f"{words}: {done.stderr}")


def undo_of_a_namespace():
    cluster.kubectl("-n", "shop", "create", "configmap", "extra", "--from-literal=a=b")
    cluster.kubectl("-n", "shop", "delete", "deployment", "web")
    cluster.kubectl("-n", "shop", "patch", "configmap", "settings", "-p", '{"data":{"colour":"blue"}}')
    to = str(seen["before"])
    plan = skiff("undo", "-n", "shop", "--to-revision", to, "--dry-run").stdout
    for line in ("deployment.apps/web created again (dry run)", "configmap/settings restored (dry run)",
                 "configmap/extra deleted (dry run)"):
        check(line in plan, line + " is missing: " + plan)
    check(cluster.kubectl("-n", "shop", "get", "configmap", "extra", ok=False).returncode == 0, "a dry run deleted")
    skiff("undo", "-n", "shop", "--to-revision", to)
    check(cluster.json("-n", "shop", "get", "configmap", "settings")["data"]["colour"] == "red", "settings")
    check(cluster.json("-n", "shop", "get", "deployment", "web")["spec"]["replicas"] == 1, "web")
    check(cluster.kubectl("-n", "shop", "get", "configmap", "extra", ok=False).returncode != 0, "extra")
    check("unchanged" in skiff("undo", "-n", "shop", "--to-revision", to).stdout, "twice")


def undo_of_a_deleted_namespace():
    cluster.kubectl("create", "namespace", "gone")
    wait_for("the default account", lambda: cluster.kubectl(
        "-n", "gone", "get", "serviceaccount", "default", ok=False).returncode == 0)
    cluster.kubectl("-n", "gone", "create", "configmap", "kept", "--from-literal=a=b")
    to = json.loads(cluster.kubectl("get", "--raw", "/skiff/v1/store").stdout)["revision"]
    cluster.kubectl("delete", "namespace", "gone")
    text = skiff("undo", "-n", "gone", "--to-revision", str(to)).stdout
    check("namespace/gone created again" in text and "0 refused" in text, text)
    check(cluster.json("-n", "gone", "get", "configmap", "kept")["data"] == {"a": "b"}, "kept")


def races_are_refused():
    """Of two undos at once one may win; neither may overwrite what it has not seen."""
    cluster.kubectl("-n", "shop", "create", "configmap", "raced", "--from-literal=n=0")
    cluster.kubectl("-n", "shop", "patch", "configmap", "raced", "-p", '{"data":{"n":"1"}}')
    words = [cluster.skiff, "undo", "configmap", "raced", "-n", "shop", "--data-dir", str(cluster.data)]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(8)]
    told = [p.communicate(timeout=30) + (p.returncode,) for p in both]
    for out, err, code in told:
        check((code == 0) or ("changed meanwhile" in err), err)
    written = [c for c in json.loads(skiff("history", "configmap", "raced", "-n", "shop", "-o", "json",
                                           "--limit", "0").stdout) if "skiff-undo" in c["author"]]
    restored = sum(1 for out, _, code in told if code == 0 and "restored" in out)
    check(len(written) == restored >= 1, f"{len(written)} undos written, {restored} told so")


def snapshots():
    text = skiff("snapshot", "save", SNAPSHOT).stdout
    check("revision" in text and os.path.exists(SNAPSHOT), text)
    check(os.stat(SNAPSHOT).st_mode & 0o077 == 0, "others can read it")
    check(b"marlin" not in open(SNAPSHOT, "rb").read() and b"bWFybGlu" not in open(SNAPSHOT, "rb").read(),
          "a Secret in clear")
    broken = os.path.join(work, "broken.snapshot")
    data = open(SNAPSHOT, "rb").read()
    open(broken, "wb").write(data[:len(data) // 2])
    lines = cluster.skiff_command("snapshot", "ls", work).stdout.splitlines()
    check(any("before-upgrade" in x and x.endswith("yes") for x in lines), str(lines))
    check(any("broken" in x and "no:" in x for x in lines), str(lines))

    def scheduled():
        text = skiff("snapshot", "ls").stdout
        return "one every 21600 s" in text and text.count(" yes") == 1
    wait_for("the first scheduled snapshot", scheduled)
    check(skiff("snapshot", "restore", SNAPSHOT, ok=False).returncode == 1, "restored under a running server")


def restore():
    cluster.kubectl("-n", "shop", "delete", "configmap", "settings")
    newest = json.loads(cluster.kubectl("get", "--raw", "/skiff/v1/store").stdout)["revision"]
    cluster.stop()
    broken = skiff("snapshot", "restore", os.path.join(work, "broken.snapshot"), ok=False)
    check(broken.returncode == 1 and broken.stderr.count("\n") == 1, broken.stderr)
    offline = os.path.join(work, "offline.snapshot")
    skiff("snapshot", "save", offline)
    text = skiff("snapshot", "restore", SNAPSHOT).stdout
    check("restored" in text and "is kept as" in text, text)
    cluster.start()
    check(cluster.json("-n", "shop", "get", "configmap", "settings")["data"]["colour"] == "red", "settings")
    word = cluster.json("-n", "shop", "get", "secret", "password")["data"]["word"]
    check(word == "bWFybGlu", word)
    store = json.loads(cluster.kubectl("get", "--raw", "/skiff/v1/store").stdout)
    check(store["revision"] > newest and store["compacted"] >= newest, f"{store}, before {newest}")
    old = cluster.kubectl("get", "--raw", f"/api/v1/pods?resourceVersion={newest}&resourceVersionMatch=Exact", ok=False)
    check(old.returncode != 0 and "too old" in old.stderr, old.stderr)
    cluster.kubectl("-n", "shop", "create", "configmap", "later", "--from-literal=a=b")
    seen["later"] = json.loads(cluster.kubectl("get", "--raw", "/skiff/v1/store").stdout)["revision"]
    cluster.kubectl("-n", "shop", "create", "configmap", "latest", "--from-literal=a=b")


def fork():
    process = subprocess.Popen([cluster.skiff, "fork", "--data-dir", str(cluster.data), "--https-port", "7543",
                                "--revision", str(seen["later"])],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        process.stdout.readline()
        line = process.stdout.readline()
        kubeconfig = re.search(r"--kubeconfig (\S+)", line)
        check(kubeconfig, line)
        kubeconfig = kubeconfig.group(1)
        kubectl = [str(harness.tools_dir() / "kubectl"), "--kubeconfig", kubeconfig]

        def run(*args, stdin=None):
            return subprocess.run(kubectl + list(args), capture_output=True, text=True, input=stdin, timeout=60)
        wait_for("the fork", lambda: os.path.exists(kubeconfig) and run("get", "--raw=/readyz").stdout == "ok")
        names = run("-n", "shop", "get", "configmaps").stdout
        check("later" in names and "latest" not in names, "the copy's objects: " + names)
        node = json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "pretended"}})
        run("apply", "-f", "-", stdin=node)
        status = {"status": {"capacity": {"cpu": "8", "memory": "8Gi", "pods": "100"},
                             "allocatable": {"cpu": "8", "memory": "8Gi", "pods": "100"},
                             "conditions": [{"type": "Ready", "status": "True"}]}}
        run("patch", "node", "pretended", "--subresource=status", "--type=merge", "-p", json.dumps(status))
        run("apply", "-f", "-", stdin=deployment(4, "web:2"))
        wait_for("the rollout in the copy", lambda: "successfully rolled out" in run(
            "-n", "shop", "rollout", "status", "deployment/web", "--timeout=30s").stdout, 40)
        here = cluster.json("-n", "shop", "get", "deployment", "web")
        check(here["spec"]["replicas"] == 1, "the fork reached the original")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
    check(not os.path.exists(os.path.dirname(kubeconfig)), "the copy was not removed")


def clean_up():
    subprocess.run(["rm", "-rf", work], check=True)


STEPS = [start, history_of_an_object, secrets_are_not_shown, history_of_a_kind_and_a_namespace, exact_reads,
         history_outlives_the_process, undo, undo_of_a_deletion, what_cannot_be_undone, undo_of_a_namespace,
         undo_of_a_deleted_namespace, races_are_refused, snapshots, restore, fork, clean_up]
raise SystemExit(harness.run_steps("history", STEPS, cluster))
