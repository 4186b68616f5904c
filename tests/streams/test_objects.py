"""Objects in a folder and in an S3-compatible store: there as a whole or not at all, and errors that say what to do."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError
from obstore.store import from_url
from pydantic import SecretStr
from s3_server import SECRET_KEY, S3Server

from fraud.errors import ConfigurationError, InvalidInputError
from streams.objects import (
    PART_BYTES,
    ObjectMissingError,
    ObjectStore,
    ObjectStoreError,
    open_object_store,
)

BLOCK = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return open_object_store(tmp_path / "made" / "objects")
    server: S3Server = request.getfixturevalue("s3")
    return open_object_store(f"s3://{server.create_bucket()}/some/folder", server.storage_options)


def test_what_was_put_is_got_in_parts_with_its_size_and_digest(store: ObjectStore) -> None:
    def chunks() -> Iterator[bytes | memoryview]:
        buffer = bytearray(3 * PART_BYTES)  # larger than a part, and used twice
        for byte in (1, 2):
            buffer[:] = bytes([byte]) * len(buffer)
            yield memoryview(buffer)
        yield b""
        yield b"end"

    expected = b"\1" * (3 * PART_BYTES) + b"\2" * (3 * PART_BYTES) + b"end"
    stored = store.put("topic/00003/123-4.cards", chunks())
    assert (stored.size, stored.sha256) == (len(expected), hashlib.sha256(expected).hexdigest())
    parts = list(store.get("topic/00003/123-4.cards"))
    assert b"".join(parts) == expected
    assert max(map(len, parts)) <= PART_BYTES


def test_views_of_wider_items_are_written_as_their_bytes(store: ObjectStore) -> None:
    numbers = memoryview(bytes(range(64))).cast("Q")
    assert store.put("numbers", [numbers]).size == 64
    assert b"".join(store.get("numbers")) == bytes(range(64))


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    assert store.put("empty", []).size == 0
    assert store.exists("empty")
    assert b"".join(store.get("empty")) == b""


def test_a_copy_in_a_local_file_is_whole(store: ObjectStore, tmp_path: Path) -> None:
    put = store.put("large", (BLOCK for _ in range(20)))
    target = tmp_path / "cache" / "large"
    assert store.read_into("large", target) == put
    assert hashlib.sha256(target.read_bytes()).hexdigest() == put.sha256
    with pytest.raises(ObjectMissingError):
        store.read_into("nothing", tmp_path / "cache" / "nothing")
    assert [path.name for path in target.parent.iterdir()] == ["large"]


def test_the_same_name_again_replaces(store: ObjectStore) -> None:
    store.put("a", [b"first"])
    store.put("a", [b"second"])
    assert b"".join(store.get("a")) == b"second"


def test_listing_is_by_folder_and_sorted(store: ObjectStore) -> None:
    for name in ("b/2/x", "b/1/x", "bb/x", "a", "b/1/a"):
        store.put(name, [b"x"])
    assert store.list() == ["a", "b/1/a", "b/1/x", "b/2/x", "bb/x"]
    assert store.list("b") == ["b/1/a", "b/1/x", "b/2/x"]
    assert store.list("b/1") == ["b/1/a", "b/1/x"]
    assert store.list("nothing") == []


def test_deleting_twice_is_deleting_once(store: ObjectStore) -> None:
    store.put("a/b", [b"x"])
    store.delete("a/b")
    store.delete("a/b")
    assert not store.exists("a/b")
    assert store.list() == []
    with pytest.raises(ObjectMissingError, match="a/b"):
        list(store.get("a/b"))


def test_a_writer_that_fails_leaves_nothing_and_keeps_what_was_there(store: ObjectStore) -> None:
    store.put("kept", [b"before"])

    def failing() -> Iterator[bytes]:
        for _ in range(20):  # several parts are on their way by then
            yield BLOCK
        message = "the state could not be read"
        raise LookupError(message)

    for name in ("kept", "new/one"):
        with pytest.raises(LookupError, match="the state could not be read"):
            store.put(name, failing())
    assert store.list() == ["kept"]
    assert b"".join(store.get("kept")) == b"before"


def test_nothing_is_visible_before_the_end(store: ObjectStore) -> None:
    seen: list[bool] = []

    def watched() -> Iterator[bytes]:
        for _ in range(20):
            yield BLOCK
        seen.append(store.exists("slow") or bool(store.list()))

    store.put("slow", watched())
    assert seen == [False]
    assert store.exists("slow")


def test_from_one_store_to_the_same(store: ObjectStore) -> None:
    put = store.put("from", (BLOCK for _ in range(20)))
    assert store.put("to", store.get("from")) == put
    with pytest.raises(ObjectMissingError, match="no object nothing"):
        store.put("to", store.get("nothing"))
    assert b"".join(store.get("to")) == 20 * BLOCK


def test_several_threads_at_once(store: ObjectStore) -> None:
    def work(number: int) -> None:
        store.put(f"t/{number}", (bytes([number]) * len(BLOCK) for _ in range(10)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        assert b"".join(store.get(f"t/{number}")) == bytes([number]) * 10 * len(BLOCK)


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a/.b", "a b", "a\\b", "a\n", "ü", "a?b"]
)
def test_names_that_are_none(store: ObjectStore, name: str) -> None:
    for step in (store.exists, store.delete, store.open_local, lambda name: store.put(name, [b"x"])):
        with pytest.raises(InvalidInputError) as caught:
            step(name)
        assert caught.value.field == "name"
    assert store.list() == []


class TestFolder:
    def test_its_files_can_be_opened_where_they_are(self, tmp_path: Path) -> None:
        for root in (tmp_path / "a folder", f"file://{tmp_path}/a%20folder"):
            store = open_object_store(root)
            store.put("a/b", [b"content"])
            path = store.open_local("a/b")
            assert path == tmp_path / "a folder" / "a" / "b"
            assert path.read_bytes() == b"content"
        with pytest.raises(ObjectMissingError):
            store.open_local("a/c")

    def test_a_full_disk_leaves_nothing_half_written(self, tmp_path: Path) -> None:
        store = open_object_store(tmp_path)
        store.put("kept", [b"before"])
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 * len(BLOCK), limits[1]))  # the kernel refuses what is beyond
        try:
            for name in ("kept", "new"):
                with pytest.raises(ObjectStoreError, match="no room left") as caught:
                    store.put(name, (BLOCK for _ in range(20)))
                assert isinstance(caught.value.__cause__, OSError)
                assert caught.value.__cause__.errno == errno.EFBIG
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [path.name for path in tmp_path.iterdir()] == ["kept"]
        assert b"".join(store.get("kept")) == b"before"

    def test_what_a_killed_process_left_is_removed_after_a_day_and_never_listed(self, tmp_path: Path) -> None:
        old, young, whole = tmp_path / "t" / ".cards.x1", tmp_path / "t" / ".cards.x2", tmp_path / "t" / "cards"
        whole.parent.mkdir()
        for path in (old, young, whole):
            path.write_bytes(b"x")
        for path in (old, whole):
            os.utime(path, (time.time() - 90_000,) * 2)
        store = open_object_store(tmp_path)
        assert (old.exists(), young.exists()) == (False, True)
        assert store.list() == ["t/cards"]

    def test_objects_are_for_their_owner_alone(self, tmp_path: Path) -> None:
        open_object_store(tmp_path).put("a", [b"x"])
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600

    def test_a_file_in_the_place_of_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "taken").write_bytes(b"")
        with pytest.raises(ObjectStoreError, match="taken"):
            open_object_store(tmp_path / "taken").put("a", [b"x"])


class TestS3:
    def test_it_has_no_local_file(self, s3: S3Server) -> None:
        assert open_object_store(f"s3://{s3.create_bucket()}", s3.storage_options).open_local("a") is None

    def test_two_folders_of_one_bucket_do_not_meet(self, s3: S3Server) -> None:
        bucket = s3.create_bucket()
        one, other = (open_object_store(f"s3://{bucket}/{name}", s3.storage_options) for name in ("one", "other"))
        one.put("a", [b"1"])
        other.put("b", [b"2"])
        assert (one.list(), other.list()) == (["a"], ["b"])
        assert open_object_store(f"s3://{bucket}", s3.storage_options).list() == ["one/a", "other/b"]

    def test_wrong_credentials(self, s3: S3Server) -> None:
        options = {**s3.storage_options, "aws_secret_access_key": SecretStr("not-the-one-that-it-knows")}
        store = open_object_store(f"s3://{s3.create_bucket()}/x", options)
        for step in (lambda: store.put("a", [b"x"]), lambda: store.exists("a"), store.list):
            with pytest.raises(ObjectStoreError, match="refuses the credentials") as caught:
                step()
            assert "not-the-one" not in str(caught.value)

    def test_a_bucket_that_is_not_there(self, s3: S3Server) -> None:
        with pytest.raises(ObjectStoreError, match="no bucket"):
            open_object_store("s3://nowhere/x", s3.storage_options).put("a", [b"x"])

    def test_a_store_that_is_away_says_so_and_is_used_again_when_it_is_back(self, s3: S3Server) -> None:
        url = f"s3://{s3.create_bucket()}/x"
        store = open_object_store(url, s3.storage_options, retry_seconds=0)
        store.put("a", [BLOCK])
        s3.kill()
        try:
            for step in (lambda: store.put("b", [b"x"]), lambda: store.exists("a"), lambda: list(store.get("a"))):
                with pytest.raises(ObjectStoreError, match="does not answer") as caught:
                    step()
                assert SECRET_KEY not in str(caught.value)
        finally:
            s3.start()
        assert open_object_store(url, s3.storage_options).list() == ["a"]
        assert b"".join(store.get("a")) == BLOCK

    def test_it_refuses_to_create_what_is_there(self, s3: S3Server) -> None:
        """Not used for snapshots; the archive's commits stand on it, so the server must really do it."""
        options = {name: value for name, value in s3.storage_options.items() if name != "aws_allow_http"}
        raw = from_url(f"s3://{s3.create_bucket()}", config=options, client_options={"allow_http": True})  # type: ignore[arg-type]
        obstore.put(raw, "a", b"first", mode="create")
        with pytest.raises(AlreadyExistsError):
            obstore.put(raw, "a", b"second", mode="create")


class TestOptions:
    def test_urls_that_are_no_store(self) -> None:
        for url in ("nope://bucket/x", "http://bucket/x", "s3://key:word@bucket/x", "s3://bucket/x?signature=word"):
            with pytest.raises(ConfigurationError, match="is no object store") as caught:
                open_object_store(url)
            assert "word" not in str(caught.value)

    def test_an_unknown_option_is_named_and_no_value_is_told(self) -> None:
        with pytest.raises(ConfigurationError, match="aws_reigon") as caught:
            open_object_store("s3://bucket/x", {"aws_reigon": "secret-value", "aws_secret_access_key": "secret-value"})
        assert "secret-value" not in str(caught.value)

    def test_the_archives_options_in_any_case_are_understood(self) -> None:
        options = {"AWS_REGION": "x", "AWS_ALLOW_HTTP": "true", "aws_s3_allow_unsafe_rename": "true", "timeout": "5s"}
        assert open_object_store("s3://bucket/x", options).root == "s3://bucket/x"

    def test_plain_http_is_refused_unless_it_is_allowed(self, tmp_path: Path) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            options = {
                "aws_endpoint_url": f"http://127.0.0.1:{listener.getsockname()[1]}",
                "aws_access_key_id": "a",
                "aws_secret_access_key": "b",
                "aws_region": "x",
            }
            with pytest.raises(ObjectStoreError):
                open_object_store("s3://bucket/x", options, retry_seconds=0).exists("a")
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):  # nobody has called
                listener.accept()
