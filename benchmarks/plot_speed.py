"""Draw what train_step.py measured: episodes per second and memory over the batch size.

for size in 8 16 32; do python benchmarks/train_step.py batch_sizes=$size > step-$size.json; done
python benchmarks/plot_speed.py step-*.json speed.svg
"""

import json
import sys
from pathlib import Path

import matplotlib
from matplotlib import pyplot


def main(files: list[str], picture: str) -> None:
    """Write a picture of the kind that its name ends with."""
    matplotlib.use("Agg")
    measured = [json.loads(Path(file).read_text()) for file in files]
    rows = [row for each in measured for row in each["steps"] if "episodes per second" in row]
    rows.sort(key=lambda row: row["batch size"])
    sizes = [row["batch size"] for row in rows]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(sizes, [row["episodes per second"] for row in rows], "o-")
    for row in rows:
        place = (row["batch size"], row["episodes per second"])
        left.annotate(
            f"{row['episodes per second']:.0f}", place, xytext=(0, 7), textcoords="offset points", ha="center"
        )
    top = 1.15 * max(row["episodes per second"] for row in rows)
    left.set(xlabel="episodes per step", ylabel="episodes per second", ylim=(0, top))
    left.set_title(measured[0]["machine"]["device"])
    right.plot(sizes, [row["memory, GB"] for row in rows], "s-", color="tab:red")
    right.set(xlabel="episodes per step", ylabel="GB of GPU memory", ylim=(0, 80), title="memory")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.set_xticks(sizes)
    figure.savefig(picture)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(sys.argv[1:-1], sys.argv[-1])
