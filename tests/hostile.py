"""Files that somebody made to do harm."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image


def write_pictures(path: Path, announced: int, sides: Sequence[int]) -> None:
    """An AVI that announces square pictures of one size and holds some of these, in pixels."""
    with av.open(str(path), "w", format="avi") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width = stream.height = announced
        stream.pix_fmt = "yuvj420p"
        for number, side in enumerate(sides):
            jpeg = io.BytesIO()
            Image.new("RGB", (side, side), (90, 120, 150)).save(jpeg, "JPEG")
            packet = av.Packet(jpeg.getvalue())
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            output.mux(packet)
