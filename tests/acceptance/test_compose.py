"""The compose file fits the project, and what it starts works.

There is no Docker where this runs. So the file is read as Compose reads it and held against the project's other files;
then the commands of its services run as plain processes with the environment that it gives them and nothing else,
against a real PostgreSQL and a real Redis-compatible server: another host and another port is all that differs.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry
from typer.main import get_command

from service import Client
from service.cli.main import app
from service.settings import Settings
from tests import servers
from tests.servers import eventually, free_port
from workers.supervisor import GRACE_SECONDS

PROJECT = Path(__file__).parents[2]
BINARIES = Path(sys.executable).parent
PASSWORDS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "GRAFANA_PASSWORD", "ADMIN_TOKEN")
REPLICAS = ("worker-1", "worker-2")
LONG_LIVED = ("postgres", "redis", "service", "worker", "prometheus", "grafana")
OURS = ("migrate", "service", "worker")

# Reading the file as Compose does

VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<text>[^}]*))?\})")


class Refused(Exception):
    """Compose would start nothing: a required variable is not set."""


def example() -> dict[str, str]:
    lines = (line.strip() for line in (PROJECT / ".env.example").read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def resolved(value: Any, variables: dict[str, str]) -> Any:
    """The value with `${NAME}`, `${NAME:-default}` and `${NAME:?message}` replaced, and `$$` for a dollar."""

    def replace(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        if found := variables.get(match["name"]):
            return found
        if match["kind"] == ":?":
            raise Refused(f"{match['name']}: {match['text']}")
        return match["text"] or ""

    match value:
        case str():
            return VARIABLE.sub(replace, value)
        case dict():
            return {key: resolved(item, variables) for key, item in value.items()}
        case list():
            return [resolved(item, variables) for item in value]
    return value


def compose(**variables: str) -> dict[str, Any]:
    return resolved(yaml.safe_load(TEXT), example() | SENTINELS | variables)


TEXT = (PROJECT / "docker-compose.yml").read_text()
SENTINELS = {name: f"{name.lower()}-the-sentinel" for name in PASSWORDS}
FILE = compose()
SERVICES: dict[str, dict[str, Any]] = FILE["services"]


def mounts(service: str) -> dict[str, tuple[str, str]]:
    """Path in the container -> path or volume here, and `ro` or `rw`."""
    parts = (entry.split(":") for entry in SERVICES[service].get("volumes", ()))
    return {inside: (outside, *(mode or ["rw"])) for outside, inside, *mode in parts}


def outside(service: str, inside: str) -> Path:
    """The file of the project that the service sees under this path."""
    for mounted, (source, _) in mounts(service).items():
        if Path(inside).is_relative_to(mounted):
            return PROJECT / source / Path(inside).relative_to(mounted)
    raise AssertionError(f"{service} sees nothing at {inside}")


def listening(service: str) -> int:
    """The port that the service's command or environment tells it to listen on; PostgreSQL is told nothing."""
    if service == "postgres":
        return 5432
    told = " ".join(SERVICES[service].get("command", ())) + str(SERVICES[service].get("environment", ""))
    (port,) = re.findall(r"(?:--port |--metrics-port |listen-address=\S*:|HTTP_PORT': ')(\d+)", told)
    return int(port)


def dockerfile() -> list[list[str]]:
    """The instructions of the Dockerfile, split into words."""
    text = (PROJECT / "deploy/Dockerfile").read_text().replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())


def strings(value: Any, *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from strings(item, *path, str(key))
    else:
        yield path, str(value)


# The file and the project


@pytest.mark.parametrize("password", PASSWORDS)
def test_nothing_starts_without_its_password(password):
    assert example()[password] == ""
    with pytest.raises(Refused, match=password):
        compose(**{password: ""})


def test_no_password_has_a_default():
    uses = [match for match in VARIABLE.finditer(TEXT) if match["name"] in PASSWORDS]
    assert {match["kind"] for match in uses} == {":?"}


def test_the_example_explains_every_variable_and_none_that_is_not_there():
    assert {match["name"] for match in VARIABLE.finditer(TEXT) if match["name"]} == set(example())


def test_the_defaults_are_those_of_the_example():
    assert resolved(yaml.safe_load(TEXT), SENTINELS) == FILE


def test_passwords_travel_in_environments_only():
    exposed = [path for path, text in strings(FILE) if "sentinel" in text and "environment" not in path]
    assert exposed == []


def test_every_image_is_pinned():
    version = pyproject()["project"]["version"]
    for name, service in SERVICES.items():
        image, _, tag = service["image"].rpartition(":")
        assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?", tag), name
        if name in OURS:
            assert (image, tag) == ("trainyard", version)
            assert service["pull_policy"] == "build"
            assert (PROJECT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    for words in dockerfile():
        if words[0] == "FROM":
            assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", words[1])


def test_the_image_runs_the_command_line_and_not_as_root():
    last = {words[0]: words[1:] for words in dockerfile()}
    assert json.loads(re.search(r"ENTRYPOINT (.+)", (PROJECT / "deploy/Dockerfile").read_text())[1]) == ["trainyard"]
    assert "trainyard" in pyproject()["project"]["scripts"]
    assert last["USER"] not in (["root"], ["0"], ["0:0"])


def test_the_image_gets_all_that_the_wheel_is_made_of_and_nothing_else():
    (ignored, *allowed) = [
        line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    allowed_names = {line.removeprefix("!") for line in allowed if line.startswith("!")}
    copied = {
        name for words in dockerfile() if words[0] == "COPY" and "--from=build" not in words for name in words[1:-1]
    }
    wheel, project = pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"], pyproject()["project"]
    needed = {*wheel["packages"], *wheel.get("force-include", {}), project["readme"], *project["license-files"]}
    assert ignored == "*"
    assert copied == allowed_names
    missing = {name for name in needed | {"pyproject.toml", "constraints.txt"} if name.partition("/")[0] not in copied}
    assert missing == set()
    assert [name for name in copied if not (PROJECT / name).exists()] == []


def test_every_mounted_file_exists_and_every_volume_is_declared_and_used():
    named = set()
    for service in SERVICES:
        for source, mode in mounts(service).values():
            if source.startswith("."):
                assert (PROJECT / source).exists(), source
                assert mode == "ro", source
            else:
                named.add(source)
    assert named == set(FILE["volumes"])


def test_every_published_port_is_one_its_service_listens_on_and_of_this_machine_only():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"service", "prometheus", "grafana"}
    for name, ports in published.items():
        ((address, _, inside),) = [port.split(":") for port in ports]
        assert address == "127.0.0.1"
        assert int(inside) == listening(name), name


def test_every_trainyard_variable_is_a_setting():
    for name in OURS:
        environment = SERVICES[name]["environment"]
        values = {key.removeprefix("TRAINYARD_").lower(): value for key, value in environment.items()}
        assert set(values) <= set(Settings.model_fields), name
        settings = Settings(**values)
        assert not settings.embedded_database
        assert not settings.embedded_broker


@pytest.mark.parametrize("service", OURS)
def test_every_trainyard_command_is_one(service):
    command, context, name, words = get_command(app), None, "trainyard", SERVICES[service]["command"]
    while True:
        context = command.make_context(name, list(words), parent=context)
        if not hasattr(command, "resolve_command"):
            break
        name, command, words = command.resolve_command(context, list(words))
    if service != "migrate":
        assert {"service": context.params.get("host"), "worker": context.params.get("metrics_host")}[
            service
        ] == "0.0.0.0"


def test_services_wait_for_what_they_need():
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            condition = how["condition"]
            if condition == "service_healthy":
                assert "test" in SERVICES[needed]["healthcheck"], (name, needed)
            else:
                assert condition == "service_completed_successfully", (name, needed)
                assert "restart" not in SERVICES[needed], (name, needed)
    assert set(SERVICES) == {*LONG_LIVED, "migrate"}
    for name in LONG_LIVED:
        assert SERVICES[name]["restart"] == "unless-stopped"
        assert "test" in SERVICES[name]["healthcheck"]


def test_every_address_names_a_service_that_is_on_the_same_network():
    for name, service in SERVICES.items():
        for path, text in strings(service.get("environment", {})):
            for host, port in re.findall(r"@(\w+):(\d+)/", text):
                assert int(port) == listening(host), (name, path)
                assert set(service["networks"]) & set(SERVICES[host]["networks"]), (name, host)


def test_the_database_and_the_broker_are_on_a_network_without_a_way_in_or_out():
    internal = {name for name, network in FILE["networks"].items() if network.get("internal")}
    for name, service in SERVICES.items():
        inside_only = set(service["networks"]) <= internal
        assert inside_only == (name in ("postgres", "redis")), name
    assert set(SERVICES["grafana"]["networks"]) & set(SERVICES["prometheus"]["networks"])


def test_the_worker_can_be_scaled_and_has_the_time_to_save():
    worker = SERVICES["worker"]
    assert {"container_name", "hostname", "ports"} & set(worker) == set()
    assert "--name" not in worker["command"]
    assert grace(worker) > GRACE_SECONDS + 10


@pytest.mark.parametrize("service", [*OURS, "redis", "prometheus", "grafana"])
def test_containers_have_no_more_rights_than_they_need(service):
    settings = SERVICES[service]
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert settings.get("read_only", False) is (service != "grafana")


def test_the_database_is_kept_where_its_image_keeps_it():
    assert SERVICES["postgres"]["image"].startswith("postgres:18.")
    assert "/var/lib/postgresql" in mounts("postgres")  # up to 17 it was /var/lib/postgresql/data


def test_prometheus_is_told_where_the_yard_and_its_workers_are():
    settings = flags(SERVICES["prometheus"]["command"])
    config_file = outside("prometheus", settings["config.file"])
    config = yaml.safe_load(config_file.read_text())
    for rules in config["rule_files"]:
        assert outside("prometheus", str(Path(settings["config.file"]).parent / rules).strip()).is_file()
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert jobs["yard"]["static_configs"] == [{"targets": [f"service:{listening('service')}"]}]
    (discovery,) = jobs["worker"]["http_sd_configs"]
    assert discovery["url"] == f"http://service:{listening('service')}/targets"
    for seen in ("service", "worker"):
        assert set(SERVICES["prometheus"]["networks"]) & set(SERVICES[seen]["networks"])
    assert settings["storage.tsdb.path"] in mounts("prometheus")


def test_grafana_is_given_its_source_and_its_boards():
    provisioning = outside("grafana", "/etc/grafana/provisioning")
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards/boards.yml").read_text())["providers"]
    boards = list(outside("grafana", provider["options"]["path"]).glob("*.json"))
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert source["url"] == f"http://prometheus:{listening('prometheus')}"
    assert outside("grafana", home) in boards
    for board in map(json.loads, (file.read_text() for file in boards)):
        used = {text for path, text in strings(board["panels"]) if path[-2:] == ("datasource", "uid")}
        assert used == {source["uid"]}


def grace(service: dict[str, Any]) -> float:
    """Seconds between the word to end and the kill."""
    return float(service.get("stop_grace_period", "10s").removesuffix("s"))


def flags(command: Sequence[str]) -> dict[str, str]:
    return dict(word.removeprefix("--").split("=", 1) for word in command)


# The commands, end to end


class Deployment:
    """The services of the file as processes on 127.0.0.1. `replica` gives a second one of a service its own name, port
    and folder, as its container would have."""

    def __init__(self, folder: Path, password: str, database_port: int) -> None:
        self.folder = folder
        self.services = compose(POSTGRES_PASSWORD=password)["services"]
        self.ports = {"postgres": database_port}
        self.paths = {"/specs/": f"{outside('service', '/specs')}/"}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._programs = folder / "bin"
        self._programs.mkdir()
        (self._programs / "redis-server").symlink_to(servers.redis_binary())

    @cached_property
    def client(self) -> Client:
        """The yard as a program in the service's container sees it."""
        environment = self.environment("service", "service")
        names = ("home", "database_url", "broker_url")
        return Client(**{name: environment[f"TRAINYARD_{name.upper()}"] for name in names})

    def start_all(self) -> None:
        assert self.healthy("postgres")
        self.start("redis")
        eventually(self.redis_answers)
        assert self.healthy("redis") or not shutil.which("redis-cli")
        migrated = self.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        self.start("service")
        for replica in REPLICAS:
            self.start("worker", "--name", replica, replica=replica)
        eventually(lambda: self.healthy("service"), every=0.2)
        for replica in REPLICAS:
            eventually(lambda name=replica: self.healthy("worker", name), every=0.2)

    def start(self, service: str, *more: str, replica: str | None = None) -> None:
        name = replica or service
        self.ports[name] = free_port()
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*self._words(service, name), *more], env=self.environment(service, name), cwd=self._home(name),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def run(self, service: str, *words: str, name: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command in the service's container, or without words the service's own, to its end."""
        name = name or service
        command = [self._here(word, service, name) for word in words] or self._words(service, name)
        return subprocess.run(
            command, env=self.environment(service, name), cwd=self._home(name), capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip

    def ask(self, *words: str) -> Any:
        """What a `trainyard` command in the service's container prints as JSON."""
        asked = self.run("service", "trainyard", *words, "--json")
        assert asked.returncode == 0, asked.stderr
        return json.loads(asked.stdout)

    def healthy(self, service: str, name: str | None = None) -> bool:
        """What the service's own health check says; AssertionError when its process has ended."""
        name = name or service
        if process := self.processes.get(name):
            assert process.poll() is None, (self.folder / f"{name}.log").read_text()[-2000:]
        kind, *words = self.services[service]["healthcheck"]["test"]
        command = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        return self.run(service, *command, name=name).returncode == 0

    def environment(self, service: str, name: str) -> dict[str, str]:
        """What the image and the file set, and nothing of ours."""
        image = {}
        if service in OURS:
            image = dict(word.split("=", 1) for words in dockerfile() if words[0] == "ENV" for word in words[1:])
            image["TRAINYARD_HOME"] = str(self._home(name))
        given = {
            key: self._here(value, service, name)
            for key, value in self.services[service].get("environment", {}).items()
        }
        path = ":".join(map(str, (self._programs, BINARIES, servers.postgresql_binaries(), os.environ["PATH"])))
        rest = {"PATH": path, "PGPORT": str(self.ports["postgres"]), "TMPDIR": str(self.folder)}
        return {**image, **given, **rest}

    def redis_answers(self, password: str | None = None) -> bool:
        password = password or self.services["redis"]["environment"]["REDISCLI_AUTH"]
        with redis.Redis(port=self.ports["redis"], password=password, retry=Retry(NoBackoff(), 0)) as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                raise
            except redis.ConnectionError:
                return False

    def stop(self, *names: str) -> list[int]:
        """Tell them to end, as Docker does, and return their codes; TimeoutExpired: Docker would have killed one."""
        for name in names:
            self.processes[name].terminate()
        codes = []
        for name in names:
            seconds = grace(self.services.get(name, self.services["worker"]))
            codes.append(self.processes[name].wait(seconds))
            self.kill(name)
        return codes

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def left(self) -> list[str]:
        """Command lines of all processes that were started from here, whatever their session."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if str(self.folder).encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_text().replace("\0", " "))
        return found

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def _home(self, name: str) -> Path:
        home = self.folder / name
        home.mkdir(exist_ok=True)
        return home

    def _words(self, service: str, name: str) -> list[str]:
        words = [self._here(word, service, name) for word in self.services[service]["command"]]
        return words if service == "redis" else ["trainyard" if service in OURS else service, *words]

    def _here(self, text: str, service: str, name: str) -> str:
        """The text with containers' addresses and paths replaced by those of the processes here."""
        for inside, here in self.paths.items():
            text = text.replace(inside, here)
        for host in ("postgres", "redis", "service"):
            text = text.replace(f"{host}:{listening(host)}", f"127.0.0.1:{self.ports.get(host)}")
        if service in LONG_LIVED:
            text = re.sub(rf"\b{listening(service)}\b", str(self.ports[name]), text)
        return text.replace("0.0.0.0", "127.0.0.1")


@pytest.fixture(scope="module")
def deployment(postgresql_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Redis, migrate, service and two workers, started in the order and by the conditions of the file; at the end each
    must obey SIGTERM within its grace period, and nothing may be left."""
    url, settings = urlsplit(postgresql_url.replace("+psycopg", "")), SERVICES["postgres"]["environment"]
    assert url.username == settings["POSTGRES_USER"]
    with psycopg.connect(url.geturl(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {settings['POSTGRES_DB']}")  # as the image does
        deployed = Deployment(tmp_path_factory.mktemp("deployment"), url.password, url.port)
        try:
            deployed.start_all()
            yield deployed
            deployed.client.database.dispose()
            assert deployed.stop("service", *REPLICAS) == [0, 0, 0]
            assert deployed.stop("redis") == [0]
            eventually(lambda: not deployed.left(), 5)
        finally:
            for name in list(deployed.processes):
                deployed.kill(name)
            connection.execute(f"DROP DATABASE {settings['POSTGRES_DB']} WITH (FORCE)")


def test_a_spec_that_the_service_submits_trains_on_a_worker(deployment):
    run = deployment.ask("submit", "/specs/digits.yaml", "--watch")
    assert run["state"] == "completed"
    assert run["worker"] in REPLICAS
    assert run["metrics"]["test_accuracy"]["last"] > 0.9
    assert trained_epochs(deployment) >= run["epoch"]


def test_every_replica_is_known_with_a_name_and_an_address_of_its_own(deployment):
    workers = {worker["name"]: worker["state"] for worker in deployment.ask("workers", "list")}
    targets = httpx.get(f"{deployment.address('service')}/targets").json()
    assert {name: workers.get(name) for name in REPLICAS} == dict.fromkeys(REPLICAS, "ready")
    for name in REPLICAS:
        assert {"targets": [f"127.0.0.1:{deployment.ports[name]}"], "labels": {"worker": name}} in targets


def test_the_page_answers(deployment):
    assert httpx.get(f"{deployment.address('service')}/healthz").json() == {"status": "ok"}
    assert "trainyard_database_up 1.0" in httpx.get(f"{deployment.address('service')}/metrics").text
    assert httpx.get(deployment.address("service")).status_code == 401
    admin = {"Authorization": f"Bearer {SENTINELS['ADMIN_TOKEN']}"}
    assert "worker-1" in httpx.get(f"{deployment.address('service')}/workers", headers=admin).text


def test_migrating_again_changes_nothing(deployment):
    run = deployment.client.submit(PROJECT / "examples/digits.yaml", queue="nobody-serves-it")
    assert deployment.run("migrate").returncode == 0
    assert deployment.client.run(run.id) == run


def test_a_worker_that_is_stopped_saves_its_run_and_ends_in_time(deployment):
    deployment.start("worker", "--name", "leaving", "--queues", "leaving", replica="leaving")
    endless = ["train.epochs=1000000", "train.early_stopping.patience=1000000"]
    run = deployment.client.submit(PROJECT / "examples/digits.yaml", overrides=endless, queue="leaving")
    eventually(lambda: deployment.client.run(run.id).epoch > 0)
    assert deployment.stop("leaving") == [0]
    assert deployment.client.run(run.id).state == "queued"
    assert [attempt.outcome for attempt in deployment.client.attempts(run.id)] == ["interrupted"]
    assert {worker.name: worker.state for worker in deployment.client.workers()}["leaving"] == "stopped"
    eventually(lambda: not any("leaving" in line for line in deployment.left()), 5)


def test_redis_asks_for_the_password_and_does_not_show_it(deployment):
    with pytest.raises(redis.AuthenticationError):
        deployment.redis_answers("wrong")
    arguments = Path(f"/proc/{deployment.processes['redis'].pid}/cmdline")
    if arguments.exists():
        assert "redis-server" in arguments.read_text()
        assert "sentinel" not in arguments.read_text()


@pytest.mark.skipif(not shutil.which("prometheus") and os.environ.get("CI") != "true", reason="no prometheus on PATH")
def test_prometheus_finds_the_yard_and_every_replica(deployment):
    folder = deployment.folder / "etc"
    folder.mkdir()
    for inside in ("/etc/prometheus/prometheus.yml", "/etc/prometheus/alerts.yml"):
        text = re.sub("(interval: )10s", r"\g<1>1s", outside("prometheus", inside).read_text())
        text = text.replace(f"service:{listening('service')}", f"127.0.0.1:{deployment.ports['service']}")
        (folder / Path(inside).name).write_text(text)
    deployment.paths |= {"=/etc/prometheus/": f"={folder}/", "=/prometheus": f"={folder}/data"}
    deployment.start("prometheus")
    eventually(lambda: deployment.healthy("prometheus"), every=0.2)

    def seen() -> set[tuple[str, str | None, str]]:
        answer = httpx.get(f"{deployment.address('prometheus')}/api/v1/query", params={"query": "up"}).json()
        series = [(entry["metric"], entry["value"][1]) for entry in answer["data"]["result"]]
        return {(labels["job"], labels.get("worker"), value) for labels, value in series}

    eventually(lambda: seen() >= {("yard", None, "1"), *(("worker", name, "1") for name in REPLICAS)}, every=0.2)
    assert deployment.stop("prometheus") == [0]


def trained_epochs(deployed: Deployment) -> float:
    pages = [httpx.get(f"{deployed.address(name)}/metrics").text for name in REPLICAS]
    return sum(
        float(number) for page in pages for number in re.findall(r"^trainyard_epochs_trained_total (\S+)", page, re.M)
    )
