"""What an evaluation keeps: a row for each picture that a method made, and what tables and figures are made from.

`OUTPUT/people/SPLIT/PERSON.parquet` holds the rows of one person under one split, written once all of them are there.
"""

import pyarrow as pa

ROWS = pa.schema(
    [
        ("split", pa.string()),
        ("person", pa.string()),
        ("clip", pa.string()),
        ("method", pa.string()),
        ("shots", pa.int32()),
        ("steps", pa.int32()),
        ("frame", pa.int32()),
        ("ssim", pa.float32()),
        ("psnr", pa.float32()),
        ("l1", pa.float32()),
        ("lpips", pa.float32()),
        ("csim", pa.float32()),
        ("landmark_error", pa.float32()),
        ("jitter", pa.float32()),
        ("learning_seconds", pa.float32()),
        ("frame_seconds", pa.float32()),
        ("features", pa.list_(pa.float32())),
        ("descriptor", pa.list_(pa.float32())),
        ("picture", pa.binary()),
    ]
)
"""One row per picture.

split: how learning and hold-out frames lie in time, `block` or `interleaved`. method: see METHODS. shots: T; 0 for
`truth`. steps: fine-tuning steps made so far; 0 where nothing is fine-tuned. frame: index of the hold-out frame in
the clip (of the learning frame for method `learning`). ssim .. landmark_error: of this picture against the hold-out
frame; NaN where they cannot be had (landmark_error: no face found). jitter: of the whole sequence, the same in all
its rows. learning_seconds, frame_seconds: of learning this person, and per rendered frame. features: what the
Fréchet distance sees. descriptor: of the face, what CSIM compares (found by the driving landmarks, also in a picture
that shows another pose: a copy loses by that). picture: PNG, of some frames only, spread over the hold-out frames; of
the first learning frames. Of `truth` only landmark_error and jitter are figures: of the detector itself.
"""

PROTOCOL = "protocol.json"
"""lists the trials of an evaluation, the file of each one's rows and its frames; written when all are done"""

METHODS: dict[str, str] = {
    "truth": "Real hold-out frames",
    "nearest": "Copy of the nearest learning frame",
    "mean": "Mean learning frame",
    "warping": "Warping (as X2Face)",
    "translation": "Image to image, fine-tuned (as Pix2pixHD)",
    "ff": "Ours, feed-forward",
    "ft": "Ours, fine-tuned",
    "ft/no-feature-matching": "fine-tuned without L_FM",
    "ft/no-identity": "fine-tuned without the identity network",
    "ft/random-start": "fine-tuned from random weights",
}
"""Methods as tables name them, in their order; `learning` marks rows that only keep the learning frames' pictures.

Another checkpoint NAME of the same evaluation adds NAME/ff and NAME/ft.
"""

METRICS: dict[str, tuple[str, str]] = {
    "ssim": ("SSIM", "up"),
    "psnr": ("PSNR, dB", "up"),
    "l1": ("L1", "down"),
    "lpips": ("LPIPS", "down"),
    "csim": ("CSIM", "up"),
    "landmark_error": ("landmark error", "down"),
    "not_found": ("no face found", "down"),
    "jitter": ("jitter", "down"),
    "frechet": ("FID", "down"),
    "kernel": ("KID", "down"),
}
"""Columns of a summary, their short titles (a stand-in's comes from the evaluation's labels) and which way is better.

A summary is a table with a row for each (split, method, shots, steps) and the columns `people`, `frames`, each metric,
and METRIC_low, METRIC_high: the 95 % interval over people (bootstrap), for those that are means over people.
"""


def method_title(method: str) -> str:
    """How tables and figures name a method."""
    if method in METHODS:
        return METHODS[method]
    name, _, mode = method.rpartition("/")
    return f"{name}, {METHODS.get(mode, mode).removeprefix('Ours, ')}"
