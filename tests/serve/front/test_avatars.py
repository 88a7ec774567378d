"""Making, listing, looking at and deleting avatars, good and bad."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.serve.front.conftest import make_avatar, problem, ready_avatar, wait_for
from tests.serve.front.fakes import Service, picture, video

STRANGER = "0123456789abcdef" * 2
GOOD = {"name": "Ada", "consent": "I agree."}


def post(service: Service, client: requests.Session, files: Any, **data: str) -> requests.Response:
    headers = {"Idempotency-Key": data.pop("key")} if "key" in data else {}
    return client.post(f"{service.url}/v1/avatars", files=files, data={**GOOD, **data}, headers=headers)


def test_whole_life_of_an_avatar(calm: Service, ada: requests.Session) -> None:
    answer = post(
        calm, ada, [("photos", ("me.jpg", picture())), ("photos", ("side.png", picture(format="PNG")))], mode="FT"
    )
    assert answer.status_code == 202
    document = answer.json()
    assert answer.headers["location"] == document["links"]["self"] == f"/v1/avatars/{document['id']}"
    assert document["state"] == "queued"
    assert [photo["label"] for photo in document["photos"]] == ["me.jpg", "side.png"]
    assert "owner" not in answer.text
    assert "attempt" not in answer.text
    assert "file" not in document["photos"][0]
    here = calm.url + answer.headers["location"]
    done = wait_for(lambda: ada.get(here).json(), lambda d: d["state"] == "ready")
    assert done["version"] == "FT"
    assert done["preview_ready"]
    assert done["quality"] == {"ssim_ft": 0.9}
    assert done["photos"][1]["crop"] is None
    for url in (done["links"]["preview"], done["photos"][0]["crop"]):
        seen = ada.get(calm.url + url)
        assert seen.headers["content-type"] == "image/jpeg"
        assert seen.headers["cache-control"] == "private, no-store"
        assert Image.open(io.BytesIO(seen.content)).size == (160, 120)
    assert ada.delete(here).status_code == 204
    problem(ada.get(here), 404, "not-found")
    problem(ada.delete(here), 404, "not-found")
    problem(ada.get(calm.url + done["links"]["preview"].partition("?")[0]), 404, "not-found")
    assert not calm.store.avatar_place(done["id"]).entries()


def test_another_owner_finds_nothing(calm: Service, ada: requests.Session, bob: requests.Session) -> None:
    document = ready_avatar(calm, ada)
    here = calm.url + document["links"]["self"]
    for method, path in (
        ("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/preview.jpg"), ("GET", "/crops/0.jpg"),
        ("GET", "/videos"),
    ):  # fmt: skip
        foreign = bob.request(method, here + path)
        missing = bob.request(method, f"{calm.url}/v1/avatars/{STRANGER}{path}")
        problem(foreign, 404, "not-found")
        # Nobody can tell whether it is another's or there is none.
        assert foreign.content == missing.content
    problem(bob.post(here + "/frames", json={"pose": {}}), 404, "not-found")
    problem(bob.post(here + "/videos", files={"video": b"x"}), 404, "not-found")
    assert document["id"] not in bob.get(f"{calm.url}/v1/avatars?limit=100").text
    assert ada.get(here).status_code == 200


def test_pages_of_a_list(started: Callable[..., Service]) -> None:
    service = started()
    ada = service.session("ada")
    assert ada.get(f"{service.url}/v1/avatars").json() == {"avatars": [], "next": ""}
    made = [make_avatar(service, ada)["id"] for _ in range(5)]
    found, after = [], ""
    for _ in range(3):
        page = ada.get(f"{service.url}/v1/avatars", params={"limit": "2", "after": after}).json()
        found += [avatar["id"] for avatar in page["avatars"]]
        after = page["next"]
    assert found == made[::-1]
    assert after == ""
    for bad in ("0", "101", "many", "-1"):
        problem(ada.get(f"{service.url}/v1/avatars", params={"limit": bad}), 422, "invalid")
    problem(ada.get(f"{service.url}/v1/avatars", params={"after": "x" * 201}), 422, "invalid")
    assert ada.get(f"{service.url}/v1/avatars", params={"after": "\x00🙂"}).status_code == 400


def test_exif_and_metadata_are_dropped(calm: Service, ada: requests.Session) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8825] = 6, "SECRET-CAMERA", {1: "N", 2: (1.0, 2.0, 3.0)}
    sent = picture(size=(200, 100), exif=exif.tobytes(), comment=b"SECRET-COMMENT", icc_profile=b"SECRET-PROFILE" * 20)
    document = post(calm, ada, [("photos", ("SECRET.jpg", sent))]).json()
    kept = calm.store.material(document["id"]).read("000.jpg")
    assert b"SECRET" not in kept
    assert b"Exif" not in kept
    with Image.open(io.BytesIO(kept)) as image:
        assert image.format == "JPEG"
        # Turned upright as EXIF said.
        assert image.size == (100, 200)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF"])
def test_kinds_of_photographs(calm: Service, ada: requests.Session, format: str) -> None:
    if format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    document = post(calm, ada, [("photos", (f"a.{format.lower()}", picture(format=format)))]).json()
    with Image.open(io.BytesIO(calm.store.material(document["id"]).read("000.jpg"))) as image:
        assert (image.format, image.size) == ("JPEG", (160, 120))
        red, green, blue = image.convert("RGB").getpixel((80, 60))  # type: ignore[misc]
        assert abs(red - 0) < 12
        assert abs(green - 128) < 12
        assert abs(blue - 128) < 12


def test_large_photographs_are_shrunk(calm: Service, ada: requests.Session) -> None:
    document = post(calm, ada, [("photos", ("a.jpg", picture(size=(4000, 1000))))]).json()
    with Image.open(io.BytesIO(calm.store.material(document["id"]).read("000.jpg"))) as image:
        assert image.size == (1920, 480)


def test_a_video_is_kept_as_it_came(calm: Service, ada: requests.Session, tmp_path: Path) -> None:
    sent = video(tmp_path / "v.mp4")
    document = post(calm, ada, {"video": ("me.mp4", sent)}).json()
    assert calm.store.material(document["id"]).read("000.bin") == sent
    assert document["photos"][0]["label"] == "me.mp4"


def test_what_is_missing_or_wrong(calm: Service, ada: requests.Session, tmp_path: Path) -> None:
    photos = [("photos", ("a.jpg", picture()))]
    before = len(calm.store.ids("avatars"))
    for data, code, field in (
        ({"consent": ""}, "consent-missing", "consent"),
        ({"consent": "  \u200b "}, "consent-missing", "consent"),
        ({"consent": "false"}, "consent-missing", "consent"),
        ({"consent": "x" * 2001}, "consent", "consent"),
        ({"name": ""}, "name", "name"),
        ({"name": "\x00\x01\u202e"}, "name", "name"),
        ({"name": "x" * 81}, "name", "name"),
        ({"mode": "fast"}, "mode", "mode"),
    ):
        assert problem(post(calm, ada, photos, **data), 422, code)["field"] == field
    both = [*photos, ("video", ("v.mp4", video(tmp_path / "v.mp4")))]
    problem(post(calm, ada, both), 422, "photos-or-video")
    problem(post(calm, ada, {"mode": (None, "FF")}), 422, "photos-or-video")
    problem(post(calm, ada, [("photos", (f"{n}.jpg", picture())) for n in range(33)]), 422, "too-many-photos")
    assert len(calm.store.ids("avatars")) == before


def test_true_as_consent_is_kept_as_a_statement(calm: Service, ada: requests.Session) -> None:
    document = post(calm, ada, [("photos", ("a.jpg", picture()))], consent="True").json()
    assert calm.avatar("ada", document["id"]).consent.startswith("given through the API on 20")


def test_names_of_people_and_files_are_made_harmless(calm: Service, ada: requests.Session) -> None:
    name = "Zo\u0065\u0308 \u202e<script>\n\t\x07 Müller"
    for filename in (
        "../../etc/passwd",
        "..\\..\\boot.ini",
        "/abs/olute.jpg",
        "a\x00b.jpg",
        "x" * 300 + ".jpg",
        "CON",
        " . ",
    ):
        document = post(calm, ada, [("photos", (filename, picture()))], name=name).json()
        assert document["name"] == "Zoë <script> Müller"
        label = document["photos"][0]["label"]
        assert "/" not in label
        assert "\\" not in label
        assert len(label) <= 80
        assert label.isprintable()
        files = [each.path for each in calm.store.material(document["id"]).entries()]
        assert files == ["000.jpg"]


def test_the_same_key_makes_one_avatar(calm: Service, ada: requests.Session, bob: requests.Session) -> None:
    photos = [("photos", ("a.jpg", picture("olive")))]
    first = post(calm, ada, photos, key="once")
    again = post(calm, ada, photos, key="once")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    problem(post(calm, ada, [("photos", ("a.jpg", picture("red")))], key="once"), 409, "idempotency-mismatch")
    problem(post(calm, ada, photos, key="once", name="Eve"), 409, "idempotency-mismatch")
    assert post(calm, bob, photos, key="once").json()["id"] != first.json()["id"]
    wait_for(
        lambda: [id for id in calm.store.ids("avatars") if calm.store.read_record("avatars", id) is None],
        lambda x: not x,
    )
    for bad in ("", "x" * 201, "tab\there"):
        problem(post(calm, ada, photos, key=bad), 400, "idempotency-key")


def test_limits_of_an_owner(started: Callable[..., Service]) -> None:
    service = started(working=False, waiting=2, avatars=3)
    ada, bob = service.session("ada"), service.session("bob")
    for _ in range(2):
        make_avatar(service, ada)
    refused = post(service, ada, [("photos", ("a.jpg", picture()))])
    problem(refused, 429, "queue-full")
    assert int(refused.headers["retry-after"]) >= 1
    # What was refused leaves nothing, and others are not concerned.
    wait_for(lambda: len(service.store.ids("avatars")), lambda number: number == 2)
    make_avatar(service, bob)


def test_crops_that_are_not_there(calm: Service, ada: requests.Session) -> None:
    here = calm.url + ready_avatar(calm, ada)["links"]["self"]
    for number in ("1", "999"):
        problem(ada.get(f"{here}/crops/{number}.jpg"), 404, "not-found")
    for number in ("-1", "x", "1e3", "..%2f..%2frecord", "1234", "²", "%00"):
        assert ada.get(f"{here}/crops/{number}.jpg").status_code in (404, 422)


@pytest.mark.parametrize(
    "id", ["x", "0" * 31, "0" * 33, "..%2f" * 5, "%2e%2e%2f", "A" * 32, "0" * 31 + "\u0660", "%00" * 32]
)
def test_what_cannot_be_an_id_is_not_found(calm: Service, ada: requests.Session, id: str) -> None:
    for path in ("", "/events", "/preview.jpg", "/videos"):
        assert ada.get(f"{calm.url}/v1/avatars/{id}{path}").status_code == 404
    assert ada.get(f"{calm.url}/v1/videos/{id}").status_code == 404
