"""Three machines on one: own host name, network, /tmp and shared memory, and a Ray node on each.

    unshare --user --map-root-user --net --mount --uts --pid --fork --mount-proc --kill-child \
        python tests/helper_three_machines.py SHARED SCENARIO

SHARED, the only folder that all three see, is /mnt inside. The second and third machine have no
code of ours. Everything ends with this process, the first of its PID namespace. A scenario is a
function of this file; it prints what it saw as one line of JSON.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).parent.parent
SHARED = Path("/mnt")
ADDRESS = "10.77.0.1:6399"
PACKAGES = ("harness", "models", "baselines", "tuning")
PATIENCE_S = 420
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block"]
RAY += ["--object-store-memory=80000000", "--num-cpus=1"]
MACHINE = "set -e; hostname node-{n}; cd '{top}'; "
MACHINE += "mount -t tmpfs own /tmp; mount -t tmpfs own /dev/shm; "
MACHINE += "mkdir -p '{top}'; mount --no-canonicalize --bind . '{top}'; "  # it may lie in /tmp
MACHINE += '{hide} cd /; exec "$@"'


def sh(command):
    subprocess.run(["sh", "-ec", command], check=True)


class Machine:
    """A namespace of its own for host name, network and mounts, in which a node of Ray runs."""

    def __init__(self, n):
        self.n = n
        self.name = f"node-{n}"
        sh(
            f"ip netns add m{n}; ip link add v{n} type veth peer name p{n}; "
            f"ip link set v{n} netns m{n}; ip link set p{n} master br0 up; "
            f"ip -n m{n} addr add 10.77.0.{n}/24 dev v{n}; "
            f"ip -n m{n} link set v{n} up; ip -n m{n} link set lo up"
        )

    def start(self):
        hide = "".join(f"mount -t tmpfs none '{TOP / name}'; " for name in PACKAGES)
        role = [f"--address={ADDRESS}"]
        if self.n == 1:
            hide, role = "", ["--head", "--port=6399", "--include-dashboard=false"]
        inside = MACHINE.format(n=self.n, top=TOP, hide=hide)
        apart = ["unshare", "--mount", "--uts", "--propagation", "private", "sh", "-c", inside, "-"]
        with open(SHARED / f"{self.name}.log", "wb") as log:
            node = [*RAY, *role, f"--node-ip-address=10.77.0.{self.n}"]
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", f"m{self.n}", *apart, *node], stdout=log, stderr=log
            )
        return self

    def enter(self):
        return ["nsenter", "--target", str(self.process.pid), "--mount", "--net", "--uts"]

    def kill(self):
        """SIGKILL to everything that runs there: the node, its workers, their trials."""
        network = os.readlink(f"/proc/{self.process.pid}/ns/net")
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(place / "ns/net") == network:
                    os.kill(int(place.name), signal.SIGKILL)


@contextlib.contextmanager
def cluster():
    sh("mount --make-rprivate /; mount -t tmpfs run /run; mkdir -p /run/netns")
    sh("ip link add br0 type bridge; ip link set br0 up")
    token = SHARED / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        del os.environ[name]
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
    os.environ |= {"RAY_AUTH_TOKEN_PATH": str(token)}
    machines = [Machine(n).start() for n in (1, 2, 3)]
    deadline = time.monotonic() + 90
    while not all(up(machine) for machine in machines):
        for each in machines:
            assert each.process.poll() is None, (SHARED / f"{each.name}.log").read_text()
        assert time.monotonic() < deadline, [m.name for m in machines if not up(m)]
        time.sleep(0.2)
    yield machines


def up(machine):
    return "Ray runtime started" in (SHARED / f"{machine.name}.log").read_text()


class Pfbench:
    """`pfbench run` on the first machine."""

    def __init__(self, head, *arguments):
        code = f"import sys; sys.path.insert(0, {str(TOP)!r}); from harness.cli import main; main()"
        self.began = time.monotonic()
        self.log = SHARED / "pfbench.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [
                    *head.enter(),
                    sys.executable,
                    "-c",
                    code,
                    "run",
                    "--address",
                    ADDRESS,
                    *arguments,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, *words, lines=1):
        """Until so many lines hold all the words."""
        while self.process.poll() is None:
            said = self.log.read_text().splitlines()
            if sum(all(word in line for word in words) for line in said) >= lines:
                return
            assert time.monotonic() - self.began < PATIENCE_S, said
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def end(self):
        code = self.process.wait(PATIENCE_S)
        seconds = round(time.monotonic() - self.began)
        return {"code": code, "said": self.log.read_text(), "seconds": seconds}


def killed_midway(*arguments):
    """Table 5, with the second machine killed while its first trial, a long one, is under way."""
    with cluster() as machines:
        run = Pfbench(machines[0], *arguments, "--out", str(SHARED / "out"))
        run.wait_for("started on node-2")
        [line] = [x for x in run.log.read_text().splitlines() if "started on node-2" in x]
        name = line.partition("started on")[0].strip()
        run.wait_for(name, "epoch 2/")
        machines[1].kill()
        return {"killed": name, **run.end()}


def refused(*arguments):
    """An output folder that the first machine has to itself."""
    with cluster() as machines:
        return Pfbench(machines[0], *arguments, "--out", "/tmp/out").end()


if __name__ == "__main__":
    sh(f"mount --bind '{sys.argv[1]}' {SHARED}")
    print(json.dumps(globals()[sys.argv[2]](*sys.argv[3:])))
