"""Several servers on several machines: each in a network namespace of its own, all on one bridge."""
import http.client
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import tempfile

import harness
from harness import check, wait_for

SKIFF = str(os.environ.get("SKIFF", harness.ROOT / "build" / "skiff"))
TAG = f"skha-{os.getpid()}"


def run(*words, **kwargs):
    return subprocess.run(words, check=True, capture_output=True, text=True, **kwargs)


class Server:
    """A namespace with one address, and the server in it."""

    def __init__(self, lab, name, number):
        self.lab, self.name = lab, name
        self.ip = f"10.77.0.{number}"
        self.space = f"{TAG}-{name}"
        self.link = f"ha{number}"
        self.data = lab.directory / name
        self.state = harness.state_dir(self.data)
        self.log = open(lab.directory / f"{name}.log", "ab")
        self.process = None
        run("ip", "netns", "add", self.space)
        run("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        run("ip", "link", "set", self.link, "master", "ha-bridge", "up")
        for words in (["addr", "add", self.ip + "/24", "dev", "eth0"], ["link", "set", "eth0", "up"],
                      ["link", "set", "lo", "up"]):
            run("ip", "-n", self.space, *words)

    def command(self, *flags):
        return ["ip", "netns", "exec", self.space, SKIFF, "server", "--data-dir", str(self.data),
                "--node-name", self.name, "--node-ip", self.ip] + self.lab.flags + list(flags)

    def begin(self, *flags):
        self.process = subprocess.Popen(self.command(*flags), stdout=self.log, stderr=self.log,
                                        start_new_session=True)

    def start(self, *flags, seconds=20):
        self.begin(*flags)

        def ready():
            check(self.process.poll() is None, f"{self.name} ended: {self.tail()}")
            return self.data.joinpath("kubeconfig").exists() and self.get("/readyz")[0] == 200
        wait_for(f"{self.name} ready", ready, seconds, 0.05)

    def refused(self, *flags):
        """The one line it ends with."""
        done = subprocess.run(self.command(*flags), capture_output=True, text=True, timeout=60)
        lines = [line for line in done.stderr.splitlines() if line.startswith("skiff:")]
        check(done.returncode == 1 and len(lines) == 1, f"{flags}: {done.returncode}: {done.stderr}")
        return lines[0]

    def tail(self, lines=12):
        text = (self.lab.directory / f"{self.name}.log").read_text(errors="replace")
        return f"{self.name}: " + "\n".join(text.splitlines()[-lines:])

    def pause(self, on):
        self.process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)

    def cut(self, on):
        run("ip", "link", "set", self.link, "down" if on else "up")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            check(self.process.wait(20) == 0, f"{self.name} was told to stop: {self.tail()}")

    def connect(self, timeout):
        return http.client.HTTPSConnection(self.ip, 6443, timeout=timeout, context=self.lab.tls())

    def ask(self, method, path, body=None, timeout=10.0, connection=None):
        """(status, headers, body); status 0: no answer."""
        try:
            link = connection or self.connect(timeout)
            link.request(method, path, json.dumps(body) if body is not None else None,
                         {"Content-Type": "application/json"})
            answer = link.getresponse()
            return answer.status, answer.headers, answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as problem:
            return 0, {}, str(problem)

    def get(self, path, timeout=5.0):
        status, headers, body = self.ask("GET", path, timeout=timeout)
        return status, body, headers

    def kubectl(self, *args, ok=True, stdin=None):
        done = subprocess.run([str(harness.tools_dir() / "kubectl"), "--kubeconfig",
                               str(self.lab.servers["a"].data / "kubeconfig"), "--server", f"https://{self.ip}:6443",
                               "--request-timeout=15s"] + list(args), capture_output=True, text=True, input=stdin,
                              timeout=60)
        check(not ok or done.returncode == 0, f"kubectl at {self.name}: {done.stderr}")
        return done

    def wipe(self):
        shutil.rmtree(self.data, ignore_errors=True)

    def remove(self):
        try:
            self.stop()
        except (OSError, subprocess.TimeoutExpired):
            self.kill()
        self.log.close()
        harness.end_pods(self.state)
        harness.remove_files(self.state, self.data)
        subprocess.run(["ip", "netns", "del", self.space])


class Lab:
    def __init__(self, flags=()):
        self.flags = list(flags)
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="skiff-ha-"))
        run("ip", "link", "add", "ha-bridge", "type", "bridge")
        run("ip", "addr", "add", "10.77.0.254/24", "dev", "ha-bridge")
        run("ip", "link", "set", "ha-bridge", "up")
        self.servers = {}
        for number, name in enumerate("abc", 1):
            self.servers[name] = Server(self, name, number)

    def tls(self):
        pki = self.servers["a"].data / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(str(pki / "admin.crt"), str(pki / "admin.key"))
        return context

    def command(self, *words, at="a", ok=True):
        done = subprocess.run(["ip", "netns", "exec", self.servers[at].space, SKIFF] + list(words) +
                              ["--data-dir", str(self.servers[at].data)], capture_output=True, text=True, timeout=60)
        check(not ok or done.returncode == 0, f"skiff {' '.join(words)}: {done.stderr}")
        return done

    def status(self, at="a"):
        return json.loads(self.command("status", "-o", "json", at=at).stdout)

    def leader(self):
        def probe():
            for s in self.servers.values():
                if s.process is None or s.process.poll() is not None:
                    continue
                status, body, _ = s.get("/skiff/v1/status?local=true", timeout=1)
                if status == 200 and json.loads(body)["state"] == "leader":
                    return s
            return None
        return wait_for("a leader", probe, 20)

    def others(self, one):
        return [s for s in self.servers.values() if s is not one]

    def whole(self, count=3, seconds=30):
        """All servers vote, are healthy and have everything."""
        def probe():
            status, body, _ = self.leader().get("/skiff/v1/status?local=true")
            if status != 200:
                return False
            servers = json.loads(body)["servers"]
            return len(servers) == count and all(
                s["healthy"] and s["lag"] == 0 and s["role"] in ("voter", "leader") for s in servers)
        wait_for(f"{count} healthy voters", probe, seconds)

    def tail(self, lines=12):
        return "\n".join(s.tail(lines) for s in self.servers.values())

    def remove(self):
        for s in self.servers.values():
            s.remove()
        subprocess.run(["ip", "link", "del", "ha-bridge"])
        shutil.rmtree(self.directory, ignore_errors=True)
