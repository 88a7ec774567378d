"""A store that fails for a while: asked again, said once, given up in time."""

import pickle
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from faults.faulty_s3 import faulty_s3

from raytalk import storage_patience
from raytalk.errors import StorageError
from raytalk.storage import Storage
from raytalk.storage_patience import PATIENCE, Outages, is_passing, patience, patiently

BUSY = "AWS Error SLOW_DOWN during PutObject operation: Please reduce your request rate."
GONE = "AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7, Couldn't connect to server"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said, of stores that nobody knows yet."""
    lines: list[str] = []
    outages = Outages()
    outages.tell = lines.append
    monkeypatch.setattr(storage_patience, "OUTAGES", outages)
    return lines


class Failing:
    """Fails so many times."""

    def __init__(self, times: int, text: str = BUSY) -> None:
        self.left, self.text, self.asked = times, text, 0

    def __call__(self) -> str:
        self.asked += 1
        if self.asked <= self.left:
            raise OSError(self.text)
        return "done"


@pytest.mark.parametrize(
    "text",
    [
        BUSY,
        GONE,
        "AWS Error UNKNOWN (HTTP status 503) during HeadObject operation: No response body.",
        "AWS Error INTERNAL_FAILURE during GetObject operation",
        "AWS Error UNKNOWN (HTTP status 429) during PutObject operation",
        "AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 28, Timeout was reached",
    ],
)
def test_what_passes(text: str) -> None:
    assert is_passing(OSError(text))


@pytest.mark.parametrize(
    "error",
    [
        OSError("AWS Error ACCESS_DENIED during PutObject operation"),
        OSError("AWS Error UNKNOWN (HTTP status 507) during PutObject operation: XMinioStorageFull"),
        OSError("AWS Error NO_SUCH_BUCKET during PutObject operation"),
        OSError("Couldn't deserialize thrift: TProtocolException: Invalid data"),
        FileNotFoundError(2, "no such file", "slowdown/503"),
        ValueError(BUSY),
    ],
)
def test_what_does_not_pass(error: Exception) -> None:
    assert not is_passing(error)


def test_it_is_asked_again_and_said_once(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_patience, "_FIRST_PAUSE", 0.01)
    action = Failing(4)
    assert patiently("s3://bucket", action, 30) == "done"
    assert action.asked == 5
    assert len(told) == 2, told
    assert told[0].startswith("s3://bucket does not answer as it should; it is asked again for up to 30 s (")
    assert "SLOW_DOWN" in told[0]
    assert told[1].startswith("s3://bucket answers again, after ")
    assert patiently("s3://bucket", Failing(0), 30) == "done"
    assert len(told) == 2


def test_threads_that_wait_together_say_one_thing(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_patience, "_FIRST_PAUSE", 0.2)
    threads = [threading.Thread(target=patiently, args=("s3://bucket", Failing(1), 30)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([line for line in told if "does not answer" in line]) == 1


def test_patience_ends(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_patience, "_FIRST_PAUSE", 0.05)
    start = time.monotonic()
    with pytest.raises(OSError, match="SLOW_DOWN"):
        patiently("s3://bucket", Failing(1000), 0.5)
    assert time.monotonic() - start < 5
    action = Failing(1000)
    with pytest.raises(OSError, match="SLOW_DOWN"):
        patiently("s3://bucket", action, 0)
    assert action.asked == 1


def test_what_a_person_must_mend_is_not_asked_again(told: list[str]) -> None:
    action = Failing(1000, "AWS Error ACCESS_DENIED during PutObject operation")
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        patiently("s3://bucket", action, 300)
    assert (action.asked, told) == (1, [])


def test_an_address_where_nothing_ever_answered_is_given_up_early(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_patience, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(storage_patience, "_UNKNOWN_PATIENCE", 0.3)
    start = time.monotonic()
    with pytest.raises(OSError, match="curlCode: 7"):
        patiently("s3://typo", Failing(1000, GONE), 300)
    assert time.monotonic() - start < 5
    storage_patience.OUTAGES.vouch()
    assert patiently("s3://known", Failing(5, GONE), 300) == "done", "whoever sent this process has seen it"


def test_how_long_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PATIENCE, raising=False)
    assert patience() == 300
    monkeypatch.setenv(PATIENCE, "7.5")
    assert patience() == 7.5
    monkeypatch.setenv(PATIENCE, "long")
    with pytest.raises(StorageError, match="RAYTALK_STORAGE_PATIENCE_S=long must be a number"):
        patience()


@pytest.mark.s3
def test_everything_goes_through_an_outage(told: list[str], tmp_path: Path) -> None:
    with faulty_s3() as server:
        storage = Storage(f"{server.uri}/a")
        storage.write("x", b"old")
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "marker").write_bytes(b"m")
        actions = {
            "write": lambda: storage.write("x", b"new"),
            "read": lambda: storage.read("x"),
            "list": storage.entries,
            "publish": lambda: storage.publish(tmp_path / "made", "folder", "marker"),
            "fetch": lambda: storage.fetch("folder", tmp_path / "fetched"),
            "delete": lambda: storage.delete("x"),
        }
        for number, action in enumerate(actions.values()):
            server.break_for(("unavailable", "reset")[number % 2], 0.6)
            action()
        assert storage.entries("folder") != []
        assert (tmp_path / "fetched" / "marker").read_bytes() == b"m"
        assert [key for key in server.objects() if not key.endswith("/")] == ["a/folder/marker"]
        assert server.counts["SlowDown"] + server.counts["reset"] >= len(actions)


@pytest.mark.s3
def test_a_full_store_is_said_at_once_and_can_be_emptied(told: list[str]) -> None:
    with faulty_s3() as server:
        storage = Storage(f"{server.uri}/a")
        storage.write("x", b"old")
        server.break_for("full")
        with pytest.raises(
            StorageError, match=r"cannot write s3://.*/a/y: the storage is full or its quota is used up"
        ):
            storage.write("y", b"new")
        assert storage.read("x") == b"old"
        storage.delete("x")
        server.mend()
        assert not storage.exists("x")
    assert told == []


@pytest.mark.s3
def test_a_small_file_is_put_by_one_request() -> None:
    with faulty_s3() as server:
        storage = Storage(f"{server.uri}/a")
        server.counts.clear()
        storage.write("x", b"small")
        storage.write("y", b"small")
        # A request is counted when its answer is through, which the client may know a moment before.
        end = time.monotonic() + 5
        while server.counts["passed"] < 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert server.counts["passed"] == 2


@pytest.mark.s3
def test_a_file_system_for_others_keeps_keys_and_patience_where_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_s3() as server:
        storage = Storage(f"{server.uri}/a")
        storage.write("x", b"small")
        sent = pickle.dumps(storage.lasting_filesystem)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
            monkeypatch.delenv(name, raising=False)
        received = pickle.loads(sent)
        assert received.get_file_info(storage.path("x")).size == 5
        server.counts.clear()
        server.break_for("unavailable", 5.0)
        assert pickle.loads(pickle.dumps(received)).get_file_info(storage.path("x")).size == 5
        assert server.failed >= 3, "by then a client of three attempts has given up"


@pytest.mark.s3
def test_a_failing_store_is_told_from_a_damaged_file() -> None:
    with faulty_s3() as server:
        storage = Storage(f"{server.uri}/a", patience=0)
        storage.write("x.parquet", b"PAR1 this is no such file PAR1")
        with pytest.raises((OSError, ValueError)) as damaged:
            storage.load("x.parquet", pq.read_table)
        assert not isinstance(damaged.value, StorageError)
        server.break_for("unavailable")
        with pytest.raises(StorageError, match=r"cannot read .*x\.parquet: the object store is busy or down"):
            storage.load("x.parquet", pq.read_table)
        server.break_for("forbidden")
        with pytest.raises(StorageError, match="no permission"):
            storage.load("x.parquet", pq.read_table)
        server.mend()
        with pytest.raises(StorageError, match="there is nothing of that name"):
            storage.load("y.parquet", pq.read_table)
