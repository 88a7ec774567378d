"""The tables of `scaling.py`, each a function of its model that gives Markdown."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaling import Model

Table = Callable[["Model"], str]


def networks(model: "Model") -> str:
    """Parameters and bytes."""
    sizes = model.sizes
    parts = {"E": sizes.embedder, "G with P": sizes.generator, "D": sizes.discriminator}
    rows = [[name, number(part.parameters), bytes_text(4 * part.parameters)] for name, part in parts.items()]
    together = sum(part.parameters for part in parts.values())
    rows.append(["together", number(together), bytes_text(4 * together)])
    return markdown(["network", "parameters", "float32"], rows)


def messages(model: "Model") -> str:
    """What a GPU sends in a step."""
    sizes, episodes = model.sizes, model.of.batch_size
    talker, judge = 4 * sizes.talker, 4 * sizes.discriminator.parameters * sizes.discriminator_steps
    counts = [count for count in model.of.counts() if count > 1]

    def ring(size: float) -> list[str]:
        return [bytes_text(2 * (count - 1) / count * size) for count in counts]

    rows = [
        ["gradients of E and G, beside D's first pass", bytes_text(talker), *ring(talker)],
        [f"gradients of D, {sizes.discriminator_steps} times", bytes_text(judge), *ring(judge)],
        [
            "touched rows of W",
            bytes_text(sizes.gathered(episodes)),
            *(bytes_text((count - 1) * sizes.gathered(episodes)) for count in counts),
        ],
        ["all", "", *(bytes_text(sizes.sent(count, episodes)) for count in counts)],
        ["for comparison: all of W, dense", "", *ring(4 * sizes.embedding * model.of.videos)],
    ]
    return markdown(["message", "of one GPU", *(f"sent, {count} GPUs" for count in counts)], rows)


def links(model: "Model") -> str:
    """How much of a step's speed is left, by link."""
    counts = [count for count in model.of.counts() if count > 1]
    rows = [
        [f"one host, as measured ({model.host_link / 1e9:.0f} GB/s)", *_share(model, counts, model.host_link, most=8)]
    ]
    for link in model.of.links.split(","):
        rate = float(link) * 1e9
        rows.append([f"{link} GB/s ({float(link) * 8:.0f} Gbit/s)", *_share(model, counts, rate)])
    return markdown(["each GPU sends", *(f"{count} GPUs" for count in counts)], rows)


def data(model: "Model") -> str:
    """Bytes and requests."""
    of, scales = model.of, (1, model.of.factor)

    def row(name: str, value: Callable[[int], str]) -> list[str]:
        return [name, *(value(scale) for scale in scales)]

    rows = [
        row("people · videos", lambda s: f"{number(of.people * s)} · {number(of.videos * s)}"),
        row("clips", lambda s: number(of.clips * s)),
        row("source", lambda s: bytes_text(of.source_bytes * s)),
        row("clips in Parquet", lambda s: bytes_text(of.clip_bytes * of.clips * s)),
        row(f"files of {of.clips_per_file} clips", lambda s: number(model.files(s))),
        row("requests for writing them", lambda s: number(model.files(s) * of.write_per_file)),
        row("requests for looking them over when a run starts", lambda s: number(model.files(s) * of.scan_per_file)),
        row(f"... at {of.request_seconds * 1e3:.0f} ms, 16 at a time", lambda s: seconds_text(model.scan_seconds(s))),
        row("episodes", lambda s: number(model.episodes(s))),
        row("bytes read by all of them", lambda s: bytes_text(of.clip_bytes * model.episodes(s))),
        row("requests for that", lambda s: number(model.requests_per_episode * model.episodes(s))),
    ]
    return markdown(["", "VoxCeleb2", f"{of.factor} times"], rows)


def bandwidth(model: "Model") -> str:
    """What a GPU takes in."""
    of, rate = model.of, model.rate
    used = of.clip_bytes * (1 + model.run.data.shots) / 32
    counts = model.of.counts()

    def row(name: str, value: Callable[[int], str]) -> list[str]:
        return [name, *(value(count) for count in counts)]

    rows = [
        row("episodes a second", lambda n: number(rate * n)),
        row("from the object store", lambda n: f"{bytes_text(of.clip_bytes * rate * n)}/s"),
        row("... of which an episode uses", lambda n: f"{bytes_text(used * rate * n)}/s"),
        row("requests a second", lambda n: number(model.requests_per_episode * rate * n)),
        row("cores that decode and draw", lambda n: number(math.ceil(rate * n / of.drawn_per_core))),
        row("drawn episodes, through Ray's object store", lambda n: f"{bytes_text(model.episode_bytes * rate * n)}/s"),
    ]
    return markdown(["", *(f"{count} GPUs" if count > 1 else "1 GPU" for count in counts)], rows)


def embeddings(model: "Model") -> str:
    """W."""
    of, sizes = model.of, model.sizes
    rows = []
    for scale in (1, 10, of.factor):
        size = sizes.rows(of.videos * scale)
        share = size / (of.gpu_memory - of.step_memory)
        fits = "yes" if share <= 1 else f"no: over at least {math.ceil(share)} GPUs"
        rows.append([number(of.videos * scale), bytes_text(size), f"{share:.1%}" if share <= 1 else "", fits])
    return markdown(["videos", "rows, moments, visits", "of what the step leaves", "fits on each GPU"], rows)


def same(model: "Model") -> str:
    """The matrix that finds episodes of one video."""
    rows = []
    for count in (64, 512, 4096):
        together = count * model.of.batch_size
        size = model.sizes.same_video(count, model.of.batch_size)
        product = 2 * together**2 * model.sizes.embedding
        rows.append([number(count), number(together), bytes_text(size), f"{product / 1e9:,.3g} GFLOP"])
    return markdown(["GPUs", "episodes a step", "matrix", "each of its three products"], rows)


def checkpoints(model: "Model") -> str:
    """Bytes of a checkpoint's files."""
    of = model.of
    columns = [model.sizes.checkpoint(of.videos * scale, of.video_name_bytes) for scale in (1, of.factor)]
    rows = [[f"`{name}`", *(bytes_text(column[name]) for column in columns)] for name in columns[0]]
    rows.append(["together", *(bytes_text(sum(column.values())) for column in columns)])
    return markdown(["file", "VoxCeleb2", f"{of.factor} times"], rows)


def intervals(model: "Model") -> str:
    """Young's interval, and what failures cost."""
    of = model.of
    rows = []
    for name, failures in _failures(model):
        interval = math.sqrt(2 * of.copy_seconds * failures)
        lost = of.copy_seconds / interval + (interval / 2 + of.restart_seconds) / failures
        rate = model.rate * int(name.split()[0])
        writing = 2 * model.checkpoint_bytes(1) / of.disk_rate
        episodes = number(_two_digits(max(interval, writing) * rate))
        times = [seconds_text(each) for each in (failures, interval)]
        rows.append([name, *times, episodes, f"{lost:.2%}", seconds_text(20_000 / rate)])
    heads = ["GPUs", "between failures", "best interval", "`checkpoint_every`", "time lost", "the default of 20,000 is"]
    return markdown(heads, rows)


def cost(model: "Model") -> str:
    """Hours and dollars of a model."""
    of = model.of
    rows = []
    for scale, name in ((1, "VoxCeleb2"), (of.factor, f"{of.factor} times")):
        for count in of.counts():
            hours = model.hours(scale, count)
            dollars = hours * count * of.gpu_price
            rows.append([name, number(count), seconds_text(hours * 3600), number(hours * count), f"${number(dollars)}"])
    return markdown(["data", "GPUs", "time", "GPU hours", "cost"], rows)


def stages(model: "Model") -> str:
    """VoxCeleb2 from download to evaluation."""
    of = model.of
    clips, frames = of.clip_bytes * of.clips, number(of.clips * of.candidates)
    gpu, core = model.detector_gpu_hours(1), model.detector_core_hours(1)
    reads = model.requests_per_episode * model.episodes(1)
    stored = _dollars(clips / 1e9 * of.month_price, "/month")
    rows = [
        ["download and unpack", f"{bytes_text(of.source_bytes)}, twice while unpacking", "37 minutes at 1 Gbit/s", ""],
        [
            "put into a bucket",
            f"{number(of.clips)} files",
            f"{number(of.clips)} PUT",
            _dollars(of.clips * of.put_price),
        ],
        ["find faces, one H100", f"{frames} frames", f"{gpu:.0f} h", _dollars(gpu * of.gpu_price)],
        ["or on CPUs, dlib", "the same", f"{number(core)} core hours", _dollars(core * of.core_price)],
        ["clips", f"{bytes_text(clips)}, {number(model.files(1))} files", "", stored],
        ["look them over, at each start", "", seconds_text(model.scan_seconds(1)), ""],
        *(
            [name, f"{number(model.episodes(1))} episodes", f"{hours:.1f} h", _dollars(hours * count * of.gpu_price)]
            for name, count, hours in (
                ("learn, one H100", 1, model.hours(1, 1)),
                ("learn, 8 H100 of one host", 8, model.hours(1, 8)),
            )
        ),
        [
            "... its reading",
            bytes_text(of.clip_bytes * model.episodes(1)),
            f"{number(reads)} GET",
            _dollars(reads * of.get_price),
        ],
        ["a checkpoint", bytes_text(model.checkpoint_bytes(1)), "", ""],
        ["evaluate 50 people, one H100", "T = 1, 8, 32", "10 minutes", _dollars(of.gpu_price / 6)],
    ]
    return markdown(["stage", "size", "time", "cost"], rows)


TABLES: dict[str, Table] = {
    "networks": networks,
    "data": data,
    "bandwidth": bandwidth,
    "messages": messages,
    "links": links,
    "embeddings": embeddings,
    "same": same,
    "checkpoints": checkpoints,
    "intervals": intervals,
    "cost": cost,
    "stages": stages,
}


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float) -> str:
    """With commas, large ones in billions."""
    if value >= 1e9:
        return f"{value / 1e9:.2f} billion"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def bytes_text(value: float) -> str:
    """In powers of 1000, three digits."""
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            scaled = value / size
            return f"{scaled:.0f} {unit}" if scaled >= 100 else f"{scaled:.3g} {unit}"
    return f"{value:.0f} B"


def seconds_text(value: float) -> str:
    """Roughly."""
    for unit, size in (("years", 365 * 86400.0), ("days", 86400.0), ("h", 3600.0), ("minutes", 60.0)):
        if value >= 2 * size or (unit == "h" and value >= size):
            scaled = value / size
            return f"{scaled:.0f} {unit}" if scaled >= 10 else f"{scaled:.2g} {unit}"
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def _share(model: "Model", counts: list[int], link: float, most: int | None = None) -> list[str]:
    """Efficiency with E's and G's gradients hidden, and with none of them hidden."""
    return [
        f"{model.efficiency(count, link):.0%} ({model.efficiency(count, link, hidden=False):.0%})"
        if most is None or count <= most
        else ""
        for count in counts
    ]


def _failures(model: "Model") -> Iterable[tuple[str, float]]:
    """Name and seconds between failures."""
    for count in model.of.counts():
        yield f"{count} on demand", model.of.hours_per_failure * 3600 / count
    for count in model.of.counts():
        if count >= 8:
            yield f"{count} on spot hosts of 8", model.of.spot_hours * 3600 / (count / 8)


def _two_digits(value: float) -> float:
    step = 10 ** (math.floor(math.log10(value)) - 1)
    return round(value / step) * step


def _dollars(value: float, per: str = "") -> str:
    return f"${value:,.0f}{per}" if value >= 10 else f"${value:.2f}{per}"
