"""What is under deploy/ is valid by its own tools and says only what the program understands.

Each file is checked twice: against its format (systemd-analyze, the Kubernetes schemas), and against the program:
flags, variables, settings named in comments, ports, paths, deadlines, exit codes, metric names.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from streamae.alerting import alerter, identity
from streamae.alerting.alert import Cause, SeverityClass
from streamae.alerting.owners import Owners
from streamae.alerting.receivers.alertmanager import labels_of
from streamae.alerting.routing import Routing
from streamae.cli import build_parser, split_settings
from streamae.daemon import health, service
from streamae.episode_changes import ChangeKind
from streamae.errors import ExitCode
from streamae.observe.alert_metrics import AlertMetrics
from streamae.observe.telemetry import (
    CHECKPOINT_OUTCOMES,
    KEY_STATES,
    PARTITION_STATES,
    REBALANCES,
    TRANSACTION_OUTCOMES,
    Telemetry,
)
from streamae.reasons import STARTS, Reason
from streamae.settings.alerts import AlertSettings
from streamae.settings.delivery import ReceiverSettings
from streamae.settings.serving import ServiceSettings
from streamae.settings.sources import load_settings
from streamae.settings.tree import FIELDS, SETTING_NAMES, Settings
from tests.conftest import run_tool

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "streamae.service"
ALERT_UNIT = DEPLOY / "systemd" / "streamae-alert.service"
GPU = DEPLOY / "systemd" / "gpu.conf"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
ALERTMANAGER = DEPLOY / "alertmanager" / "alertmanager.yml"
MANIFESTS = sorted(path for path in (DEPLOY / "k8s").glob("*.yaml") if path.name != "kustomization.yaml")
DEFAULTS = ServiceSettings()
MAX_EXPOSURE = 20  # tenths of systemd's 0 (locked in) to 10 (wide open)

VARIABLE = re.compile(r"\bSTREAMAE_\w+")
SETTING = re.compile(rf"(?<![\w./-])(?:{'|'.join(Settings.model_fields)})\.(?!yaml\b)[a-z_]+\b(?!\.\w)")
ADDRESS_PATHS = re.compile(r"(?<=[\s:/\d\"])/(?:livez|readyz|metrics|health\w*|ready|live)\b")


def text_of(path: Path) -> str:
    """Return a file's text."""
    return path.read_text(encoding="utf-8")


def own(cause: Cause) -> dict[str, str]:
    """Return the labels of an alert of our own, as Alertmanager knows it."""
    alert = identity.own_alert(cause, "", 0, name="streamae")
    return labels_of(alert, alert.severity)


def by_name(paths: list[Path]) -> Any:
    """Parametrise over files, failures named by path."""
    return pytest.mark.parametrize("path", paths, ids=[str(path.relative_to(DEPLOY)) for path in paths])


# systemd


def unit_values(text: str) -> dict[str, list[str]]:
    """Return the assignments of a unit file by key, in order; comments are left out."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values.setdefault(key, []).append(value)
    return values


def seconds(span: str) -> int:
    """Read `45s` as systemd and Compose write it."""
    match = re.fullmatch(r"(\d+)s", span)
    assert match, f"write seconds as 45s, not {span}"
    return int(match[1])


def analyze(folder: Path, unit: str, drop_in: str | None, *command: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze over a unit whose program is a stand-in, since nothing is installed here."""
    path = folder / "streamae.service"  # systemd-analyze looks for drop-ins beside it
    path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit, flags=re.MULTILINE), encoding="utf-8")
    if drop_in is not None:
        (folder / "streamae.service.d").mkdir(exist_ok=True)
        (folder / "streamae.service.d" / "gpu.conf").write_text(drop_in, encoding="utf-8")
    return subprocess.run(
        ["systemd-analyze", *command, str(path)], capture_output=True, text=True, timeout=60, check=False
    )


def is_valid_unit(folder: Path, unit: str, drop_in: str | None = None) -> bool:
    """Tell whether systemd has nothing to say: it exits 0 for a misspelt key, but prints it."""
    done = analyze(folder, unit, drop_in, "verify", "--man=no")
    return done.returncode == 0 and not done.stderr.strip()


def is_hardened(folder: Path, unit: str, drop_in: str | None = None) -> bool:
    """Tell whether systemd rates the exposure as low."""
    done = analyze(folder, unit, drop_in, "security", "--offline=yes", f"--threshold={MAX_EXPOSURE}", "--no-pager")
    return done.returncode == 0


@pytest.mark.parametrize(
    ("unit", "drop_in"), [(UNIT, None), (UNIT, GPU), (ALERT_UNIT, None)], ids=["cpu", "gpu", "alert"]
)
def test_unit_is_valid_and_hardened(tmp_path: Path, unit: Path, drop_in: Path | None) -> None:
    """systemd accepts every line of a unit, with and without the GPU drop-in, and rates its exposure as low."""
    extra = None if drop_in is None else text_of(drop_in)
    assert is_valid_unit(tmp_path, text_of(unit), extra)
    assert is_hardened(tmp_path, text_of(unit), extra)


def test_credentials_are_named_where_systemd_puts_them() -> None:
    """A secret that the unit of alerts offers to load has the name under which its comments have the settings find it."""
    text = text_of(ALERT_UNIT)
    assert set(re.findall(r"^#   (\w+) = \"/run/credentials", text, re.MULTILINE)) == {"routing_key_file"}
    assert "routing_key_file" in ReceiverSettings.model_fields
    loaded = set(re.findall(r"^#?LoadCredential=([\w-]+):", text, re.MULTILINE))
    named = set(re.findall(rf"/run/credentials/{ALERT_UNIT.name}/([\w-]+)", text))
    named |= set(re.findall(r"=%d/([\w-]+)", text))
    assert named <= loaded
    assert {"pagerduty-key", "redis-password", "sasl-password"} <= named


def test_unit_of_alerts_fits_the_program() -> None:
    """It is supervised like the daemon, waits longer than a drain takes, and promises no reload: there is none."""
    values, daemon = unit_values(text_of(ALERT_UNIT)), unit_values(text_of(UNIT))
    same = ("Type", "NotifyAccess", "Restart", "RestartPreventExitStatus", "TimeoutStopSec", "WatchdogSec")
    assert {name: values[name] for name in same} == {name: daemon[name] for name in same}
    assert "ExecReload" not in values
    assert signal.SIGHUP not in alerter.STOPS
    assert alerter.STOPS == service.STOP_SIGNALS
    assert seconds(values["TimeoutStartSec"][0]) * 1_000 > alerter.READY_GRACE_MS


@pytest.mark.parametrize(
    ("line", "worse"),
    [("WatchdogSec=30s", "WatchdogSecs=30s"), ("WatchdogSec=30s", "WatchdogSec=soon"), ("Type=notify", "Type=tell")],
)
def test_a_wrong_line_of_the_unit_is_noticed(tmp_path: Path, line: str, worse: str) -> None:
    """The validity check is no rubber stamp: a misspelt key and a wrong value both fail it."""
    assert line in text_of(UNIT)
    assert not is_valid_unit(tmp_path, text_of(UNIT).replace(line, worse))


def test_a_bare_unit_counts_as_exposed(tmp_path: Path) -> None:
    """The exposure check is no rubber stamp: without the hardening lines it fails."""
    bare, _, _ = text_of(UNIT).partition("DynamicUser=yes")
    assert not is_hardened(tmp_path, bare)


def test_unit_fits_the_program() -> None:
    """The supervisor waits for our notifications and longer than we drain, and asks for nothing we do not know."""
    values = unit_values(text_of(UNIT))
    assert values["Type"] == ["notify"]
    assert values["NotifyAccess"] == ["main"]
    assert values["Restart"] == ["on-failure"]
    assert values["MemoryDenyWriteExecute"] == ["no"]
    assert values["ProcSubset"] == ["all"]
    assert "KillSignal" not in values
    assert signal.SIGTERM in service.STOP_SIGNALS
    sent = re.fullmatch(r"/bin/kill -(\w+) \$MAINPID", values["ExecReload"][0])
    assert sent
    assert signal.Signals[f"SIG{sent[1]}"] in service.SIGNALS - service.STOP_SIGNALS
    drain = load_settings(DEPLOY / "systemd" / "streamae.example.toml", {}, {}).settings.service.drain_timeout_ms
    assert seconds(values["TimeoutStopSec"][0]) * 1_000 > drain
    assert seconds(values["WatchdogSec"][0]) * 1_000 <= DEFAULTS.stall_timeout_ms


def test_wrong_settings_stop_the_restarts(tmp_path: Path) -> None:
    """The status that `run` exits with for wrong settings is the one after which systemd gives up."""
    wrong = tmp_path / "streamae.toml"
    wrong.write_text("[kafka]\nno_such_setting = 1\n", encoding="utf-8")
    command = [sys.executable, "-m", "streamae", "run", "--config", str(wrong)]
    done = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == ExitCode.SETTINGS
    assert unit_values(text_of(UNIT))["RestartPreventExitStatus"] == [str(done.returncode)]
    assert "kafka.no_such_setting" in done.stdout + done.stderr


# Commands


def docker_json(name: str) -> list[str]:
    """Return the exec form of a Dockerfile instruction."""
    match = re.search(rf"^{name} (\[.*\])$", text_of(DEPLOY / "docker" / "Dockerfile"), re.MULTILINE)
    assert match, f"{name} in exec form"
    value: list[str] = json.loads(match[1])
    return value


def load_yaml(*parts: str) -> Any:
    """Return a YAML file below deploy/."""
    return yaml.safe_load(text_of(DEPLOY.joinpath(*parts)))


def container(manifest: str = "statefulset") -> dict[str, Any]:
    """Return the one container of the stateful set, or of the deployment."""
    (only,) = load_yaml("k8s", f"{manifest}.yaml")["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = only
    return found


def commands() -> dict[str, list[str]]:
    """Return the arguments that each deployment gives to `streamae`."""
    services = load_yaml("docker", "compose.yaml")["services"]
    return {
        "systemd": started_by(UNIT),
        "docker": docker_json("CMD"),
        "compose": services["streamae"]["command"],
        "k8s": container()["args"],
        "systemd alert": started_by(ALERT_UNIT),
        "compose alert": services["streamae-alert"]["command"],
        "k8s alert": container("alert-deployment")["args"],
    }


def started_by(unit: Path) -> list[str]:
    """Return the arguments that a unit gives to `streamae`."""
    program, *arguments = shlex.split(unit_values(text_of(unit))["ExecStart"][0])
    assert Path(program).name == "streamae"
    return arguments


@pytest.mark.parametrize("where", commands())
def test_command_lines_parse(where: str) -> None:
    """Every deployment starts a command, with flags, that the program's own parser accepts."""
    arguments, flags = split_settings(commands()[where])
    assert arguments[0] == ("alert" if where.endswith("alert") else "run")
    build_parser().parse_args(arguments)
    assert set(flags) <= set(SETTING_NAMES)


def test_image_starts_the_program_itself() -> None:
    """Process 1 is the console script, without a shell between it and SIGTERM, and not root."""
    scripts = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["scripts"]
    assert docker_json("ENTRYPOINT") == ["streamae"]
    assert scripts["streamae"] == "streamae.cli:main"
    dockerfile = text_of(DEPLOY / "docker" / "Dockerfile")
    assert re.search(r"^STOPSIGNAL SIGTERM$", dockerfile, re.MULTILINE)
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", dockerfile, re.MULTILINE)


# Settings


def unknown_names(text: str) -> list[str]:
    """Return every variable and every setting mentioned in `text` that the settings tree does not have."""
    variables = [
        name
        for name in VARIABLE.findall(text)
        if ".".join(name.removeprefix("STREAMAE_").lower().split("__")) not in SETTING_NAMES
    ]
    return variables + [name for name in SETTING.findall(text) if name not in SETTING_NAMES]


@by_name(FILES)
def test_settings_and_variables_exist(path: Path) -> None:
    """No file, not even a comment in it, names a variable or a setting that the program does not have."""
    assert unknown_names(text_of(path)) == []


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("STREAMAE_KAFKA__GROUP_ID=a", []),
        ("STREAMAE_KAFKA__GROUP=a", ["STREAMAE_KAFKA__GROUP"]),
        ("STREAMAE_GROUP_ID=a", ["STREAMAE_GROUP_ID"]),
        ("# longer than service.drain_timeout_ms", []),
        ("# longer than service.drain_ms.", ["service.drain_ms"]),
        ("redis-server.service and streamae.service.d/gpu.conf", []),
    ],
)
def test_unknown_names_are_noticed(text: str, unknown: list[str]) -> None:
    """A misspelt variable or setting is found; file names that look like one are not."""
    assert unknown_names(text) == unknown


def env_file(text: str) -> dict[str, str]:
    """Return the assignments of a systemd environment file."""
    lines = [line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return dict(lines)


def test_systemd_example_settings_load() -> None:
    """The example file, with the example variables on top, is accepted by the real loader."""
    env = env_file(text_of(DEPLOY / "systemd" / "streamae.env.example"))
    loaded = load_settings(DEPLOY / "systemd" / "streamae.example.toml", env, {})
    assert loaded.settings.kafka.instance_id == "streamae-1"
    assert loaded.sources["kafka.instance_id"].startswith("env:")
    assert loaded.settings.service.http_host == "127.0.0.1"


def test_systemd_example_is_as_shipped() -> None:
    """The example sets addresses and places; whatever else it shows, the threshold rule too, is the default."""
    defaults = Settings().model_dump()
    shown = load_settings(DEPLOY / "systemd" / "streamae.example.toml", {}, {}).settings.model_dump()
    changed = {
        f"{section}.{name}"
        for section, fields in shown.items()
        for name, value in fields.items()
        if value != defaults[section][name]
    }
    assert changed == {"kafka.bootstrap_servers", "kafka.instance_id", "model.bundle", "state.redis_url"}
    text = text_of(DEPLOY / "systemd" / "streamae.example.toml")
    (said,) = re.findall(r"^block_level = \S+ # (.*)$", text, re.MULTILINE)
    assert f"block_maxima: {said}." == FIELDS["threshold.block_level"].description


def test_commented_examples_of_settings_are_valid(tmp_path: Path) -> None:
    """What the example file offers in comments works once the comment sign is removed."""
    text = text_of(DEPLOY / "systemd" / "streamae.example.toml")
    opened = re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE)
    assert opened != text
    path = tmp_path / "streamae.toml"
    path.write_text(opened, encoding="utf-8")
    assert load_settings(path, {}, {}).settings.input.value_fields == ("temperature", "pressure")


def dockerfile_env() -> dict[str, str]:
    """Return the variables of ours that the image sets."""
    return dict(re.findall(r"(STREAMAE_\w+)=(\S+)", text_of(DEPLOY / "docker" / "Dockerfile")))


def test_compose_settings_load() -> None:
    """The variables of image and Compose file together make valid settings that point at the other containers."""
    compose = load_yaml("docker", "compose.yaml")["services"]
    settings = load_settings(None, dockerfile_env() | compose["streamae"]["environment"], {}).settings
    assert settings.kafka.bootstrap_servers in compose["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert "redis" in compose
    assert settings.state.redis_url.startswith("redis://redis:")
    assert settings.service.http_host == "0.0.0.0"
    created = compose["topics"]["command"][0]
    for topic in (*settings.input.topics, settings.output.topic, settings.output.dead_letter_topic):
        assert re.search(rf"\b{re.escape(topic)}\b", created), topic
    mounts = [volume.split(":")[1] for volume in compose["streamae"]["volumes"]]
    assert str(settings.model.bundle) in mounts


def test_compose_settings_of_alerts_load() -> None:
    """What the container of alerts mounts and is given makes settings that name the other containers and topics."""
    compose = load_yaml("docker", "compose.yaml")["services"]
    mounted = dict(volume.split(":")[1::-1] for volume in compose["streamae-alert"]["volumes"])
    config = compose["streamae-alert"]["command"][-1]
    file = (DEPLOY / "docker" / mounted[config]).resolve()
    variables = dockerfile_env() | compose["streamae-alert"]["environment"]
    settings = load_settings(file, variables, {}).settings
    daemon = load_settings(None, dockerfile_env() | compose["streamae"]["environment"], {}).settings
    assert settings.output.topic == daemon.output.topic
    assert settings.kafka.bootstrap_servers == daemon.kafka.bootstrap_servers
    assert settings.state.redis_url == daemon.state.redis_url
    created = compose["topics"]["command"][0]
    for topic in (settings.alerts.dead_letter_topic, settings.alerts.orders_topic):
        assert re.search(rf"--topic {re.escape(topic)} ", created), topic
    assert re.search(rf"{settings.alerts.orders_topic} .*cleanup\.policy=compact", created)
    assert str(settings.alerts.owners) in mounted
    assert (DEPLOY / "docker" / mounted[str(settings.alerts.owners)]).is_file()
    hosts = {urlsplit(url).hostname for receiver in settings.alerts.receivers for url in receiver.urls}
    assert hosts == {"alertmanager"} <= set(compose)


def test_compose_names_only_what_it_has() -> None:
    """Each container waits for containers, and mounts volumes and files, that are there."""
    compose = load_yaml("docker", "compose.yaml")
    for name, each in compose["services"].items():
        assert set(each.get("depends_on", ())) <= set(compose["services"]), name
        for source in (volume.split(":")[0] for volume in each.get("volumes", ())):
            is_file = source.startswith(".")
            is_there = (DEPLOY / "docker" / source).exists() if is_file else source in compose["volumes"]
            assert is_there or source == "../../bundle", source  # made by `streamae train`


def test_redis_must_not_evict() -> None:
    """Redis in the Compose file refuses writes when full, and keeps its state over a restart."""
    command = load_yaml("docker", "compose.yaml")["services"]["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert command[command.index("--appendonly") + 1] == "yes"


def k8s_settings(tmp_path: Path) -> Settings:
    """Return the settings a pod would have: the config map's file, the image's and the stateful set's variables."""
    path = tmp_path / "streamae.toml"
    path.write_text(load_yaml("k8s", "configmap.yaml")["data"]["streamae.toml"], encoding="utf-8")
    names = {variable["name"]: variable.get("value", "streamae-0") for variable in container()["env"]}
    return load_settings(path, dockerfile_env() | names, {}).settings


def test_k8s_settings_load(tmp_path: Path) -> None:
    """The config map is accepted by the real loader, and each pod's own name is its stable instance id."""
    settings = k8s_settings(tmp_path)
    sources = {variable["name"]: variable.get("valueFrom") for variable in container()["env"]}
    assert sources["STREAMAE_KAFKA__INSTANCE_ID"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert settings.kafka.instance_id == "streamae-0"
    mounts = {mount["mountPath"] for mount in container()["volumeMounts"]}
    assert str(settings.model.bundle) in mounts


@pytest.mark.parametrize("manifest", ["statefulset", "alert-deployment"])
def test_pods_find_their_settings(manifest: str) -> None:
    """The file that is named on the command line is the config map's, where that is mounted."""
    config = Path(container(manifest)["args"][-1])
    places = {mount["mountPath"]: mount["name"] for mount in container(manifest)["volumeMounts"]}
    assert places[str(config.parent)] == "settings"
    assert config.name in load_yaml("k8s", "configmap.yaml")["data"]


# Alerts


def alert_settings() -> AlertSettings:
    """Return the example's settings of `streamae alert`."""
    return load_settings(DEPLOY / "alertmanager" / "streamae.toml", {}, {}).settings.alerts


def test_alertmanager_takes_its_example() -> None:
    """Its own tool finds nothing wrong with the file."""
    done = amtool("check-config", str(ALERTMANAGER))
    assert done.returncode == 0, done.stderr
    assert "SUCCESS" in done.stdout


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": identity.ANOMALY, "severity": "critical", "team": "paint"}, "pager"),
        ({"alertname": identity.ANOMALY, "severity": "critical", "team": "metal"}, "pager-metal"),
        ({"alertname": identity.ANOMALY, "severity": "warning", "team": "metal"}, "tickets"),
        ({"alertname": identity.ANOMALY, "severity": "info"}, "nobody"),
        (own(Cause.DETECTOR_SILENT), "pager"),
        (own(Cause.DELIVERY_FAILED), "tickets"),
        (own(Cause.SUMMARY), "tickets"),
        (own(Cause.TEST), "tickets"),
        (own(Cause.WATCHDOG), "dead-man"),
        ({"alertname": "StreamaeDown", "severity": "page"}, "pager"),
        ({"alertname": "StreamaeLate", "severity": "ticket"}, "tickets"),
    ],
    ids=lambda given: given if isinstance(given, str) else "-".join(given.values()),
)
def test_alertmanager_leads_every_kind_of_alert_where_it_belongs(labels: dict[str, str], receiver: str) -> None:
    """Only what is critical pages, everything that we send has its place, and tests never page."""
    pairs = [f"{name}={value}" for name, value in labels.items()]
    done = amtool("config", "routes", "test", f"--config.file={ALERTMANAGER}", *pairs)
    assert done.stdout.split() == [receiver]


def amtool(*words: str) -> subprocess.CompletedProcess[str]:
    """Run Alertmanager's own tool."""
    return run_tool("amtool", "prometheus-alertmanager", *words)


def test_inhibition_goes_by_what_makes_an_episode_one() -> None:
    """A higher class keeps the lower ones of its own episode quiet, and nothing that merely lacks the same labels."""
    for rule in yaml.safe_load(text_of(ALERTMANAGER))["inhibit_rules"]:
        assert sorted(rule["equal"]) == sorted(["alertname", *identity.LINE])
        assert f'alertname="{identity.ANOMALY}"' in rule["source_matchers"]
        assert f'alertname="{identity.ANOMALY}"' in rule["target_matchers"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [("ready", {"alertmanager", "log"}), ("provisional", {"log"}), ("learning", {"log"}), ("", {"log"})],
)
def test_the_example_pages_for_keys_that_are_ready_only(state: str, expected: set[str]) -> None:
    """Alertmanager cannot ask how well a key is known, so it is not told of what must not page: so it ships."""
    alerts = alert_settings()
    assert alerts.routes == ()
    routing = Routing(alerts.routes, alerts.receivers)
    assert routing.goes_to({}, SeverityClass.CRITICAL, state, 1.0, "anomaly", 0) == expected


def test_examples_of_alerts_are_one(tmp_path: Path) -> None:
    """The config map shows what the example shows: who changes one changes both."""
    shown, pod = alert_settings(), k8s_settings(tmp_path).alerts
    places = {"owners", "http_host"}
    assert pod.model_dump(exclude=places) == shown.model_dump(exclude=places)
    assert pod.owners is not None
    assert pod.owners.parent == Path(container("alert-deployment")["args"][-1]).parent
    assert load_yaml("k8s", "configmap.yaml")["data"][pod.owners.name] == text_of(
        DEPLOY / "alertmanager" / "owners.csv"
    )
    owners = Owners.read(DEPLOY / "alertmanager" / "owners.csv", shown.default_owner)
    assert owners.labels_of("press-7")["team"] == "metal"
    assert owners.labels_of("x") == {"team": "plant"}


# Kubernetes


@by_name(MANIFESTS)
def test_manifests_match_the_published_schema(path: Path) -> None:
    """Kubernetes would accept every field of every manifest."""
    kubernetes_validate.validate(load_yaml("k8s", path.name), kubernetes_validate.latest_version(), strict=True)


def test_a_wrong_field_of_a_manifest_is_noticed() -> None:
    """The schema check is no rubber stamp: `resource` for `resources` fails it."""
    manifest = load_yaml("k8s", "statefulset.yaml")
    template = manifest["spec"]["template"]["spec"]["containers"][0]
    template["resource"] = template.pop("resources")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_kustomization_lists_every_manifest() -> None:
    """`kubectl apply -k` brings up all of it."""
    kustomization = load_yaml("k8s", "kustomization.yaml")
    assert sorted(kustomization["resources"]) == [path.name for path in MANIFESTS]


def test_labels_and_names_of_manifests_fit() -> None:
    """Service, disruption budget and stateful set select the same pods; volumes and config map are named alike."""
    stateful, headless, budget = (load_yaml("k8s", f"{name}.yaml") for name in ("statefulset", "service", "pdb"))
    labels = stateful["spec"]["template"]["metadata"]["labels"]
    assert stateful["spec"]["selector"]["matchLabels"] == labels
    assert headless["spec"]["selector"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert stateful["spec"]["serviceName"] == headless["metadata"]["name"]
    pod = stateful["spec"]["template"]["spec"]
    names = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in container()["volumeMounts"]} == set(names)
    assert names["settings"]["configMap"]["name"] == load_yaml("k8s", "configmap.yaml")["metadata"]["name"]


def test_one_pod_tells_people() -> None:
    """Two would take each other's place; the pods of the daemon and those of alerts are never mistaken for each other."""
    deployment, address = load_yaml("k8s", "alert-deployment.yaml"), load_yaml("k8s", "alert-service.yaml")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels == address["spec"]["selector"]
    assert labels != load_yaml("k8s", "statefulset.yaml")["spec"]["template"]["metadata"]["labels"]
    volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container("alert-deployment")["volumeMounts"]} == set(volumes)
    assert volumes["secrets"]["secret"]["optional"] is True
    assert volumes["settings"]["configMap"]["name"] == load_yaml("k8s", "configmap.yaml")["metadata"]["name"]


@pytest.mark.parametrize("manifest", ["statefulset", "alert-deployment"])
def test_pods_run_without_rights(manifest: str) -> None:
    """A pod has no root, no capability, no writable image and no token of the cluster."""
    pod = load_yaml("k8s", f"{manifest}.yaml")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(manifest)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


# Ports, paths, deadlines


def test_ports_agree(tmp_path: Path) -> None:
    """One port everywhere: the program's default, as long as no settings file says otherwise."""
    settings = k8s_settings(tmp_path)
    (port,) = container()["ports"]
    (exposed,) = load_yaml("k8s", "service.yaml")["spec"]["ports"]
    annotations = load_yaml("k8s", "statefulset.yaml")["spec"]["template"]["metadata"]["annotations"]
    compose = load_yaml("docker", "compose.yaml")["services"]["streamae"]
    dockerfile = text_of(DEPLOY / "docker" / "Dockerfile")
    exposed_by_image, _ = image_ports()
    (asked,) = re.findall(r"http://127\.0\.0\.1:(\d+)/", dockerfile)
    ports = [settings.service.http_port, port["containerPort"], exposed["port"], annotations["prometheus.io/port"]]
    ports += [exposed_by_image, asked, *compose["ports"][0].split(":")[1:]]
    assert {int(number) for number in ports} == {DEFAULTS.http_port}
    assert exposed["targetPort"] == port["name"]


def image_ports() -> tuple[str, str]:
    """Return the ports that the image exposes: of `run`, of `alert`."""
    ((first, second),) = re.findall(r"^EXPOSE (\d+) (\d+)$", text_of(DEPLOY / "docker" / "Dockerfile"), re.MULTILINE)
    return first, second


def test_ports_of_alerts_agree(tmp_path: Path) -> None:
    """So has `streamae alert` one port everywhere, and answers there from outside of its container."""
    settings = k8s_settings(tmp_path)
    (port,) = container("alert-deployment")["ports"]
    (exposed,) = load_yaml("k8s", "alert-service.yaml")["spec"]["ports"]
    annotations = load_yaml("k8s", "alert-deployment.yaml")["spec"]["template"]["metadata"]["annotations"]
    compose = load_yaml("docker", "compose.yaml")["services"]["streamae-alert"]
    (asked,) = re.findall(r"http://127\.0\.0\.1:(\d+)/livez'", compose["healthcheck"]["test"][-1])
    compile(compose["healthcheck"]["test"][-1], "healthcheck", "exec")
    (said,) = re.findall(r'job "streamae-alert", port (\d+)', text_of(DEPLOY / "prometheus" / "alerts.yaml"))
    ports = [settings.alerts.http_port, port["containerPort"], exposed["port"], annotations["prometheus.io/port"]]
    ports += [image_ports()[1], asked, said, *compose["ports"][0].split(":")[1:]]
    assert {int(number) for number in ports} == {AlertSettings().http_port}
    assert exposed["targetPort"] == port["name"]
    assert settings.alerts.http_host == dockerfile_env()["STREAMAE_ALERTS__HTTP_HOST"] == "0.0.0.0"


@pytest.mark.parametrize("manifest", ["statefulset", "alert-deployment"])
def test_probes_ask_what_the_program_answers(manifest: str) -> None:
    """Start and life are asked of the loop alone, readiness of everything; a probe's port is the container's."""
    probes = {name: container(manifest)[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["httpGet"]["path"] for name, probe in probes.items()} == {
        "startup": health.LIVE_PATH,
        "liveness": health.LIVE_PATH,
        "readiness": health.READY_PATH,
    }
    assert {probe["httpGet"]["port"] for probe in probes.values()} == {container(manifest)["ports"][0]["name"]}
    startup = probes["startup"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300


@by_name(FILES)
def test_paths_exist(path: Path) -> None:
    """No file asks for a path that the health server does not serve."""
    served = {health.LIVE_PATH, health.READY_PATH, health.METRICS_PATH}
    assert set(ADDRESS_PATHS.findall(text_of(path))) <= served


def test_health_check_of_the_image_compiles() -> None:
    """The one line of Python in the Dockerfile is valid and asks for life, not for readiness."""
    interpreter, flag, program = health_check()
    assert (interpreter, flag) == ("python", "-c")
    compile(program, "HEALTHCHECK", "exec")
    assert f"{health.LIVE_PATH}'" in program


def health_check() -> list[str]:
    """Return the exec form of HEALTHCHECK's command."""
    match = re.search(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", text_of(DEPLOY / "docker" / "Dockerfile"), re.MULTILINE)
    assert match
    value: list[str] = json.loads(match[1])
    return value


def test_nobody_kills_a_draining_process(tmp_path: Path) -> None:
    """Kubernetes and Compose wait longer than the program needs to commit, save and leave."""
    drain_ms = k8s_settings(tmp_path).service.drain_timeout_ms
    for manifest in ("statefulset", "alert-deployment"):
        grace = load_yaml("k8s", f"{manifest}.yaml")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert grace * 1_000 == drain_ms + 25_000
    for name in ("streamae", "streamae-alert"):
        compose = load_yaml("docker", "compose.yaml")["services"][name]
        assert seconds(compose["stop_grace_period"]) * 1_000 > DEFAULTS.drain_timeout_ms


# Prometheus


def rules() -> list[dict[str, Any]]:
    """Return all alert rules."""
    return [rule for group in load_yaml("prometheus", "alerts.yaml")["groups"] for rule in group["rules"]]


def exposition() -> str:
    """Return what /metrics of the daemon and of `streamae alert` say at the start."""
    return "".join(metrics.render()[0].decode() for metrics in (Telemetry(), AlertMetrics(["pager"])))


def sample_names() -> set[str]:
    """Return every sample name that /metrics can have, taken from a fresh registry's HELP and TYPE lines."""
    names: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", exposition(), re.MULTILINE):
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_alerts_use_metrics_that_exist(rule: dict[str, Any]) -> None:
    """A rule over a metric, or a label value, that does not exist would be silent for ever."""
    text = rule["expr"] + " ".join(rule["annotations"].values())
    used = set(re.findall(r"\bstreamae_\w+", text))
    assert used <= sample_names()
    assert used or "up{" in rule["expr"]
    values = {*TRANSACTION_OUTCOMES, *CHECKPOINT_OUTCOMES, *REBALANCES, *KEY_STATES, *PARTITION_STATES, *STARTS}
    values |= {*Reason, *ChangeKind, "streamae", "streamae-alert"}
    named = {value for text in re.findall(r"=~?\"([\w|-]+)\"", rule["expr"]) for value in text.split("|")}
    assert named <= {str(value) for value in values}
    assert rule["expr"].count('"') == 2 * len(re.findall(r"=~?\"[\w|-]+\"", rule["expr"])), (
        "a label value went unchecked"
    )


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_alerts_say_what_and_what_to_do(rule: dict[str, Any]) -> None:
    """Whoever is called reads what is wrong, what to do and how urgent it is."""
    assert rule["alert"].startswith("Streamae")
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"summary", "description"}


def test_metrics_named_in_the_docs_exist_and_all_are_explained() -> None:
    """Whoever copies a name from the documentation into a query gets an answer, and finds every name there is."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = {page.name: set(re.findall(r"\bstreamae_\w+", text_of(page))) - {"streamae_"} for page in pages}
    metrics = set(re.findall(r"^# TYPE (streamae_\w+) ", exposition(), re.MULTILINE))
    assert set().union(*found.values()) <= metrics | sample_names()
    assert metrics <= found["operations.md"]
