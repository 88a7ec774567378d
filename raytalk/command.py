"""What every file in jobs/ shares: settings in, exit status out."""

import logging
import os
import sys
from collections.abc import Callable
from typing import TypeVar

from raytalk.config import JobSettings, parse_command_line
from raytalk.errors import RaytalkError, StorageError

S = TypeVar("S", bound=JobSettings)


def run_job(settings_class: type[S], about: str, job: Callable[[S], None]) -> None:
    """Parse the command line, run `job`, exit: 0 done, 2 the user's mistake, 1 anything else (130 for Ctrl-C).

    A RaytalkError becomes one line on stderr; anything else keeps its traceback.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        job(parse_command_line(settings_class, sys.argv[1:], about))
    except RaytalkError as error:
        print(f"raytalk: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("raytalk: stopped; the same command goes on from what is kept", file=sys.stderr)
        sys.exit(130)


def absolute_uri(uri: str) -> str:
    """Make a folder absolute, `~` included; leave URIs alone.

    Raises StorageError for a relative folder inside a submitted job: it would be written into the job's temporary
    copy of the working folder and be lost.
    """
    if "://" in uri:
        return uri
    expanded = os.path.expanduser(uri)
    if not os.path.isabs(expanded) and "_ray_pkg_" in os.getcwd():
        raise StorageError(
            f"'{uri}' is relative, and a submitted job runs in a temporary copy of the working folder: "
            "give an absolute folder or an s3:// URI"
        )
    return os.path.abspath(expanded)
