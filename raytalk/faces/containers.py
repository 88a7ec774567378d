"""Opening a video that somebody gave. The one place that does so, so that what it says is followed nowhere.

FFmpeg knows formats that are lists of other files, hosts or commands (playlists, concat, sdp, lavfi ...): a file that
is such a list, whatever its name, would make it open what whoever wrote the file likes. Those that hold their pictures
themselves are taken, read as a local file. (MP4's references to data in another file are off in FFmpeg as it is.)
"""

from pathlib import Path

import av
import av.error
from av.container import InputContainer

from raytalk.errors import VideoError

_DEMUXERS = ("mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "asf", "flv", "ogg", "gif")
"""names of FFmpeg's; that of MP4 reads 3GP and M4V too"""
TAKEN = "MP4, MOV, MKV, WebM, AVI, MPEG, WMV, FLV, OGV or GIF"
"""the same for people"""


def open_video(path: str | Path) -> InputContainer:
    """A file to be read; the caller closes it. Raises VideoError, also for a file that is no video by its content."""
    try:
        # Without `file:` a name such as concat:a|b would be more than a name.
        return av.open(
            f"file:{path}",
            mode="r",
            options={"format_whitelist": ",".join(_DEMUXERS), "protocol_whitelist": "file"},
            metadata_errors="ignore",
        )
    except (av.error.InvalidDataError, av.error.ArgumentError) as error:
        empty = Path(path).is_file() and Path(path).stat().st_size == 0
        reason = "it is empty" if empty else f"it is damaged, or no video of a kind that is taken ({TAKEN})"
        raise VideoError(f"cannot read {path}: {reason}") from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"cannot read {path}: {text_of(error)}") from error


def text_of(error: Exception) -> str:
    """What went wrong, in one line."""
    strerror = getattr(error, "strerror", None)
    return " ".join(str(strerror or error).split())[:200]
