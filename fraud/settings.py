"""Settings: one frozen tree a process, from `MIMAMORI_...` variables over `mimamori.toml` over defaults.

Unknown keys are errors, secrets are `SecretStr`, and there is no default secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from fraud.errors import ConfigurationError

PREFIX = "MIMAMORI_"
CONFIG_VARIABLE = "MIMAMORI_CONFIG"  # names the TOML file; not a setting itself
DEFAULT_FILE = "mimamori.toml"
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")


class Section(BaseModel):
    """One part of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class PortfolioSettings(Section):
    """The issuer's portfolio: what its card numbers look like, and where and in what it bills."""

    bin_ranges: tuple[str, ...] = Field(
        default=(),
        description="The issuer's own number ranges: prefixes (`411111`) or ranges of prefixes (`411111-411119`).",
    )
    pan_lengths: tuple[int, ...] = Field(default=(16,), description="Lengths of the issuer's card numbers.")
    currency: str = Field(default="JPY", description="Billing currency, ISO 4217 alpha code.")
    home_country: str = Field(default="JP", description="ISO 3166 alpha-2 code.")
    timezone: str = Field(default="Asia/Tokyo", description="Time zone of the portfolio's days and hours.")

    @field_validator("bin_ranges")
    @classmethod
    def _ranges(cls, ranges: tuple[str, ...]) -> tuple[str, ...]:
        for item in ranges:
            low, _, high = item.partition("-")
            if not re.fullmatch(r"\d{4,11}", low) or (high and (len(high) != len(low) or not high.isdigit())):
                message = "a range is a prefix of 4 to 11 digits, or two prefixes of one length joined by a dash"
                raise ValueError(message)
        return ranges


class CardSettings(Section):
    """Keys of the card references. Each key is at least 128 bits, in hexadecimal."""

    keys: dict[int, SecretStr] = Field(default_factory=dict, description="Key version to key, hexadecimal.")
    active_key: int = Field(default=1, ge=1, description="The key version for new references.")

    @field_validator("keys")
    @classmethod
    def _strength(cls, keys: dict[int, SecretStr]) -> dict[int, SecretStr]:
        for version, key in keys.items():
            if not re.fullmatch(r"(?:[0-9a-fA-F]{2}){16,}", key.get_secret_value()):
                message = f"key {version} must be at least 32 hexadecimal digits (128 bits)"
                raise ValueError(message)
        return keys


class KafkaSettings(Section):
    """The log."""

    bootstrap_servers: str = "127.0.0.1:9092"
    group_id: str = "mimamori"
    transactions_topic: str = "card.transactions"
    detections_topic: str = "card.detections"
    watchlist_topic: str = Field(
        default="card.watchlist", description="What to do with exposed cards. The topic must be compacted."
    )
    card_references_topic: str = Field(
        default="card.references",
        description="Changes of card reference data; a topic that is not there is waited for.",
    )
    partitions: int = Field(default=4, ge=1, le=10_000)
    replication_factor: int = Field(default=1, ge=1, le=32)
    session_timeout_ms: int = Field(default=45_000, ge=6_000)
    max_poll_interval_ms: int = Field(default=120_000, ge=10_000)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: Path | None = None


class StreamSettings(Section):
    """The worker."""

    max_poll_records: int = Field(default=2_000, ge=1, le=100_000)
    max_record_bytes: int = Field(default=65_536, ge=1_024, description="A larger record is a dead letter.")
    dedupe_window: int = Field(default=200_000, ge=0, description="Event ids remembered a partition.")
    max_future_ms: int = Field(default=86_400_000, ge=0, description="Later event times are clamped and flagged.")
    max_past_ms: int | None = Field(default=None, description="Older event times are clamped and flagged.")
    profile_by: Literal["card", "account"] = Field(
        default="card",
        description="Whose habits a transaction is compared with. `account` outlasts reissues and needs messages keyed "
        "by `account_ref`.",
    )
    history_from: date | None = Field(
        default=None,
        description="The first day of which there is history, as `mimamori state show` says. Features that look "
        "further back are not evaluable, and neither are the rules that need them. None: history is long enough.",
    )
    checkpoint_seconds: float = Field(default=60.0, gt=0, description="A worker writes a checkpoint so often, or")
    checkpoint_records: int = Field(default=150_000, ge=1, description="after so many records, what comes first.")
    checkpoints_kept: int = Field(default=3, ge=1, description="Checkpoints kept a partition.")
    waiting_rows: int = Field(
        default=1_000_000,
        ge=1,
        description="Rows that wait for a checkpoint in memory; with more, the worker takes no records.",
    )
    stalled_seconds: float = Field(
        default=120.0, gt=0, description="A worker ends when a partition with records does not move for so long."
    )
    circuit_breaker_ratio: float = Field(
        default=0.5, gt=0, le=1, description="Share of dead letters in 1,000 records at which the worker stops."
    )


class ArchiveSettings(Section):
    """The archive of transactions."""

    root: str | None = Field(
        default=None, description="A folder or a URL such as `s3://bucket/archive`; `archive` in `data_dir` by default."
    )
    storage_options: dict[str, SecretStr] = Field(
        default_factory=dict, description="What the object store wants to be told, such as `aws_region`."
    )
    retention_days: int = Field(
        default=730, ge=1, description="Days kept, by event day. Look-back and training reach no further."
    )


class SnapshotSettings(Section):
    """The snapshots of the cards' state, which partitions start from."""

    root: str | None = Field(
        default=None,
        description="A folder or a URL such as `s3://bucket/snapshots`; `snapshots` in `data_dir` by default.",
    )
    storage_options: dict[str, SecretStr] = Field(
        default_factory=dict, description="What the object store wants to be told, such as `aws_region`."
    )


class PolicySettings(Section):
    """How many alerts people can look at. Thresholds are computed from these, offline."""

    alerts_per_day: float = Field(default=20.0, gt=0, description="Budget for cards in no compromise event.")
    exposed_alerts_per_1000_card_days: float = Field(
        default=1.0, gt=0, description="Budget for watched cards: alerts a day for 1,000 of them."
    )
    quiet_days_after_genuine: int = Field(
        default=30, ge=0, description="Days for which a pattern that the holder confirmed opens nothing on that card."
    )
    case_due_hours: int = Field(default=24, ge=1, description="Hours until a new case is due.")


class ApiSettings(Section):
    """The API and the console."""

    host: str = "127.0.0.1"
    port: int = Field(default=8470, ge=0, le=65_535)
    secure_cookies: bool = Field(default=True, description="Off only for plain http on this machine.")
    session_minutes: int = Field(default=15, ge=1, le=720)
    card_number_files: bool = Field(
        default=False,
        description="Take files with card numbers. Off, the API and the console stay outside the card-data environment "
        "and take files of card references only.",
    )


class WebhookEndpoint(Section):
    """One receiver of detections over HTTPS."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$", description="Its name in logs, metrics and the database.")
    url: str = Field(description="Where to post; no secret belongs in it.")
    secret: SecretStr = Field(description="Key of the signatures, at least 32 characters, known to the receiver.")

    @field_validator("name")
    @classmethod
    def _not_kafka(cls, name: str) -> str:
        if name == "kafka":
            message = "`kafka` is the name of the topic's own delivery"
            raise ValueError(message)
        return name

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = urlsplit(url)
        plain = parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS
        if not parts.hostname or parts.username or parts.password or not (plain or parts.scheme == "https"):
            message = "a webhook's url is https:// and a host, without user or password; http:// only on this machine"
            raise ValueError(message)
        return url

    @field_validator("secret")
    @classmethod
    def _strength(cls, secret: SecretStr) -> SecretStr:
        if len(secret.get_secret_value()) < 32:
            message = "a webhook's secret has at least 32 characters"
            raise ValueError(message)
        return secret


class WebhookSettings(Section):
    """Who else is told of detections, beside the Kafka topic."""

    allowed_hosts: tuple[str, ...] = Field(default=(), description="Hosts that may be posted to, by exact name.")
    endpoints: tuple[WebhookEndpoint, ...] = ()
    timeout_seconds: float = Field(default=10.0, gt=0, le=60, description="For one delivery as a whole.")
    max_body_bytes: int = Field(default=262_144, ge=1_024, description="A larger message is not delivered.")

    @model_validator(mode="after")
    def _allowed(self) -> WebhookSettings:
        for endpoint in self.endpoints:
            if urlsplit(endpoint.url).hostname not in self.allowed_hosts:
                message = f"the host of webhook {endpoint.name} is not in webhooks.allowed_hosts"
                raise ValueError(message)
        if len({endpoint.name for endpoint in self.endpoints}) < len(self.endpoints):
            message = "two webhooks have one name"
            raise ValueError(message)
        return self


class RelaySettings(Section):
    """Messages to others, in the database."""

    keep_days: int = Field(
        default=7, ge=1, description="Days for which a message stays after all its destinations are done with it."
    )


class MonitoringSettings(Section):
    """The worker's own small HTTP server: metrics and probes. It has no authentication: keep it off public networks."""

    host: str = "127.0.0.1"
    port: int | None = Field(
        default=None, ge=0, le=65_535, description="None is off; 9464 is usual; 0 takes a free one."
    )


class Settings(BaseSettings):
    """Everything that a process of Mimamori may be told."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    data_dir: Path = Field(default=Path(".mimamori"), description="Folder of archive, snapshots and models.")
    database_url: SecretStr = Field(default=SecretStr("sqlite:///.mimamori/mimamori.db"))
    clock: Literal["system", "stream"] = Field(
        default="system", description="`stream` takes the time from the events: demonstrations and replays."
    )
    portfolio: PortfolioSettings = PortfolioSettings()
    cards: CardSettings = CardSettings()
    kafka: KafkaSettings = KafkaSettings()
    stream: StreamSettings = StreamSettings()
    archive: ArchiveSettings = ArchiveSettings()
    snapshots: SnapshotSettings = SnapshotSettings()
    policy: PolicySettings = PolicySettings()
    api: ApiSettings = ApiSettings()
    webhooks: WebhookSettings = WebhookSettings()
    relay: RelaySettings = RelaySettings()
    monitoring: MonitoringSettings = MonitoringSettings()

    @model_validator(mode="after")
    def _active_key_exists(self) -> Settings:
        if self.cards.keys and self.cards.active_key not in self.cards.keys:
            message = "cards.active_key names a key version that is not in cards.keys"
            raise ValueError(message)
        return self

    @property
    def models_dir(self) -> Path:
        """Folder of the model registry."""
        return self.data_dir / "models"

    @property
    def snapshots_root(self) -> str:
        """Folder or URL of the state snapshots."""
        return self.snapshots.root or str(self.data_dir / "snapshots")

    @property
    def archive_root(self) -> str:
        """Folder or URL of the archive."""
        return self.archive.root or str(self.data_dir / "archive")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over variables, variables over the file."""
        file = Path(os.environ.get(CONFIG_VARIABLE, DEFAULT_FILE))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; a `ConfigurationError` names every key at fault and never its value."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named and not Path(named).is_file():
        message = f"{CONFIG_VARIABLE} names a file that does not exist"
        raise ConfigurationError(message)
    unknown = _unknown_variables(os.environ)
    if unknown:
        message = f"unknown settings in the environment: {', '.join(unknown)}"
        raise ConfigurationError(message)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors())
        message = f"settings are not valid: {lines}"
        raise ConfigurationError(message) from None


def _unknown_variables(environment: Mapping[str, str]) -> list[str]:
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    return sorted(
        name
        for name in environment
        if name.upper().startswith(PREFIX) and name != CONFIG_VARIABLE and name.upper().split("__")[0] not in known
    )


_PASSWORD_IN_URL = re.compile(r"(://[^:/@\s]*:)[^@\s]*(@)")

Masked = Annotated[dict[str, Any], "settings with secrets masked"]


def masked(settings: Settings) -> Masked:
    """The effective settings as plain data, secrets masked; of the database URL only the password is hidden."""
    data: dict[str, Any] = settings.model_dump(mode="json")
    data["database_url"] = _PASSWORD_IN_URL.sub(r"\1***\2", settings.database_url.get_secret_value())
    return data
