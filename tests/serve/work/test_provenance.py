"""What is generated says so, and says when somebody changed it."""

import io
import json
import stat
import threading
import time
from pathlib import Path
from typing import Any

import c2pa  # type: ignore[import-untyped]
import cv2
import numpy as np
import pytest

from raytalk.errors import SettingsError
from raytalk.faces.video import read_frames, write_video
from serve.records.store import Store
from serve.work.encoding import encode
from serve.work.mark import marked
from serve.work.provenance import GENERATED, Signer


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("service")))


@pytest.fixture(scope="module")
def signer(store: Store) -> Signer:
    return Signer.from_store(store)


def picture(size: int = 64) -> np.ndarray:
    """Smooth, so that a JPEG of it is small."""
    small = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)


def read(kind: str, data: bytes, trusted: bytes = b"") -> tuple[str, set[str], dict[str, Any]]:
    """State, codes of what is wrong, and the manifest."""
    settings: dict[str, Any] = {}
    if trusted:
        settings = {"trust": {"trust_anchors": trusted.decode()}, "verify": {"verify_trust": True}}
    reader = c2pa.Reader(kind, io.BytesIO(data), context=c2pa.Context(c2pa.Settings.from_dict(settings)))
    found = json.loads(reader.json())
    wrong = {each["code"] for each in found.get("validation_status", [])}
    return reader.get_validation_state(), wrong, found["manifests"][found["active_manifest"]]


def root_of(signer: Signer) -> bytes:
    return b"-----BEGIN CERTIFICATE-----" + signer.chain.rpartition(b"-----BEGIN CERTIFICATE-----")[2]


@pytest.mark.parametrize(("format", "kind"), [("jpeg", "image/jpeg"), ("png", "image/png")])
def test_a_picture_carries_a_manifest_that_validates(signer: Signer, format: Any, kind: str) -> None:
    data = encode(picture(), format, 90, signer, False)
    state, wrong, manifest = read(kind, data)
    assert (state, wrong) == ("Valid", {"signingCredential.untrusted"})
    assert read(kind, data, root_of(signer))[:2] == ("Trusted", set())
    (action,) = manifest["assertions"][0]["data"]["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"] == GENERATED
    assert action["softwareAgent"]["name"] == "raytalk"
    shown = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))[..., ::-1]
    # Red is red: OpenCV's order is another.
    assert np.abs(shown.astype(int) - picture()).mean() < (8 if format == "jpeg" else 1e-9)


def test_what_is_changed_does_not_validate(signer: Signer) -> None:
    data = bytearray(encode(picture(), "jpeg", 90, signer, False))
    data[-20] ^= 1
    state, wrong, _ = read("image/jpeg", bytes(data), root_of(signer))
    assert state == "Invalid"
    assert "assertion.dataHash.mismatch" in wrong


def test_nothing_but_the_maker_is_told(signer: Signer) -> None:
    _, _, manifest = read("image/jpeg", encode(picture(), "jpeg", 90, signer, False))
    assert set(manifest) <= {
        "claim_generator_info",
        "instance_id",
        "assertions",
        "signature_info",
        "label",
        "claim_version",
    }
    assert [each["label"] for each in manifest["assertions"]] == ["c2pa.actions.v2"]


def test_a_film_is_signed_where_it_lies(signer: Signer, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    write_video(film, [picture() for _ in range(10)], 25)
    signer.sign_file(film)
    state, wrong, manifest = read("video/mp4", film.read_bytes())
    assert (state, wrong) == ("Valid", {"signingCredential.untrusted"})
    (actions,) = (each["data"] for each in manifest["assertions"] if each["label"] == "c2pa.actions.v2")
    assert actions["actions"][0]["digitalSourceType"] == GENERATED
    assert len(list(read_frames(film))) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_what_is_no_film_stays_as_it_was(signer: Signer, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"no film at all")
    with pytest.raises(c2pa.C2paError):
        signer.sign_file(film)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
    assert film.read_bytes() == b"no film at all"


def test_a_service_signs_with_one_certificate_and_keeps_its_key_to_itself(store: Store, signer: Signer) -> None:
    assert Signer.from_store(store).chain == signer.chain
    folder = Path(store.storage.uri) / "c2pa"
    (file,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"PRIVATE" not in signer.chain
    assert signer.chain.count(b"BEGIN CERTIFICATE") == 2


def test_replicas_that_start_together_agree_later(tmp_path: Path) -> None:
    store, made = Store(str(tmp_path)), []
    threads = [threading.Thread(target=lambda: made.append(Signer.from_store(store).chain)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert Signer.from_store(store).chain in made


def test_another_certificate_can_be_given(store: Store, signer: Signer, tmp_path: Path) -> None:
    other = Signer.from_store(Store(str(tmp_path / "other")))
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(other.chain)
    key.write_bytes(other._key)
    given = Signer.from_store(store, f"{chain},{key}")
    assert read("image/jpeg", encode(picture(), "jpeg", 90, given, False), root_of(other))[0] == "Trusted"
    with pytest.raises(SettingsError, match="cannot be read"):
        Signer.from_store(store, f"{chain},{tmp_path / 'none.pem'}")
    key.write_bytes(signer._key)
    with pytest.raises(SettingsError, match="cannot sign what is generated"):
        Signer.from_store(store, f"{chain},{key}")
    key.write_bytes(b"nothing")
    with pytest.raises(SettingsError, match="cannot sign what is generated"):
        Signer.from_store(store, f"{chain},{key}")


def test_threads_sign_at_the_same_time(signer: Signer) -> None:
    states = []

    def work() -> None:
        for _ in range(10):
            states.append(read("image/jpeg", encode(picture(), "jpeg", 90, signer, False))[0])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == ["Valid"] * 40


def test_signing_a_live_frame_takes_little_time(signer: Signer) -> None:
    """.5 ms on one core: so that every live frame carries a manifest. The best of many counts."""
    data = cv2.imencode(".jpg", picture(256))[1].tobytes()
    best = float("inf")
    for _ in range(50):
        begun = time.perf_counter()
        signed = signer.sign_jpeg(data)
        best = min(best, time.perf_counter() - begun)
    assert best < 3e-3
    assert len(signed) - len(data) < 6000


@pytest.mark.parametrize("size", [64, 128, 256])
def test_the_mark_is_seen_and_is_small(size: int) -> None:
    for level in (20, 128, 235):
        plain = np.full((size, size, 3), level, np.uint8)
        shown = marked(plain)
        assert (plain == level).all()
        changed = np.abs(shown.astype(int) - plain).max(axis=2)
        rows, columns = np.nonzero(changed > 8)
        assert rows.min() > size * 0.7
        assert columns.min() > size * 0.5
        # Letters on a plate: both bright and dark.
        assert np.ptp(shown) > 100


def test_a_picture_too_small_for_a_mark_stays_as_it_is() -> None:
    assert (marked(np.full((8, 8, 3), 100, np.uint8)) == 100).all()


def test_marked_pictures_are_signed_too(signer: Signer) -> None:
    data = encode(picture(128), "png", 90, signer, True)
    assert read("image/png", data)[0] == "Valid"
    shown = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))[..., ::-1]
    assert not np.array_equal(shown, picture(128))
