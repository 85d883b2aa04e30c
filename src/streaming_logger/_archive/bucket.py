"""The object storage: the one module that uses obstore (extra `archive`), which speaks to S3, GCS, Azure and files.

Credentials and endpoints come from the provider's usual environment variables. Its calls wait on the thread that
makes them: those for asyncio end on a thread of Rust's, which aborted 1 in 36 processes that exited just then.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

__all__ = ["SCHEMES", "ArchiveError", "Bucket", "ForkedError", "Found"]

SCHEMES = ("s3", "gs", "az", "file")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "GOOGLE_BASE_URL")
#: Objects in one answer to a listing.
_PAGE = 1000
_TIMEOUT = "30 seconds"
_CONNECT_TIMEOUT = "5 seconds"
_LONGEST_BACKOFF = timedelta(seconds=5)

#: The process that uses obstore. Its threads do not survive a fork: a forked child's requests would wait for ever.
_pid: int | None = None


class ArchiveError(Exception):
    """The object storage cannot be used, or refused a request; the text says why."""


class ForkedError(ArchiveError):
    """This process was forked from one that uses object storage: no request would ever end."""


class Found(NamedTuple):
    """An object in a listing."""

    key: str
    size: int


class Bucket:
    """A bucket, or a folder in it. Raises `ArchiveError` for all that fails.

    `requests` counts what was asked of the store, without retries.
    """

    def __init__(self, url: str, *, max_retries: int = 3) -> None:
        global _pid
        if _pid not in (None, os.getpid()):
            raise ForkedError(
                "this process was forked from one that uploads; that one goes on, "
                "or run `streaming-logger archive --follow` beside it"
            )
        try:
            import obstore
            from obstore import store
        except ImportError as error:
            raise ArchiveError("the archive needs obstore: pip install 'streaming-logger[archive]'") from error
        _pid = os.getpid()
        self.url = url
        self.requests = 0
        self._api: Any = obstore
        scheme = urlsplit(url).scheme
        self._is_s3, self._is_local = scheme == "s3", scheme == "file"
        if scheme not in SCHEMES:
            raise ArchiveError(f"{url!r} is no URL of an archive: s3://, gs://, az:// or file:///")
        options: dict[str, Any] = {
            "retry_config": {"max_retries": max_retries, "backoff": {"max_backoff": _LONGEST_BACKOFF}},
            "client_options": {
                "timeout": _TIMEOUT,
                "connect_timeout": _CONNECT_TIMEOUT,
                "allow_http": any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS),
            },
        }
        if self._is_s3:
            options["config"] = {"checksum_algorithm": "SHA256"}  # S3 refuses a body that does not match
        with _Failures(url):
            if self._is_local:
                self._store: Any = store.LocalStore(unquote(urlsplit(url).path), mkdir=True)
            else:
                self._store = store.from_url(url, **options)

    def put(self, key: str, data: bytes, attributes: Mapping[str, str] | None = None) -> None:
        """Stores an object, in the place of an older one, and makes sure that it is whole."""
        with _Failures(key):
            answer = self._put(key, data, attributes, use_multipart=False)
        tag = (answer["e_tag"] or "").strip('"')
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if not (self._is_s3 and tag == md5):  # another kind of tag: asked for its size
            self._check(key, len(data))

    def put_parts(self, key: str, parts: Iterable[bytes], attributes: Mapping[str, str] | None = None) -> int:
        """The same for what is too large for memory; returns its size."""
        size = 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for part in parts:
                size += len(part)
                yield part

        with _Failures(key):
            self._put(key, counted(), attributes, use_multipart=True, max_concurrency=2)
        self._check(key, size)
        return size

    def _put(self, key: str, data: object, attributes: Mapping[str, str] | None, **options: object) -> Any:
        self.requests += 1
        # A directory has no metadata.
        named = dict(attributes or {}) if not self._is_local else None
        return self._api.put(self._store, key, data, attributes=named or None, **options)

    def _check(self, key: str, size: int) -> None:
        self.requests += 1
        with _Failures(key):
            found = self._api.head(self._store, key)
        if found["size"] != size:
            raise ArchiveError(f"{key}: {size} bytes were sent and {found['size']} are there")

    # -- reading ---------------------------------------------------------------------

    def get(self, key: str) -> bytes:
        """An object's content. Raises `FileNotFoundError` when there is none."""
        self.requests += 1
        with _Failures(key, missing=True):
            return bytes(self._api.get(self._store, key).bytes())

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Found]:
        """What is in a folder, or only what follows the key `after`, in the order of keys; page by page."""
        with _Failures(prefix):
            pages = iter(self._api.list(self._store, prefix, offset=after, chunk_size=_PAGE))
            if self._is_local:  # a file system has no order
                pages = iter([sorted((found for page in pages for found in page), key=lambda found: found["path"])])
        self.requests += 1
        while True:
            with _Failures(prefix):
                page = next(pages, None)
            if page is None:
                return
            yield from (Found(found["path"], found["size"]) for found in page)
            self.requests += len(page) == _PAGE  # else it was the last

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders in a folder."""
        self.requests += 1
        with _Failures(prefix):
            found = self._api.list_with_delimiter(self._store, prefix or None)
        for path in found["common_prefixes"]:
            yield path.rstrip("/").rpartition("/")[2]


class _Failures:
    """Turns whatever obstore raises into an `ArchiveError` of one line."""

    def __init__(self, what: str, *, missing: bool = False) -> None:
        self._what = what
        self._missing = missing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, ArchiveError):
            return
        if self._missing and isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error):
            return
        reason = " ".join(str(error).split("\n\nDebug source")[0].split())
        raise ArchiveError(f"{self._what}: {reason}") from error
