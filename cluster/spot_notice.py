"""Runs beside Ray on a spot machine of AWS: when the machine is announced to be taken away, Ray hears of it.

    nohup python spot_notice.py >/tmp/spot_notice.log 2>&1 &

AWS tells a machine some two minutes before, in the metadata that only the machine itself can read, and Ray does not
look there. Ray then places nothing new on the node and tells those who work there: training keeps a checkpoint in time.
On a machine that is not spot nothing is ever announced. Needs no package.
"""

import argparse
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime

METADATA = "http://169.254.169.254"
_TOKEN_S = 21_600
"""for which a token of the metadata is asked"""
_ANSWER_S = 2.0
_TRIES = 5
"""at telling Ray: there is little time, and its head may be busy"""


class Metadata:
    """What the machine may know about itself (version 2, with a token)."""

    def __init__(self, address: str = METADATA) -> None:
        self._address, self._token = address.rstrip("/"), ""
        # Never by way of a proxy.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def taken_away_at(self) -> datetime | None:
        """When, if it is announced. Raises OSError or ValueError if there is no answer that can be understood."""
        try:
            told = json.loads(self._get("/latest/meta-data/spot/instance-action"))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise
        if told.get("action") not in ("terminate", "stop", "hibernate"):
            return None
        return datetime.fromisoformat(str(told["time"]))

    def _get(self, path: str) -> bytes:
        try:
            return self._ask(path, {"X-aws-ec2-metadata-token": self._token or self._new_token()})
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
            return self._ask(path, {"X-aws-ec2-metadata-token": self._new_token()})

    def _new_token(self) -> str:
        seconds = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_S)}
        self._token = self._ask("/latest/api/token", seconds, "PUT").decode()
        return self._token

    def _ask(self, path: str, headers: dict[str, str], method: str = "GET") -> bytes:
        request = urllib.request.Request(self._address + path, headers=headers, method=method)
        with self._opener.open(request, timeout=_ANSWER_S) as answer:
            return bytes(answer.read())


def tell_ray(seconds: int, address: str = "", node: str = "") -> bool:
    """Whether Ray took note. seconds: until the machine is gone."""
    command = ["ray", "drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    command += ["--reason-message", "the spot machine is taken away", "--deadline-remaining-seconds", str(seconds)]
    command += ["--address", address] if address else []
    command += ["--node-id", node] if node else []
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode:
        say(f"Ray did not take note: {' '.join(told.stderr.split())[-300:]}")
    return told.returncode == 0


def watch(metadata: Metadata, every: float, address: str = "", node: str = "") -> bool:
    """Until the machine is announced to be taken away; whether Ray took note of it."""
    trouble = ""
    while True:
        try:
            at = metadata.taken_away_at()
            trouble = ""
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if str(error) != trouble:
                trouble = str(error)
                say(f"the machine's metadata do not answer: {trouble}")
            at = None
        if at is not None:
            break
        time.sleep(every)
    for _ in range(_TRIES):
        left = max(0, int((at.astimezone(UTC) - datetime.now(UTC)).total_seconds()))
        say(f"this machine is taken away in {left} s")
        if tell_ray(left, address, node):
            return True
        time.sleep(1.0)
    return False


def say(text: str) -> None:
    """To the log."""
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: {text}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="", help="of Ray's head; the cluster that runs on this machine")
    parser.add_argument("--node", default="", help="id of the node; the one of this machine")
    parser.add_argument("--metadata", default=METADATA, help="where the machine's metadata are")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two looks")
    options = parser.parse_args(arguments)
    say("waiting for a notice")
    return 0 if watch(Metadata(options.metadata), options.every, options.address, options.node) else 1


if __name__ == "__main__":
    sys.exit(main())
