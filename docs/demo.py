"""What `make demo` runs: render people who do not exist, learn from them, make a video of what the model draws.

    python docs/demo.py runs/demo

Give the same command again to go on after an interruption.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from safetensors.torch import load_file

from raytalk.clips.catalog import read_clips
from raytalk.clips.episodes import decode_and_draw, resized
from raytalk.clips.heads.anatomy import load_anatomy
from raytalk.clips.heads.studio import Order, Studio
from raytalk.clips.ledger import Ledger
from raytalk.clips.schema import Split
from raytalk.errors import RaytalkError
from raytalk.faces.draw import draw_landmarks
from raytalk.faces.video import Frame, write_video
from raytalk.learning import checkpoint
from raytalk.learning.meta import Talker, to_unit
from raytalk.learning.settings import MetatrainSettings
from raytalk.learning.validation import to_pictures
from raytalk.storage import Storage

PEOPLE, CLIPS, SEED = 24, 2, 0
EPISODES, LOOKS = 2400, 400
"""episodes to learn from, and between two validation pictures"""
FPS, SECONDS = 25, 5
"""of the video"""
SHOWN = 224
"""side of each picture in the video, in pixels"""
JOBS = Path(__file__).resolve().parent.parent / "jobs"


def main(folder: Path) -> None:
    """Run or go on with the demo below `folder`."""
    clips, run = folder / "people", folder / "learning"
    job(
        "synthesize.py",
        *(f"clips={clips}", f"people={PEOPLE}", f"clips_per_person={CLIPS}", "resolution=128", f"seed={SEED}"),
    )
    job(
        "metatrain.py",
        *("--preset", "debug", f"clips={clips}", f"output={folder}", f"name={run.name}", f"episodes={EPISODES}"),
        *("device=cpu", "batch_size=4", "log_every=50", f"validation.every={LOOKS}", f"checkpoint_every={LOOKS}"),
    )
    progress = folder / "progress.png"
    cv2.imwrite(str(progress), over_time(sorted((run / "grids").glob("val-*.png")))[..., ::-1])
    video = folder / "talking-head.mp4"
    if not video.exists() or video.stat().st_mtime < max(file.stat().st_mtime for file in (run / "grids").iterdir()):
        print("\nfilming two of them saying something else", flush=True)
        write_video(video, list(show(Storage(str(clips)), Storage(str(run)))), FPS)
    print(
        f"""
Done. To look at:
  {clips / "contact-sheet.png"}
      the people, and the landmark drawings that lead the model
  {progress}
      two people held out, after every {LOOKS} episodes
  {video}
      somebody learned from, and somebody never seen, led by new clips of themselves
  .venv/bin/mlflow ui --backend-store-uri sqlite:///{run.resolve() / "mlflow.db"}
      curves, settings and pictures at http://127.0.0.1:5000

What to expect: minutes on a CPU at 64 pixels give a blurred face that turns and speaks with the drawing, with coloured
specks around the mouth. Those learned from begin to differ from each other; somebody never seen comes out as the mean
of the few people that the model knows. What it takes is more people, longer, on a GPU: see README.md."""
    )


def job(name: str, *words: str) -> None:
    """Run one of the jobs as a person would; ends this process with its exit status if it fails."""
    print(f"\n$ python jobs/{name} {' '.join(words)}", flush=True)
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    process = subprocess.Popen([sys.executable, str(JOBS / name), *words], env=environment)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.wait()  # Ctrl-C reached the job too, and it closes its run
        raise
    if status:
        sys.exit(status)


def over_time(grids: Sequence[Path]) -> Frame:
    """The validation pictures of a run below each other, with the number of episodes."""
    rows: list[Frame] = []
    for grid in grids:
        picture = np.asarray(cv2.imread(str(grid), cv2.IMREAD_COLOR_RGB), np.uint8)
        episodes = int(grid.stem.rpartition("-")[2])
        bar = np.full((18, picture.shape[1], 3), 255, np.uint8)
        cv2.putText(
            bar, f"after {episodes:,} episodes", (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (200, 0, 0), 1, cv2.LINE_AA
        )
        rows.append(bar)
        rows.append(picture)
    return np.concatenate(rows)


@dataclass(frozen=True)
class Sitter:
    """Somebody to film."""

    title: str
    number: int
    """of the rendered population"""
    frames: list[Frame]
    drawings: list[Frame]
    """from the clips, at the model's resolution"""


def choose(clips: Storage, split: Split, title: str, resolution: int, with_pupils: bool) -> Sitter:
    """The first person of a split."""
    written = min((clip for clip in Ledger.read(clips).clips if clip.split == split), key=lambda clip: clip.clip_id)
    clip = next(clip for clip in read_clips(clips, written.file) if clip.clip_id == written.clip_id)
    found = [decode_and_draw(clip, index, resolution, with_pupils) for index in range(len(clip.frames))]
    pairs = [pair for pair in found if pair is not None]
    number = int(written.person_id.rpartition("-")[2])
    return Sitter(title, number, [frame for frame, _ in pairs], [drawing for _, drawing in pairs])


@torch.no_grad()
def show(clips: Storage, run: Storage) -> Iterator[Frame]:
    """Truth, drawing and output of both sitters. The embeddings come from their clips, the motion from a new one."""
    place = checkpoint.newest(run)
    settings = MetatrainSettings.resolve(None, yaml.safe_load(place.read("config.yaml")))
    talker = Talker(settings.networks).eval()
    folder = place.local_root
    assert folder is not None
    talker.load_state_dict(load_file(folder / "ema.safetensors"))
    size, with_pupils = settings.networks.resolution, settings.data.pupils > 0
    known = choose(clips, "train", "learned from", size, with_pupils)
    stranger = choose(clips, "val", "never seen", size, with_pupils)
    studio = Studio(load_anatomy())
    strips = []
    for sitter in (known, stranger):
        some = np.linspace(0, len(sitter.frames) - 1, 8).astype(int)
        pictures = [batch([images[index] for index in some]) for images in (sitter.frames, sitter.drawings)]
        embedding = talker.embedder(*pictures).mean(dim=0, keepdim=True)
        shot = studio.shoot(Order(SEED, sitter.number, CLIPS, FPS * SECONDS, SECONDS, 2 * size))
        strip = []
        for picture, points, pupils in zip(shot.pictures, shot.landmarks, shot.pupils, strict=True):
            drawing = draw_landmarks(resized(points, 0.5), size, resized(pupils, 0.5) if with_pupils else None)
            output = to_pictures(talker.generator(batch([drawing]), embedding))[0]
            strip.append(titled([picture, drawing, output], [f"truth ({sitter.title})", "drawing", "output"]))
        strips.append(strip)
    for rows in zip(*strips, strict=True):
        yield np.concatenate(rows)


def batch(images: list[Frame]) -> torch.Tensor:
    """[n, 3, H, W] in [-1, 1] from n HxWx3 uint8 RGB."""
    return to_unit(torch.from_numpy(np.stack(images)))


def titled(images: list[Frame], titles: list[str]) -> Frame:
    """Pictures side by side, each with a title above."""
    row = np.concatenate([cv2.resize(image, (SHOWN, SHOWN), interpolation=cv2.INTER_CUBIC) for image in images], axis=1)
    header = np.full((24, row.shape[1], 3), 255, np.uint8)
    for column, title in enumerate(titles):
        cv2.putText(header, title, (column * SHOWN + 4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([header, row]).astype(np.uint8)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
    except RaytalkError as error:
        print(f"raytalk: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("raytalk: stopped; make demo goes on from what is kept", file=sys.stderr)
        sys.exit(130)
