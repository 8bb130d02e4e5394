"""The wheel in an empty environment, built and installed as `deploy/Dockerfile` does.

It runs outside of the checkout, as a user who owns nothing, on a root that cannot be written.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest
from support.hang import HANG_SECONDS
from support.read_only_root import NOBODY, beside, inside
from support.redis_servers import Process, until
from support.tcp_proxy import ReservedPort

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MIB = 2**20
PUBLIC = "/var/tmp"  # noqa: S108 - pytest's own folders are for its user only

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount"),
]


def run(*command):
    subprocess.run(command, check=True, cwd="/", timeout=1200)  # noqa: S603 - programs of the tests


def size(folder):
    """Bytes of all files."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


class Installed:
    """An environment that has the wheel, and what it needs, and nothing else."""

    def __init__(self, folder):
        self.folder = folder
        self.writable = folder / "writable"
        self.writable.mkdir()
        self.environ = {"PATH": f"{folder}/venv/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
        self.environ |= {"TMPDIR": str(self.writable), "PYTHONUNBUFFERED": "1"}
        run(sys.executable, "-m", "venv", folder / "build")
        run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
        self._install("build", "--require-hashes", "-r", DEPLOY / "requirements-build.txt")
        built = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
        run(folder / "build/bin/pip", *built)
        (self.wheel,) = folder.glob("ws_bridge-*.whl")
        binary = ("--only-binary", ":all:", "--no-compile")
        self._install("venv", *binary, "--require-hashes", "-r", DEPLOY / "requirements.txt")
        self._install("venv", *binary, "--no-deps", self.wheel)
        compiled = ("-q", "-j", "2", "--invalidation-mode", "unchecked-hash", folder / "venv/lib")
        run(folder / "venv/bin/python", "-m", "compileall", *compiled)

    def _install(self, environment, *arguments):
        python = ("--python", self.folder / environment / "bin/python")
        quiet = ("--quiet", "--disable-pip-version-check", "--no-cache-dir")
        run(self.folder / "build/bin/pip", *python, "install", *quiet, *arguments)

    @property
    def program(self):
        return str(self.folder / "venv/bin/ws-bridge")


@pytest.fixture(scope="module")
def installed():
    folder = Path(tempfile.mkdtemp(prefix="wheel-", dir=PUBLIC))
    folder.chmod(0o755)
    try:
        yield Installed(folder)
    finally:
        shutil.rmtree(folder)


class Served:
    """`ws-bridge serve` there; ``start`` is a script in its place, which gets the port as `$0`."""

    def __init__(self, installed, start='exec ws-bridge serve --port "$0"', **variables):
        self.environ = installed.environ | variables
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self._installed = installed
        self._log = installed.folder / f"log-{self.port}"
        command = ["sh", "-c", start, str(self.port)]
        self.began = time.monotonic()
        self.process = Process(inside(installed.writable, command), self._log, environ=self.environ)

    def __enter__(self):
        until(self._is_ready, "it is ready")
        self.ready_after = time.monotonic() - self.began
        self.ready_cpu = self.cpu_seconds()
        return self

    def __exit__(self, *_):
        sys.stdout.write(self.log())
        self.process.end()
        self._reserved.release()

    def log(self):
        return self._log.read_text()

    def get(self, path):
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=HANG_SECONDS) as answer:
            return answer.read().decode()

    def _is_ready(self):
        assert self.process.exit_code is None, self.log()
        try:
            return self.get("/readyz")
        except OSError:
            return False

    def command(self, *arguments, **options):
        """`ws-bridge` once more, beside the server."""
        command = [self._installed.program, *arguments]
        return beside(self.process.pid, command, self.environ, timeout=HANG_SECONDS, **options)

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) // 1024


def figures(installed, served):
    """Sizes, the start and the memory, in a line."""
    sizes = (installed.wheel.stat().st_size // 1024, size(installed.folder / "venv") // MIB)
    start = (served.ready_after, served.ready_cpu, served.resident_mib())
    return "\n  wheel {} KiB, environment {} MiB, ".format(
        *sizes
    ) + "ready after {:.1f} s ({:.1f} s of CPU), resident {} MiB".format(*start)


def test_it_serves_chats_and_reloads_as_nobody_where_one_folder_can_be_written(installed, capsys):
    control = str(installed.writable / "control")
    with Served(installed, WS_BRIDGE__SERVER__CONTROL_SOCKET=control) as served:
        status = Path(f"/proc/{served.process.pid}/status").read_text()
        assert f"Uid:\t{NOBODY}\t{NOBODY}" in status
        shown = re.search(r"^configuration: the models of (\S+) \(", served.log(), re.MULTILINE)
        package = next(installed.folder.glob("venv/lib/*/site-packages/ws_bridge"))
        assert shown[1] == str(package / "config.toml")
        assert "model gpt-*: off (OPENAI_API_KEY is not set)" in served.log()
        assert "<title>" in served.get("/")

        script = f"echo no > {package}/new || touch {installed.folder}/new || touch /new"
        refused = beside(served.process.pid, ["sh", "-c", script], served.environ)
        assert refused.returncode != 0
        assert refused.stderr.count("Read-only file system") == 3

        url = f"ws://127.0.0.1:{served.port}/v1/responses"
        talked = served.command("chat", "--url", url, input="hello there\n")
        assert talked.returncode == 0, talked.stderr
        assert "hello there" in talked.stdout

        reloaded = served.command("reload", "--socket", control)
        assert (reloaded.stdout, reloaded.stderr) == ("reloaded generation=2\n", "")
        with capsys.disabled():
            print(figures(installed, served))  # noqa: T201 - for docs/operations.md
        assert served.process.terminate() == 0


def test_a_file_that_init_has_written_is_served_and_reloaded(installed):
    """All of it happens in the folder that can be written."""
    path, control = str(installed.writable / "config.toml"), str(installed.writable / "control")
    start = f'ws-bridge init {path} && exec ws-bridge serve --config {path} --port "$0"'
    with Served(installed, start=start, WS_BRIDGE__SERVER__CONTROL_SOCKET=control) as served:
        assert f"configuration: {path}, and " in served.log()
        more = f'printf \'[[models]]\\nname = "second"\\nmodel = "demo/demo"\\n\' >> {path}'
        assert beside(served.process.pid, ["sh", "-c", more], served.environ).returncode == 0
        reloaded = served.command("reload", "--config", path)
        assert (reloaded.stdout, reloaded.stderr) == ("reloaded generation=2\n", "")
        assert '"second"' in served.get("/v1/models")
        assert served.process.terminate() == 0
