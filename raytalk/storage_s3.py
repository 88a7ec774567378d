"""Opening a bucket of an object store that speaks S3."""

import os
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from raytalk.errors import StorageError
from raytalk.storage_advice import advice

_SHORT, _LASTING = 3, 14
"""attempts of the S3 client itself, with pauses that grow to 20 s; `storage_patience` goes on after the short ones"""
_SILENCE_SECONDS = 30.0


def open_s3(uri: str, lasting: bool = False) -> tuple[pafs.FileSystem, str, str]:
    """The file system of an s3:// URI, the path in it, and what to call the store.

    lasting: a client that goes on asking by itself for two minutes or more, for who cannot ask again; it may be sent to
    processes without the environment of this one. Raises StorageError.
    """
    parts = urlsplit(uri)
    if parts.scheme != "s3":
        raise StorageError(f"cannot use {uri}: give a folder or s3://bucket/prefix")
    if not parts.netloc:
        raise StorageError(f"cannot use {uri}: the bucket's name is missing (s3://bucket/prefix)")
    query: dict[str, Any] = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and "endpoint_override" not in query:
        scheme, colon, address = endpoint.rstrip("/").partition("://")
        if not colon:
            raise StorageError(f"AWS_ENDPOINT_URL_S3={endpoint} must begin with http:// or https://")
        query["scheme"], query["endpoint_override"] = scheme, address
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None and "endpoint_override" in query:
        region = "us-east-1"
    if lasting and "access_key" not in query and os.environ.get("AWS_ACCESS_KEY_ID"):
        # What pyarrow finds in the environment by itself it does not send along.
        query["access_key"] = os.environ["AWS_ACCESS_KEY_ID"]
        query["secret_key"] = os.environ.get("AWS_SECRET_ACCESS_KEY", "")
        query["session_token"] = os.environ.get("AWS_SESSION_TOKEN")
    store = f"s3://{parts.netloc}" + (f" at {query['endpoint_override']}" if "endpoint_override" in query else "")
    try:
        filesystem = (_Lasting if lasting else pafs.S3FileSystem)(
            region=query.pop("region", region),
            connect_timeout=10,
            request_timeout=_SILENCE_SECONDS,
            # A small file is then put by one request instead of three.
            allow_delayed_open=True,
            retry_strategy=_attempts(_LASTING if lasting else _SHORT),
            **query,
        )
    except (OSError, TypeError, pa.ArrowException) as error:
        raise StorageError(f"cannot open {uri}: {advice(error)}") from error
    return filesystem, f"{parts.netloc}{parts.path}".rstrip("/"), store


class _Lasting(pafs.S3FileSystem):  # type: ignore[misc]
    """Keeps its patience where it is sent to; pyarrow's would be asked three times there."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, super().__reduce__()[1]


def _received(options: dict[str, Any]) -> _Lasting:
    return _Lasting(**options, retry_strategy=_attempts(_LASTING))


def _attempts(most: int) -> pafs.AwsStandardS3RetryStrategy:
    return pafs.AwsStandardS3RetryStrategy(max_attempts=most)
