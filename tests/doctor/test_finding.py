import time

from raytalk.doctor.finding import Finding, bounded, ok
from raytalk.errors import StorageError


def test_a_check_that_hangs_is_given_up_and_named() -> None:
    start = time.monotonic()
    (found,) = bounded("storage", lambda: [ok("storage", str(time.sleep(30)))], 0.2)
    assert time.monotonic() - start < 5
    assert (found.check, found.kind) == ("storage", "mend")
    assert "does not answer (timeout=0.2)" in found.text


def test_what_a_check_raises_is_what_is_to_be_mended() -> None:
    def refused() -> list[Finding]:
        raise StorageError("cannot write\n s3://bucket: no permission")

    def broken() -> list[Finding]:
        raise KeyError("nose")

    assert bounded("storage", refused, 5) == [Finding("storage", "mend", "cannot write s3://bucket: no permission")]
    (found,) = bounded("gpu", broken, 5)
    assert (found.kind, found.text) == ("mend", "failed: KeyError: 'nose'")


def test_findings_of_a_check_that_works_come_through() -> None:
    assert bounded("clock", lambda: [ok("clock", "a"), ok("clock", "b")], 5) == [ok("clock", "a"), ok("clock", "b")]
    assert ok("clock", "a").at("10.0.0.1").to_dict() == {
        "check": "clock",
        "kind": "ok",
        "text": "a",
        "node": "10.0.0.1",
    }
