import cv2
import numpy as np
import pytest
from browser import Browser, chromium
from page_service import jpeg, portrait, running


@pytest.fixture(scope="session")
def camera_file(tmp_path_factory):
    """What the browser takes for a camera: somebody who sways, as Motion JPEG."""
    file = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    face = portrait(20, 640)
    frames = (np.roll(face, round(30 * np.sin(turn / 5)), axis=1)[80:560] for turn in range(63))
    file.write_bytes(b"".join(jpeg(frame) for frame in frames))
    return file


@pytest.fixture(scope="session")
def window(tmp_path_factory, camera_file):
    """A browser with a camera that may be used."""
    switches = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    switches += [f"--use-file-for-fake-video-capture={camera_file}", "--autoplay-policy=no-user-gesture-required"]
    window = Browser(chromium(), tmp_path_factory.mktemp("browser"), switches)
    yield window
    window.close()


@pytest.fixture
def service(tmp_path):
    with running(tmp_path / "kept") as service:
        yield service


@pytest.fixture
def browser(window, service):
    """The page of this service, opened by somebody new. A test that expects complaints clears them."""
    window.requests.clear()
    window.complaints.clear()
    yield window
    complaints, requests = list(window.complaints), list(window.requests)
    window.open("about:blank")
    window.complaints.clear()
    assert complaints == []
    socket = service.url.replace("http", "ws")
    foreign = [place for place in requests if not place.startswith((service.url, socket, "blob:", "data:", "about:"))]
    assert foreign == [], "the page asked another host"


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """Five files, as a telephone would give them."""
    folder = tmp_path_factory.mktemp("photographs")
    files = [folder / f"photo {number}.jpg" for number in range(5)]
    for number, file in enumerate(files):
        file.write_bytes(jpeg(portrait(12 + number, 320)))
    return files


@pytest.fixture(scope="session")
def talk(tmp_path_factory):
    """A second of video."""
    file = tmp_path_factory.mktemp("talk") / "talk.mp4"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), 25, (160, 160))
    for turn in range(25):
        writer.write(np.roll(portrait(20, 160), turn % 5, axis=1))
    writer.release()
    return file
