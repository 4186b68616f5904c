"""The Kafka client as this product uses it: raw bytes, no auto-commit, no auto-reset, no auto-creation of topics."""

from __future__ import annotations

import socket
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket

from fraud.errors import ConfigurationError, UnavailableError
from fraud.settings import KafkaSettings

# Checksums without the C package cost five times the whole rest of a poll; the package is a dependency, so its
# absence means a broken installation.
try:
    import crc32c  # noqa: F401
except ImportError as error:  # pragma: no cover
    message = "the crc32c package is missing; install Mimamori with its own requirements"
    raise ConfigurationError(message) from error


def connection_options(settings: KafkaSettings) -> dict[str, Any]:
    """Options that every client shares."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "security_protocol": settings.security_protocol,
    }
    if settings.ssl_cafile is not None:
        options["ssl_cafile"] = str(settings.ssl_cafile)
    if settings.sasl_mechanism is not None:
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password and settings.sasl_password.get_secret_value()
    return options


class _DirectSocket(KafkaNetSocket):  # type: ignore[misc]
    """Connections as the client makes them, except that a socket is closed when nothing comes of it.

    kafka-python 3.0.12 drops the socket of a connection that is refused, times out, or is given up by `close()`: it
    stays open until it is collected as garbage. The client chooses how it connects by the scheme of `proxy_url`.
    """

    SCHEMES = ("direct",)

    async def sock_connect(self, net: Any, sock: socket.socket, sockaddr: Any, timeout_at: float | None = None) -> Any:
        try:
            return await super().sock_connect(net, sock, sockaddr, timeout_at=timeout_at)
        except BaseException:
            sock.close()
            raise


def make_consumer(settings: KafkaSettings, max_poll_records: int) -> KafkaConsumer:
    """A consumer of the worker's group.

    There are no deserializers: an exception inside one makes `poll()` spin for ever. `auto_offset_reset` is "none":
    where reading starts is decided by the position in the database, never by the broker.
    """
    consumer = _connected(
        KafkaConsumer,
        **connection_options(settings),
        group_id=settings.group_id,
        enable_auto_commit=False,
        auto_offset_reset="none",
        allow_auto_create_topics=False,
        isolation_level="read_committed",
        max_poll_records=max_poll_records,
        max_poll_interval_ms=settings.max_poll_interval_ms,
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=min(3_000, settings.session_timeout_ms // 3),
        fetch_max_wait_ms=50,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        metrics_enabled=False,
    )
    _finish_what_is_begun(consumer)
    _give_back_what_is_parked(consumer)
    return consumer


def _finish_what_is_begun(consumer: KafkaConsumer) -> None:
    """Have `poll()` finish every rebalance that it has begun.

    kafka-python 3.0.12 forgets one: where a group leader joins again because the topic's metadata have changed, and
    that takes longer than one `poll()`, the client no longer sees a reason to rejoin once it has made the assignment.
    It then neither takes its partitions nor sends heartbeats, and `poll()` gives nothing for ever, without an error.
    """
    coordinator = consumer._coordinator
    sees_a_reason = coordinator.need_rejoin
    coordinator.need_rejoin = lambda: coordinator.rejoining or sees_a_reason()


def _give_back_what_is_parked(consumer: KafkaConsumer) -> None:
    """Have `poll()` go on with a partition that was paused with records in hand, once it is resumed.

    kafka-python 3.0.12 parks such records and takes them up again only while it holds no other partition's; it goes on
    holding those of which nothing is left. When another partition was read meanwhile, the parked one is never fetched
    again: assigned, not paused, behind, and silent.
    """
    fetcher = consumer._fetcher
    take = fetcher.fetched_records

    def fetched_records(*arguments: Any, **named: Any) -> Any:
        if not fetcher._next_partition_records:
            fetcher._next_partition_records = None
        return take(*arguments, **named)

    fetcher.fetched_records = fetched_records


def make_producer(settings: KafkaSettings) -> KafkaProducer:
    """An idempotent producer with acknowledgements from all in-sync replicas."""
    return _connected(
        KafkaProducer, **connection_options(settings), compression_type="lz4", linger_ms=20, batch_size=256 * 1024
    )


def make_admin(settings: KafkaSettings) -> KafkaAdminClient:
    """An administration client."""
    return _connected(KafkaAdminClient, **connection_options(settings))


def create_topics(settings: KafkaSettings, topics: dict[str, int] | None = None) -> dict[str, bool]:
    """Create the topics that Mimamori uses; topic to whether it was made now. An existing one is left as it is."""
    wanted = topics or {
        settings.transactions_topic: settings.partitions,
        settings.detections_topic: settings.partitions,
        settings.watchlist_topic: settings.partitions,
    }
    # Of the watch list the broker keeps the last message of each card, for ever.
    configs = {settings.watchlist_topic: {"cleanup.policy": "compact"}}
    admin = make_admin(settings)
    created = {}
    try:
        for topic, partitions in wanted.items():
            try:
                made = NewTopic(topic, partitions, settings.replication_factor, topic_configs=configs.get(topic))
                admin.create_topics([made])
                created[topic] = True
            except TopicAlreadyExistsError:
                created[topic] = False
    finally:
        admin.close()
    return created


def topic_id(settings: KafkaSettings, topic: str) -> str:
    """The broker's id of a topic. A topic made anew under the same name has another one."""
    admin = make_admin(settings)
    try:
        described = admin.describe_topics([topic])
    finally:
        admin.close()
    if not described or described[0]["error_code"] != 0:
        message = f"topic {topic} does not exist; create it with: mimamori topics create"
        raise ConfigurationError(message)
    return str(described[0]["topic_id"])


def _connected(make: Any, **options: Any) -> Any:
    """A client that has reached a broker. One that cannot leaves nothing behind: no thread and no socket."""
    opened: list[Any] = []

    def open_client(**config: Any) -> Any:
        opened.append(KafkaNetClient(**{**config, "proxy_url": "direct://"}))
        return opened[-1]

    try:
        return make(kafka_client=open_client, **options)
    except KafkaError as error:
        for client in opened:  # the constructor has raised, so that there is nothing else to close it by
            client.close()
        message = f"no Kafka broker answers at kafka.bootstrap_servers ({type(error).__name__})"
        raise UnavailableError(message) from error
