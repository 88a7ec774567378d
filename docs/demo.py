"""What `make demo` runs: render people who do not exist, learn from them, make a video of what the model draws.

Then the same with the model that comes with raytalk, for somebody new, and for whoever is on a photograph of yours.

    python docs/demo.py runs/demo [PHOTOGRAPH]

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
EPISODES, LOOKS = 1600, 400
"""episodes to learn from, and between two validation pictures"""
FPS, SECONDS = 25, 5
"""of the video"""
SHOWN = 224
"""side of each picture in the video, in pixels"""
NEW_SEED = 2026
"""another population than those that the model which comes along has learned from (0, 1 and 2)"""
STEPS = 25
"""of fine-tuning to somebody new; 250 are the default, and better"""
JOBS = Path(__file__).resolve().parent.parent / "jobs"


def main(folder: Path, photograph: str = "") -> None:
    """Run or go on with the demo below `folder`."""
    made = [*learn_from_nothing(folder), "", *somebody_new(folder)]
    if photograph:
        made += yours(folder, photograph)
    made += ["", "  make service", "      the same in a browser, with your photographs and your camera"]
    print("\nDone. To look at:\n" + "\n".join(made))


def learn_from_nothing(folder: Path) -> list[str]:
    """A small model, learned here and now; what there is to look at."""
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
    return [
        "A model of 64 pixels that has just learned, from 24 people, for some minutes on CPUs:",
        f"  {clips / 'contact-sheet.png'}",
        "      the people, and the landmark drawings that lead the model",
        f"  {progress}",
        f"      two people held out, after every {LOOKS} episodes",
        f"  {video}",
        "      somebody learned from, and somebody never seen, led by new clips of themselves: blurred faces that turn",
        "      and speak with the drawing, with coloured specks. Those learned from hardly differ from each other yet;",
        "      somebody never seen comes out as the mean of the few people that the model knows.",
        f"  .venv/bin/mlflow ui --backend-store-uri sqlite:///{run.resolve() / 'mlflow.db'}",
        "      curves, settings and pictures at http://127.0.0.1:5000",
    ]


def somebody_new(folder: Path) -> list[str]:
    """Somebody whom the model that comes along has never seen, from 8 frames; what there is to look at."""
    place = folder / "somebody-new"
    video = place / "talking-head.mp4"
    if not video.exists():
        job(
            "synthesize.py",
            *(f"clips={place}", "people=1", "clips_per_person=2", f"frames_per_clip={FPS * SECONDS}"),
            *(f"seconds={SECONDS}", "resolution=128", f"seed={NEW_SEED}", "val_share=0", "test_share=0"),
        )
        enrol(place, f"images={place}", f"clip={clip_of_new(0)}", "name=somebody-new")
        drive(place, folder, clip_of_new(1))
    return [
        "The model that comes with raytalk (128 pixels, 20,000 other rendered people, 22 minutes on GPUs), and",
        f"somebody new to it, learned from 8 frames in {STEPS} steps:",
        f"  {place / 'learned.png'}",
        "      what was learned from, the model without learning (feed-forward), and fine-tuned",
        f"  {video}",
        "      another clip of that person drives; background and clothes stay those that were learned",
    ]


def yours(folder: Path, photograph: str) -> list[str]:
    """Whoever is on a photograph, driven by somebody else; what there is to look at."""
    place = folder / "yours"
    enrol(place, f"images={photograph}", "again=true", "detector=dlib")
    drive(place, folder, clip_of_new(0), "accept_detector=true")  # which turns less: one photograph shows one side
    return [
        "",
        "The same with your photograph. The model knows rendered people alone: more photographs and all 250 steps make",
        "it better (README.md):",
        f"  {place / 'learned.png'}",
        f"  {place / 'talking-head.mp4'}",
    ]


def enrol(place: Path, *words: str) -> None:
    """An avatar of the model that comes along, with a sheet."""
    job(
        "finetune.py",
        *(*words, "checkpoint=base", f"output={place / 'avatar'}", f"sheet={place / 'learned.png'}"),
        *("device=cpu", f"fewshot.steps={STEPS}", "fewshot.batch_size=4"),
    )


def drive(place: Path, folder: Path, clip: str, *words: str) -> None:
    """A video of the avatar, led by a clip of somebody new."""
    job(
        "puppeteer.py",
        *(f"avatar={place / 'avatar'}", f"driver={folder / 'somebody-new'}", f"clip={clip}", *words),
        *(f"output={place / 'talking-head.mp4'}", "side_by_side=true", "device=cpu"),
    )


def clip_of_new(number: int) -> str:
    """Id of a clip of somebody new."""
    return f"rendered-{NEW_SEED}-000000/{number:03d}/0000"


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
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"), *sys.argv[2:3])
    except RaytalkError as error:
        print(f"raytalk: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("raytalk: stopped; make demo goes on from what is kept", file=sys.stderr)
        sys.exit(130)
