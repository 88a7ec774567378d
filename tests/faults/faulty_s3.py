"""An S3 server that misbehaves when told to: moto's over HTTP, behind a proxy of ours.

What comes through the proxy is counted; faults begin and end by the clock or by hand, for every process that uses it.
"""

import contextlib
import http.client
import os
import socket
import struct
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import boto3
from moto.server import ThreadedMotoServer

Kind = Literal["unavailable", "slow", "reset", "half", "silent", "full", "forbidden"]
"""unavailable: 503 to everything; slow: `seconds_each` before every answer; reset: connections are reset; half: amid
the answer; silent: no answer at all; full: writes are refused with 507; forbidden: everything is, with 403"""

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
_WRITES = ("PUT", "POST")
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Fault:
    """What is wrong, until when (by time.monotonic)."""

    kind: Kind
    until: float
    seconds_each: float = 1.0


class FaultyS3:
    """A bucket behind the proxy."""

    def __init__(self) -> None:
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        self.behind = "{}:{}".format(*self._moto.get_host_and_port())
        """host:port of the server itself, which never fails"""
        self._proxy = _Proxy(self)
        host, port = str(self._proxy.server_address[0]), int(self._proxy.server_address[1])
        self.endpoint = f"http://{host}:{port}"
        threading.Thread(target=self._proxy.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        self.counts: Counter[str] = Counter()
        """requests let through (`passed`) and by what was wrong with them"""
        self._fault: Fault | None = None
        bucket = f"faulty-{uuid.uuid4().hex[:8]}"
        self._client = boto3.client(
            "s3",
            endpoint_url=f"http://{self.behind}",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )
        self._client.create_bucket(Bucket=bucket)
        self.bucket = bucket
        self.uri = f"s3://{bucket}"

    @property
    def environment(self) -> dict[str, str]:
        """What leads a process to the proxy."""
        return {**KEYS, "AWS_ENDPOINT_URL_S3": self.endpoint}

    @property
    def fault(self) -> Fault | None:
        """What is wrong at this moment."""
        fault = self._fault
        return fault if fault is not None and time.monotonic() < fault.until else None

    def break_for(self, kind: Kind, seconds: float = 1e9, seconds_each: float = 1.0) -> None:
        """From now on for so long, or until `mend`."""
        self._fault = Fault(kind, time.monotonic() + seconds, seconds_each)

    def break_from_next_request(self, kind: Kind, seconds: float, patience: float = 600.0) -> None:
        """From the next request on for so many seconds; returns when that one came."""
        before = self.failed
        self.break_for(kind)
        deadline = time.monotonic() + patience
        while self.failed == before and time.monotonic() < deadline:
            time.sleep(0.05)
        self.break_for(kind, seconds)

    @property
    def failed(self) -> int:
        """Requests that were not let through, or not unharmed."""
        return sum(count for name, count in self.counts.items() if name != "passed")

    def mend(self) -> None:
        """From now on everything is let through."""
        self._fault = None

    def objects(self) -> list[str]:
        """Their keys, asked behind the proxy."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def uploads(self) -> int:
        """Multipart uploads that were begun and neither completed nor given up."""
        return len(self._client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []))

    def read(self, key: str) -> bytes:
        """An object's bytes, from behind the proxy."""
        body: bytes = self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body

    def write(self, key: str, data: bytes) -> None:
        """An object's bytes, from behind the proxy."""
        self._client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def close(self) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()
        self._moto.stop()


@contextlib.contextmanager
def faulty_s3() -> Iterator[FaultyS3]:
    """A server for the block, with the environment of this process leading to it."""
    before = {name: os.environ.get(name) for name in (*KEYS, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION")}
    server = FaultyS3()
    for name in before:
        os.environ.pop(name, None)
    os.environ.update(server.environment)
    try:
        yield server
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        server.close()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner: FaultyS3) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is none of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Proxy

    def _handle(self) -> None:
        owner, fault = self.server.owner, self.server.owner.fault
        kind = fault.kind if fault else ""
        if kind == "reset":
            owner.counts["reset"] += 1
            self._reset()
            return
        body = self._body()
        if fault and kind == "silent":
            owner.counts["silent"] += 1
            while owner.fault is fault:
                time.sleep(0.1)
            self._reset()
            return
        if fault and kind == "slow":
            owner.counts["slow"] += 1
            time.sleep(fault.seconds_each)
        if kind == "unavailable":
            self._refuse(503, "SlowDown", "Please reduce your request rate.")
        elif kind == "forbidden":
            self._refuse(403, "AccessDenied", "Access Denied")
        elif kind == "full" and self.command in _WRITES and "delete" not in self.path:
            self._refuse(507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.")
        else:
            self._pass_on(body, half=kind == "half")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _pass_on(self, body: bytes, half: bool) -> None:
        owner = self.server.owner
        behind = http.client.HTTPConnection(owner.behind, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_THE_CONNECTION}
        try:
            behind.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            answer = behind.getresponse()
            data = answer.read()
        finally:
            behind.close()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_THE_CONNECTION:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if half and len(data) > 1:
            owner.counts["half"] += 1
            self.wfile.write(data[: len(data) // 2])
            self._reset()
            return
        self.wfile.write(data)
        owner.counts["passed"] += 1

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.server.owner.counts[code] += 1
        text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def _reset(self) -> None:
        """Close with RST instead of FIN."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            # The handler's streams hold the socket too; what is behind them must not be sent.
            self.connection.shutdown(socket.SHUT_RD)
            os.close(self.connection.detach())

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are counted, not written down."""


_OF_THE_CONNECTION = {"connection", "content-length", "transfer-encoding", "expect", "keep-alive"}
