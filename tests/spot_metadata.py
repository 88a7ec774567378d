"""The metadata of a spot machine, as AWS gives them (IMDSv2), on a port of this one."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class SpotMetadata:
    """Nothing is announced before `announce`."""

    def __init__(self) -> None:
        self.action: dict[str, Any] | None = None
        self.tokens: list[str] = []
        self.asked = 0
        """times that somebody with a valid token looked"""
        self.url = ""

    def announce(self, seconds: float, action: str = "terminate") -> None:
        """The machine is taken away then."""
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        self.action = {"action": action, "time": f"{at:%Y-%m-%dT%H:%M:%SZ}"}

    def forget_tokens(self) -> None:
        """As if they were old."""
        self.tokens.clear()

    @contextmanager
    def running(self) -> Iterator["SpotMetadata"]:
        metadata = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                wanted = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
                metadata.tokens.append(f"token-{len(metadata.tokens)}-{id(metadata)}")
                self._say(200 if wanted else 400, metadata.tokens[-1].encode())

            def do_GET(self) -> None:
                if self.headers["X-aws-ec2-metadata-token"] not in metadata.tokens:
                    self._say(401, b"")
                elif self.path != "/latest/meta-data/spot/instance-action":
                    self._say(404, b"")
                else:
                    metadata.asked += 1
                    found = metadata.action
                    self._say(200 if found else 404, json.dumps(found).encode() if found else b"")

            def _say(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
