"""The image, Compose and Kubernetes: their schemas, and the bridge's own times, ports and paths.

No engine and no cluster runs here: what they would do with these files is not tested.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ws_bridge.config import Config, load

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "k8s"
SERVER = Config().server
GRACE = 10  # seconds for closes and last writes, as docs/operations.md has it
SUM = SERVER.lame_duck_seconds + SERVER.drain_seconds + GRACE
UID = 10001
SECRETS = "/run/secrets/"
CONFIGS = (DEPLOY / "config.toml", KUBERNETES / "config.toml")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def document(name):
    return yaml.safe_load((KUBERNETES / name).read_text(encoding="utf-8"))


@pytest.fixture
def pod():
    return document("deployment.yaml")["spec"]["template"]["spec"]


def settings(path, folder):
    """What a server reads of the file, with secrets of the test."""
    text = path.read_text(encoding="utf-8")
    for name in secrets_of(path):
        folder.joinpath(name).write_text("a-secret-of-the-test")
    copy = folder / "config.toml"
    copy.write_text(text.replace(SECRETS, f"{folder}/"))
    return load(copy, {})


def secrets_of(path):
    return set(re.findall(rf"{SECRETS}([\w-]+)", path.read_text(encoding="utf-8")))


def check(program, *arguments):
    command = [str(Path(sys.executable).with_name(program)), *map(str, arguments)]
    subprocess.run(command, check=True)  # noqa: S603 - of this environment


def test_compose_has_its_schema():
    check("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


@pytest.mark.parametrize("name", ["deployment.yaml", "service.yaml", "pod-disruption-budget.yaml"])
def test_kubernetes_resources_have_their_schemas(name):
    """Of an older release and of a newer one."""
    for release in ("1.27", "1.37"):
        check("kubernetes-validate", "--strict", "-k", release, KUBERNETES / name)


def test_kustomize_has_every_file_and_nothing_else():
    page = document("kustomization.yaml")
    (made,) = page["configMapGenerator"]
    files = {*page["resources"], *made["files"], "kustomization.yaml"}
    assert files == {path.name for path in KUBERNETES.iterdir()}


def test_labels_lead_from_service_and_budget_to_the_pods():
    deployment = document("deployment.yaml")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert document("service.yaml")["spec"]["selector"] == labels
    assert document("pod-disruption-budget.yaml")["spec"]["selector"]["matchLabels"] == labels


@pytest.mark.parametrize("path", CONFIGS, ids=["compose", "kubernetes"])
def test_the_configurations_are_ones_that_a_server_takes(path, tmp_path):
    config = settings(path, tmp_path).config
    assert (config.server.listen, config.metrics.listen) == (("0.0.0.0:8787",), "0.0.0.0:9464")
    assert config.server.workers == 2
    assert {entry.name for entry in config.models} == {"demo", "gpt-*", "claude-*"}


def test_compose_and_kubernetes_have_one_configuration():
    first, second = (
        [line.partition("#")[0].rstrip() for line in path.read_text(encoding="utf-8").splitlines()]
        for path in CONFIGS
    )
    assert first == second


def test_everything_waits_for_lame_duck_drain_and_grace(pod):
    assert SUM == 75
    assert pod["terminationGracePeriodSeconds"] == SUM
    assert COMPOSE["x-bridge"]["stop_grace_period"] == f"{SUM:g}s"
    assert f"docker stop -t {SUM:g}" in DOCKERFILE
    unit = (DEPLOY / "ws-bridge.service").read_text(encoding="utf-8")
    assert f"\nTimeoutStopSec={SUM:g}\n" in unit


def test_whoever_looks_sees_a_server_leave_within_the_lame_duck(pod):
    (container,) = pod["containers"]
    probe = container["readinessProbe"]
    seconds = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    assert seconds < SERVER.lame_duck_seconds
    for file in ("haproxy.cfg", "Caddyfile"):
        text = (DEPLOY / file).read_text(encoding="ascii")
        (every,) = re.findall(r"(?: inter |health_interval )(\d+)s", text)
        assert int(every) * 2 < SERVER.lame_duck_seconds
    nginx = (DEPLOY / "nginx.conf").read_text(encoding="ascii")
    assert f"client_max_body_size {SERVER.max_message_mib}m;" in nginx


def test_probes_ask_what_they_are_for(pod):
    (container,) = pod["containers"]
    asked = {
        name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")
    }
    assert {name: one["path"] for name, one in asked.items()} == {
        "startup": "/readyz",
        "readiness": "/readyz",
        "liveness": "/healthz",
    }
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8787, "metrics": 9464}
    assert {one["port"] for one in asked.values()} == {"http"}


def test_nobody_is_root_and_no_root_can_be_written(pod):
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsUser"] == UID
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert COMPOSE["x-bridge"]["read_only"] is True
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == [f"{UID}:{UID}"]
    assert f"--uid {UID} " in DOCKERFILE


def test_every_folder_that_is_written_is_there(pod, tmp_path):
    """Temporary files, the control socket, and the numbers of workers."""
    (container,) = pod["containers"]
    empty = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
    places = {each["mountPath"] for each in container["volumeMounts"] if each["name"] in empty}
    assert places == {"/tmp", "/dev/shm"}  # noqa: S108 - of the container
    for path in CONFIGS:
        assert settings(path, tmp_path).config.server.control_socket == "/tmp/control"  # noqa: S108
    assert COMPOSE["x-bridge"]["tmpfs"] == ["/tmp:size=256m,mode=1777"]  # noqa: S108


def test_every_secret_of_a_configuration_is_mounted(pod):
    assert secrets_of(CONFIGS[0]) == set(COMPOSE["x-bridge"]["secrets"]) == set(COMPOSE["secrets"])
    (container,) = pod["containers"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts["secrets"] + "/" == SECRETS
    head = (KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8")
    assert all(f"--from-literal={name}=" in head for name in secrets_of(CONFIGS[1]))


def test_every_file_that_compose_mounts_is_there():
    for one in COMPOSE["configs"].values():
        assert "content" in one or (DEPLOY / one["file"]).is_file(), one
    used = {each["source"] for each in COMPOSE["x-bridge"]["configs"]}
    for service in COMPOSE["services"].values():
        used |= {each["source"] for each in service.get("configs", ())}
    assert used == set(COMPOSE["configs"])


def test_the_image_is_made_of_files_that_are_there_and_sent_to_the_engine():
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line.removeprefix("!") for line in sent if line.startswith("!")} == names
    assert all((ROOT / name).exists() for name in names)
    assert "--require-hashes -r deploy/requirements.txt" in DOCKERFILE
