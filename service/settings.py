"""Where things are and how long they may take: flags, then TRAINYARD_* variables, then a file, then defaults."""

from __future__ import annotations

import os
import secrets
import shlex
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from service.errors import InputError
from service.urls import check_broker, check_database, check_webhook, check_yard

LONGEST_SOCKET_PATH = 100  # sockaddr_un holds 104 bytes on macOS and 108 on Linux, the terminating zero included
DAY = 86_400
FILE = "config.toml"  # in the home
ENDS = ("completed", "failed", "cancelled")  # of a run


class Settings(BaseSettings):
    """One yard's settings. The defaults work on one machine with nothing configured."""

    model_config = SettingsConfigDict(env_prefix="TRAINYARD_", env_ignore_empty=True, extra="ignore", frozen=True)

    home: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("trainyard"),
        description="folder of the history, the embedded broker, logs and config.toml",
    )
    url: str = Field("", description="address of a yard to work with through its API; empty: by database and broker")
    token: SecretStr | None = Field(None, description="secret of a token of that yard")
    database_url: str = Field("", description="SQLAlchemy URL; empty: a SQLite file in the home")
    broker_url: str = Field("", description="redis:// or rediss:// URL; empty: the broker that `trainyard up` starts")
    host: str = Field("127.0.0.1", description="address the web page and the metrics listen on")
    port: int = Field(8750, ge=0, le=65535, description="port of the web page and the yard's metrics; 0: any free one")
    require_tokens: bool = Field(False, description="ask for a token on this machine too, as behind a proxy")
    admin_token: SecretStr | None = Field(
        None, description="secret of a token 'admin' that `trainyard up` makes, for containers"
    )
    web_names: str = Field("", description="other names that the page is reached by, with commas, as behind a proxy")
    web_url: str = Field(
        "", description="address that people reach the page by, for notifications; empty: the one that it listens on"
    )
    open_metrics: bool = Field(False, description="let Prometheus read /metrics and /targets without a token")
    requests_per_second: float = Field(
        500.0, ge=0, le=1e6, description="most requests a token, or an address without one, may send; 0: any number"
    )
    lease_seconds: float = Field(10.0, ge=1, le=DAY, description="a worker silent for so long loses its runs")
    checkpoint_seconds: float = Field(
        10.0, ge=0, le=DAY, description="most seconds of training that a dead worker costs"
    )
    heartbeat_seconds: float = Field(1.0, gt=0, le=DAY, description="how often a supervisor reports and reconciles")
    suspect_after: int = Field(
        3,
        ge=0,
        le=1000,
        description="runs that a worker loses and others complete, after which it gets no more; 0: never",
    )

    notify_url: str = Field(
        "", repr=False, description="address that is sent a JSON message when a run ends; empty: none"
    )
    notify_secret: str = Field("", repr=False, description="secret that signs those messages; empty: unsigned")
    notify_command: str = Field(
        "", repr=False, description="command that a worker's machine runs when a run ends; empty: none"
    )
    notify_on: str = Field("completed,failed,cancelled", description="the ends of runs that are told, with commas")

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        if "?" in str(home) or not str(home).isprintable():  # it becomes part of the database's URL
            raise ValueError("a folder with a '?' or a character that cannot be printed in its path cannot be the home")
        try:
            return home.expanduser().absolute()
        except RuntimeError:
            raise ValueError("it begins with the home of a user that there is not") from None

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        if url:
            check_database(url)
        return url

    @field_validator("admin_token")
    @classmethod
    def _not_guessable(cls, token: SecretStr | None) -> SecretStr | None:
        from service.secrets import SHORTEST

        if token is not None and len(token.get_secret_value()) < SHORTEST:
            raise ValueError(f"it has less than {SHORTEST} characters; `openssl rand -hex 32` makes a good one")
        return token

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, url: str) -> str:
        if url:
            check_broker(url)
        return url

    @field_validator("notify_url")
    @classmethod
    def _known_address(cls, url: str) -> str:
        if url:
            check_webhook(url)
        return url

    @field_validator("url", "web_url")
    @classmethod
    def _known_yard(cls, url: str) -> str:
        if url:
            check_yard(url)
        return url

    @field_validator("notify_command")
    @classmethod
    def _whole_command(cls, command: str) -> str:
        try:
            shlex.split(command)
        except ValueError:
            raise ValueError("a quotation mark in it is never closed") from None
        return command

    @field_validator("notify_on")
    @classmethod
    def _known_ends(cls, ends: str) -> str:
        for end in filter(None, (end.strip() for end in ends.split(","))):
            if end not in ENDS:
                raise ValueError(f"a run cannot end as '{end}'; use {', '.join(ENDS)}")
        return ends

    @property
    def notify_ends(self) -> tuple[str, ...]:
        """The ends of runs that are told."""
        return tuple(sorted({end.strip() for end in self.notify_on.split(",")} - {""}))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        home = init_settings().get("home") or env_settings().get("home") or platformdirs.user_data_path("trainyard")
        file = TomlConfigSettingsSource(settings_cls, toml_file=Path(os.path.abspath(os.path.expanduser(home))) / FILE)
        return init_settings, env_settings, file

    @cached_property
    def database(self) -> str:
        """The SQLAlchemy URL in use, with the driver named."""
        file = str(self.home / "trainyard.db").replace("%", "%25")  # in a URL it begins an escape
        url = self.database_url or f"sqlite:///{file}"
        scheme, _, rest = url.partition("://")
        return f"postgresql+psycopg://{rest}" if scheme in ("postgres", "postgresql") else url

    @property
    def exposed(self) -> bool:
        """Whether the page listens where other machines may reach it."""
        import ipaddress

        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"

    @property
    def asks_for_tokens(self) -> bool:
        return self.exposed or self.require_tokens

    @property
    def embedded_database(self) -> bool:
        return not self.database_url

    @property
    def embedded_broker(self) -> bool:
        return not self.broker_url

    @cached_property
    def broker(self) -> str:
        """The broker's URL with its password: the configured one, or the embedded broker's socket."""
        if self.broker_url:
            return self.broker_url
        return f"redis+socket://:{quote(self.broker_password, safe='')}@{quote(str(self.broker_socket))}"

    @property
    def broker_socket(self) -> Path:
        """A socket in the home, or, where that path is too long for the system, in the runtime folder."""
        socket = self.home / "broker" / "broker.sock"
        if len(str(socket)) <= LONGEST_SOCKET_PATH:
            return socket
        import hashlib
        import tempfile

        key = hashlib.sha256(str(self.home).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"trainyard-{key}" / "broker.sock"

    @cached_property
    def broker_password(self) -> str:
        """The embedded broker's password, made once and kept in a file only its owner may read."""
        file = self.home / "broker" / "password"
        try:
            return file.read_text()
        except FileNotFoundError:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return write_once(file, secrets.token_hex(24))


def write_once(file: Path, text: str) -> str:
    """Write a secret for the owner alone, whole or not at all; where another process was first, return its text."""
    staged = file.with_suffix(f".{os.getpid()}")
    staged.touch(mode=0o600)
    staged.write_text(text)
    try:
        os.link(staged, file)
    except FileExistsError:
        text = file.read_text()
    finally:
        staged.unlink()
    return text


def _agreeing(settings: Settings) -> Settings:
    """Raises InputError where a yard is named in two ways."""
    for name in ("database_url", "broker_url"):
        if settings.url and getattr(settings, name):
            raise InputError(
                f"TRAINYARD_URL and TRAINYARD_{name.upper()} are both set; take the first to work through a yard's "
                "API, the others to work with its database and broker"
            )
    return settings


_WANTED = {"int_parsing": "a whole number", "float_parsing": "a number"}


def load_settings(**flags: Any) -> Settings:
    """Read the settings; flags that are None do not count. Raises InputError that names the setting."""
    try:
        return _agreeing(Settings(**{name: value for name, value in flags.items() if value is not None}))
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"])
        wanted = _WANTED.get(first["type"])
        message = f"expected {wanted}, got {first['input']!r}" if wanted else first["msg"].removeprefix("Value error, ")
        raise InputError(f"setting {name} (TRAINYARD_{name.upper()}): {message}") from None
    except OSError as error:  # a home whose name is too long, a file that is someone else's
        raise InputError(f"config.toml cannot be read: {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:
        raise InputError(f"config.toml cannot be read: {error}") from None
