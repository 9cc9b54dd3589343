"""Real Elasticsearch nodes for tests and benchmarks, from the distribution that lies in Maven Central.

::

    cluster = nodes.start("8.19.8")            one node, no security
    cluster = nodes.start("9.2.8", nodes=3)    a cluster with replicas
    cluster.urls; cluster.kill(1); cluster.restart(1); cluster.stop()

A cluster lives in one folder. Whoever uses it holds a shared lock on ``users`` in there; a guard process waits for the
exclusive one, so when the last user is gone (``kill -9`` included) the nodes are killed by their process group and the
folder removed. ``shared`` gives all processes of a test run one cluster.

The distribution has no ``GET /``, no ILM, painless, reindex, ``wildcard`` type, or API keys that are stored.
"""

from __future__ import annotations

import base64
import fcntl
import functools
import hashlib
import json
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ARTIFACT = "org.elasticsearch.distribution.integ-test-zip:elasticsearch:{}:zip"
JAVA = {"8.19.8": 17, "9.2.8": 21}
"""Versions that are tested, and the oldest Java that each runs on."""
READY_SECONDS = 180.0
_NOBODY = "nobody"


class Missing(Exception):
    """Why there can be no node here."""


# What a node is made of.


def cache() -> Path:
    """Where distributions are kept between runs; readable by the user that runs the nodes."""
    named = os.environ.get("JIANMEN_TEST_NODES")
    root = Path(named) if named else Path(tempfile.gettempdir()) / f"jianmen-nodes-{os.getuid()}"
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    return root


def _room(fast_start: bool) -> Path:
    """Where clusters live: in memory if there is enough, for every change of a cluster's state is synced to disk."""
    memory = Path("/dev/shm")
    named = os.environ.get("JIANMEN_TEST_NODES")
    if named or not fast_start or not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < 4 << 30:
        return cache()
    root = memory / cache().name
    root.mkdir(mode=0o755, exist_ok=True)
    return root


def _java_homes() -> Iterator[Path]:
    for name in ("JIANMEN_TEST_JAVA_HOME", "JAVA_HOME"):
        if os.environ.get(name):
            yield Path(os.environ[name])
    for folder in ("/usr/lib/jvm", "/opt"):
        if Path(folder).is_dir():
            yield from sorted(Path(folder).iterdir())
    found = shutil.which("java")
    if found:
        yield Path(found).resolve().parent.parent


@functools.cache
def _java_version(home: Path) -> int:
    try:
        output = subprocess.run(
            [home / "bin" / "java", "-version"], capture_output=True, text=True, timeout=60, check=True
        ).stderr
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r'version "(\d+)', output)
    return int(match[1]) if match else 0


@functools.cache
def java_home(oldest: int) -> Path | None:
    """The oldest Java here that is not older than ``oldest``."""
    known = {home.resolve(): _java_version(home) for home in _java_homes() if (home / "bin" / "java").is_file()}
    fitting = [(version, str(home)) for home, version in known.items() if version >= oldest]
    return Path(min(fitting)[1]) if fitting else None


@functools.cache
def distribution(version: str) -> Path:
    """The unpacked distribution.

    Raises:
        Missing: It is not here and cannot be had.
    """
    target = cache() / f"elasticsearch-{version}"
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            return target
        maven = shutil.which("mvn")
        if maven is None:
            raise Missing("mvn is not installed, which fetches the Elasticsearch distribution")
        with tempfile.TemporaryDirectory(dir=cache()) as work:
            command = [maven, "-B", "-q", "dependency:copy", f"-Dartifact={ARTIFACT.format(version)}"]
            command += [f"-DoutputDirectory={work}"]
            try:
                subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=900, check=True)
            except subprocess.SubprocessError as error:
                said = str(getattr(error, "stdout", "") or error)
                raise Missing(f"Elasticsearch {version} cannot be fetched: {said[-300:]}") from None
            with zipfile.ZipFile(next(Path(work).glob("*.zip"))) as packed:
                packed.extractall(work)
            unpacked = Path(work) / f"elasticsearch-{version}"
            for path in (unpacked, *unpacked.rglob("*")):
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
            unpacked.rename(target)
    return target


def excused(version: str) -> bool:
    """Whether even CI may leave ``version`` out: it needs a newer Java than the system has to offer."""
    return JAVA[version] > 17 and java_home(JAVA[version]) is None


def missing(version: str) -> str | None:
    """Why ``version`` cannot be started here; None if it can."""
    oldest = JAVA[version]
    if java_home(oldest) is None:
        return f"Elasticsearch {version} needs Java {oldest} or newer, and there is none"
    try:
        distribution(version)
    except Missing as error:
        return str(error)
    return None


def hashed(password: str) -> str:
    """A password as Elasticsearch's file realm keeps it (PBKDF2 with SHA-512)."""
    salt = secrets.token_bytes(32)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 10_000, 32)
    return "{PBKDF2}10000$" + "$".join(base64.b64encode(part).decode() for part in (salt, digest))


# A cluster.


@dataclass(slots=True)
class _Node:
    folder: Path
    http: int
    process: subprocess.Popen[bytes] | None = None


@dataclass(slots=True)
class Cluster:
    """Nodes that run. ``stop`` ends them; so does the end of the process that started them."""

    version: str
    folder: Path
    urls: list[str]
    ca: Path | None = None
    """Certificate of the authority that signed the nodes' certificate, with ``tls``."""
    user: tuple[str, str] | None = None
    """The superuser, with ``security``."""
    _nodes: list[_Node] = field(default_factory=list)
    _users: int = -1
    _guard: subprocess.Popen[bytes] | None = None
    _common: bool = False

    @property
    def url(self) -> str:
        """The first node."""
        return self.urls[0]

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        node: int = 0,
        user: tuple[str, str] | None = None,
        timeout: float = 60,
    ) -> tuple[int, object]:
        """One request, as plain as it gets: status and decoded answer."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.urls[node] + path, data=data, method=method)  # noqa: S310
        kind = "application/x-ndjson" if isinstance(body, bytes) else "application/json"
        request.add_header("Content-Type", kind)
        account = user or self.user
        if account:
            request.add_header("Authorization", "Basic " + base64.b64encode(":".join(account).encode()).decode())
        context = ssl.create_default_context(cafile=str(self.ca)) if self.ca else None
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:  # noqa: S310
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode("utf-8", "replace")

    def kill(self, number: int = 0, how: signal.Signals = signal.SIGKILL) -> None:
        """End a node, by default without a chance to tidy up."""
        node = self._nodes[number]
        _end(node.folder, how)
        if node.process is not None:
            node.process.wait(60)
        for _ in range(600):  # the last threads of a killed process may still hold its sockets
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", node.http)):
                    return
            time.sleep(0.1)

    def pause(self, number: int = 0) -> None:
        """Let a node hang: its connections stay, nothing answers."""
        _signal(self._nodes[number].folder, signal.SIGSTOP)

    def resume(self, number: int = 0) -> None:
        """Let a node that hangs go on."""
        _signal(self._nodes[number].folder, signal.SIGCONT)

    def restart(self, number: int = 0) -> None:
        """Start a node again on its data and its address; returns when it answers."""
        self._nodes[number].process = _launch(self._nodes[number].folder, self.version)
        self.wait(number, nodes=1)

    def wait(self, number: int = 0, *, nodes: int | None = None) -> None:
        """Wait until a node answers and sees as many nodes as the cluster has (or ``nodes`` at least)."""
        node = self._nodes[number]
        ends = time.monotonic() + READY_SECONDS
        wanted = nodes or len(self._nodes)
        said: object = None
        while time.monotonic() < ends:
            if node.process is not None and node.process.poll() is not None:
                raise RuntimeError(f"the node ended: {_last_words(node.folder)}")
            with suppress(OSError):
                status, said = self.request(
                    "GET",
                    f"/_cluster/health?wait_for_nodes=%3E%3D{wanted}&wait_for_status=yellow&timeout=5s",
                    node=number,
                )
                if status == 200:
                    return
            time.sleep(0.2)
        raise RuntimeError(f"the node is not ready: {said or _last_words(node.folder)}")

    def stop(self) -> None:
        """End all nodes (of a shared cluster only when nobody else uses it)."""
        if self._users < 0:
            return
        os.close(self._users)
        self._users = -1
        if self._common:  # others may go on using it: the processes are not ours to wait for
            for process in (self._guard, *(node.process for node in self._nodes)):
                if process is not None:
                    process.returncode = 0
            return
        if self._guard is not None:
            self._guard.wait(120)
        for node in self._nodes:
            if node.process is not None:
                node.process.wait(60)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    version: str = "8.19.8",
    nodes: int = 1,
    *,
    security: bool = False,
    tls: bool = False,
    settings: Mapping[str, object] | None = None,
    roles: str = "",
    users: Mapping[str, tuple[str, Sequence[str]]] | None = None,
    heap: str = "512m",
    fast_start: bool = True,
) -> Cluster:
    """Start a cluster of our own.

    Args:
        version: One of ``JAVA``.
        nodes: How many.
        security: With users (file realm); the superuser is ``Cluster.user``.
        tls: HTTP over TLS with a certificate for 127.0.0.1 and localhost; ``Cluster.ca`` is its authority.
        settings: More settings of all nodes.
        roles: Content of ``roles.yml``.
        users: More users: name to password and roles.
        heap: Of each node.
        fast_start: Compile little and keep data in memory: ready in half the time, but slow under load and no
            measure of a disk. Benchmarks say False.

    Raises:
        Missing: Java or the distribution is not here.
        RuntimeError: A node does not come up.
    """
    reason = missing(version)
    if reason:
        raise Missing(reason)
    folder = Path(tempfile.mkdtemp(prefix="cluster-", dir=_room(fast_start)))
    return _start(
        folder,
        version,
        nodes,
        security,
        tls,
        dict(settings or {}),
        roles,
        dict(users or {}),
        _options(heap, fast_start),
    )


def _start(
    folder: Path,
    version: str,
    nodes: int,
    security: bool,
    tls: bool,
    settings: dict[str, object],
    roles: str,
    users: dict[str, tuple[str, Sequence[str]]],
    jvm: Sequence[str],
) -> Cluster:
    folder.chmod(0o755)
    lock = os.open(folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    ports = _free_ports(2 * nodes)
    http, transport = ports[:nodes], ports[nodes:]
    scheme = "https" if tls else "http"
    cluster = Cluster(version, folder, [f"{scheme}://127.0.0.1:{port}" for port in http], _users=lock)
    cluster._guard = subprocess.Popen(
        [sys.executable, "-I", __file__, "guard", folder], start_new_session=True, stdin=subprocess.DEVNULL
    )
    try:
        if security:
            cluster.user = ("root", secrets.token_hex(16))
            users = {**users, "root": (cluster.user[1], ["superuser"])}
        if tls:
            cluster.ca = _certificates(folder)
        common: dict[str, object] = {
            "cluster.name": folder.name,
            "network.host": "127.0.0.1",
            "xpack.security.enabled": security,
            "cluster.routing.allocation.disk.threshold_enabled": False,
            "node.store.allow_mmap": False,
            "action.destructive_requires_name": False,
        }
        if security:
            common["xpack.security.authc.password_hashing.algorithm"] = "pbkdf2"
            common["xpack.security.transport.ssl.enabled"] = False
        if nodes == 1:
            common["discovery.type"] = "single-node"
        else:
            common["discovery.seed_hosts"] = [f"127.0.0.1:{port}" for port in transport]
            common["cluster.initial_master_nodes"] = [f"node-{n}" for n in range(nodes)]
        for number in range(nodes):
            own = {
                "node.name": f"node-{number}",
                "http.port": http[number],
                "transport.port": transport[number],
                **common,
                **settings,
            }
            node = _Node(folder / f"node-{number}", http[number])
            _prepare(node.folder, version, own, roles, users, jvm, folder if tls else None)
            cluster._nodes.append(node)
            node.process = _launch(node.folder, version)
        for number in range(nodes):
            cluster.wait(number)
    except BaseException:
        cluster.stop()
        raise
    return cluster


def shared(version: str, folder: Path) -> Cluster:
    """One node for all processes of a test run; the first one starts it, the last one's end stops it.

    Args:
        version: One of ``JAVA``.
        folder: Common to all of them: tells which run it is.
    """
    reason = missing(version)
    if reason:
        raise Missing(reason)
    place = _room(True) / f"shared-{version}-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    with (cache() / "shared").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        note = place / "urls"
        for _ in range(600):
            if not place.exists():
                break
            with suppress(FileNotFoundError):
                users = os.open(place / "users", os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    return Cluster(version, place, json.loads(note.read_text()), _users=users, _common=True)
                except (BlockingIOError, FileNotFoundError):
                    os.close(users)  # the guard is just clearing it away
            time.sleep(0.1)
        place.mkdir(mode=0o755)
        cluster = _start(place, version, 1, False, False, {}, "", {}, _options("512m", True))
        note.write_text(json.dumps(cluster.urls))
        cluster._common = True
        return cluster


def _options(heap: str, fast_start: bool) -> list[str]:
    """Options of a node's virtual machine; two cores are all that tests have, compiling takes both."""
    return [f"-Xms{heap}", f"-Xmx{heap}", *(["-XX:TieredStopAtLevel=1"] if fast_start else [])]


def _free_ports(count: int) -> list[int]:
    """Ports below those that the system gives to clients, so that a node finds its own again after a restart."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


def _owner() -> tuple[int, int] | None:
    """Whom the nodes run as: Elasticsearch refuses to be root."""
    if os.getuid():
        return None
    entry = pwd.getpwnam(_NOBODY)
    return entry.pw_uid, entry.pw_gid


def _prepare(
    folder: Path,
    version: str,
    settings: Mapping[str, object],
    roles: str,
    users: Mapping[str, tuple[str, Sequence[str]]],
    jvm: Sequence[str],
    tls: Path | None,
) -> None:
    config = folder / "config"
    shutil.copytree(distribution(version) / "config", config)
    for name in ("data", "logs", "tmp"):
        (folder / name).mkdir()
    own = {**settings, "path.data": str(folder / "data"), "path.logs": str(folder / "logs")}
    if tls:
        for name in ("node.crt", "node.key", "ca.crt"):
            shutil.copy(tls / name, config / name)
        own["xpack.security.http.ssl.enabled"] = True
        own["xpack.security.http.ssl.key"] = "node.key"
        own["xpack.security.http.ssl.certificate"] = "node.crt"
        own["xpack.security.http.ssl.certificate_authorities"] = ["ca.crt"]
    # JSON is YAML
    (config / "elasticsearch.yml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in own.items()))
    (config / "jvm.options.d" / "ours.options").write_text("\n".join(jvm) + "\n")
    if roles:
        (config / "roles.yml").write_text(roles)
    if users:
        (config / "users").write_text("".join(f"{name}:{hashed(word)}\n" for name, (word, _) in users.items()))
        by_role: dict[str, list[str]] = {}
        for name, (_, held) in users.items():
            for role in held:
                by_role.setdefault(role, []).append(name)
        (config / "users_roles").write_text("".join(f"{role}:{','.join(who)}\n" for role, who in by_role.items()))
    owner = _owner()
    if owner:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, *owner)


def _launch(folder: Path, version: str) -> subprocess.Popen[bytes]:
    home = java_home(JAVA[version])
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "ES_JAVA_HOME": str(home),
        "ES_PATH_CONF": str(folder / "config"),
        "ES_TMPDIR": str(folder / "tmp"),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        # the launcher's own machine, which only waits
        "CLI_JAVA_OPTS": "-Xms16m -Xmx64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    }
    owner = _owner()
    who = {"user": owner[0], "group": owner[1], "extra_groups": []} if owner else {}
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            [distribution(version) / "bin" / "elasticsearch"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **who,
        )
    (folder / "pid").write_text(str(process.pid))
    return process


def _members(folder: Path) -> list[int]:
    """Processes of a node: those of its session that have its folder in their environment or command."""
    try:
        leader = int((folder / "pid").read_text())
    except (OSError, ValueError):
        return []
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) == leader and fields[0] != "Z" and str(folder).encode() in _words(entry):
                found.append(int(entry.name))
    return found


def _words(entry: Path) -> bytes:
    with suppress(OSError):
        return (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
    return (entry / "cmdline").read_bytes()


def _signal(folder: Path, how: signal.Signals) -> None:
    for pid in _members(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, how)


def _end(folder: Path, how: signal.Signals) -> None:
    """Signal a node's processes and wait until they are gone; kill them at last."""
    ends = time.monotonic() + 60
    _signal(folder, how)
    while _members(folder):
        if how == signal.SIGKILL or time.monotonic() > ends:
            _signal(folder, signal.SIGKILL)
        time.sleep(0.05)


def _last_words(folder: Path) -> str:
    with suppress(OSError):
        return (folder / "output").read_text(errors="replace")[-2_000:]
    return ""


def _certificates(folder: Path) -> Path:
    """An authority and a certificate for 127.0.0.1 that it signed."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.crt", "-days", "30", "-subj", "/CN=Test CA")
    openssl("req", *new, "-keyout", "node.key", "-out", "node.csr", "-subj", "/CN=node")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl(
        *("x509", "-req", "-in", "node.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
        *("-out", "node.crt", "-days", "30", "-extfile", "names"),
    )
    return folder / "ca.crt"


@contextmanager
def _quiet() -> Iterator[None]:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    yield


def _guarded(folder: Path) -> None:
    """Wait until nobody uses the cluster, then end its nodes and remove its folder."""
    with _quiet():
        lock = os.open(folder / "users", os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        for node in folder.glob("node-*"):
            if node.is_dir():
                _end(node, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1] == "guard":
        _guarded(Path(sys.argv[2]))
    elif sys.argv[1] == "java":  # python tests/store/nodes.py java 21: where one is that is new enough
        home = java_home(int(sys.argv[2]))
        print(home or "none")
        sys.exit(home is None)
    else:  # python tests/store/nodes.py VERSION...: fetch what tests need
        for wanted in sys.argv[1:]:
            print(f"Elasticsearch {wanted}: {missing(wanted) or 'ready'}")
