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

from streaming_logger._archive.failures import ArchiveError, ForkedError, UnusableError, failure_of
from streaming_logger._base.errors import without_secrets
from streaming_logger._config.rules import is_url
from streaming_logger._disk.paths import is_directory

__all__ = ["ArchiveError", "Bucket", "ForkedError", "Found", "TooLargeError", "UnusableError"]

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "GOOGLE_BASE_URL")
#: Objects in one answer to a listing.
_PAGE = 1000
_TIMEOUT = "30 seconds"
_CONNECT_TIMEOUT = "5 seconds"
_LONGEST_BACKOFF = timedelta(seconds=5)

#: The process that uses obstore. Its threads do not survive a fork: a forked child's requests would wait for ever.
_pid: int | None = None


class TooLargeError(ArchiveError):
    """An object is larger than its reader expects."""


class Found(NamedTuple):
    """An object in a listing."""

    key: str
    size: int


class Bucket:
    """A bucket, or a folder in it. Raises `ArchiveError` for all that fails.

    `requests` counts what was asked of the store, without retries.
    """

    def __init__(self, url: str, *, max_retries: int = 3, must_exist: bool = False) -> None:
        """With `must_exist` a local folder is not made: who only reads it may have mistyped its name."""
        global _pid
        if _pid not in (None, os.getpid()):
            raise ForkedError(
                "this process was forked from one that uploads; that one goes on, "
                "or run `streaming-logger archive --follow` beside it"
            )
        if not is_url(url):
            shown = without_secrets("archive.url", url)
            raise UnusableError(f"{shown!r} is no URL of an archive: s3://, gs://, az:// or file:///")
        try:
            import obstore
            from obstore import store
        except ImportError as error:
            raise UnusableError("the archive needs obstore: pip install 'streaming-logger[archive]'") from error
        _pid = os.getpid()
        self.url = url
        self.requests = 0
        self._api: Any = obstore
        scheme = urlsplit(url).scheme
        self._is_s3, self._is_local = scheme == "s3", scheme == "file"
        options: dict[str, Any] = {
            "retry_config": {"max_retries": max_retries, "backoff": {"max_backoff": _LONGEST_BACKOFF}},
            "client_options": {
                "timeout": _TIMEOUT,
                "connect_timeout": _CONNECT_TIMEOUT,
                "allow_http": any(address.startswith("http://") for address in _endpoints()),
            },
        }
        if self._is_s3:
            options["config"] = {"checksum_algorithm": "SHA256"}  # S3 refuses a body that does not match
        try:
            with _Failures(url):
                if self._is_local:
                    folder = unquote(urlsplit(url).path)
                    if must_exist and not is_directory(folder):
                        raise UnusableError(f"{url}: there is no such directory")
                    self._store: Any = store.LocalStore(folder, mkdir=True)
                else:
                    self._store = store.from_url(url, **options)
        except ArchiveError as error:
            raise UnusableError(str(error)) from None

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

    def get(self, key: str, limit: int | None = None) -> bytes:
        """An object's content. Raises `FileNotFoundError` when there is none, `TooLargeError` above the limit."""
        with _Failures(key, one_object=True):
            return bytes(self._got(key, limit).bytes())

    def parts(self, key: str) -> Iterator[bytes]:
        """The same, in parts: for what may be too large for memory."""
        with _Failures(key, one_object=True):
            parts = iter(self._got(key, None).stream())
        while True:
            with _Failures(key, one_object=True):
                part = next(parts, None)
            if part is None:
                return
            yield bytes(part)

    def _got(self, key: str, limit: int | None) -> Any:
        self.requests += 1
        found = self._api.get(self._store, key)
        if limit is not None and (size := found.meta["size"]) > limit:
            raise TooLargeError(f"{key} has {size:,} bytes, more than {limit:,}")
        return found

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Found]:
        """What is in a folder, or only what follows the key `after`, in the order of keys; page by page."""
        with _Failures(self.url):
            pages = iter(self._api.list(self._store, prefix, offset=after, chunk_size=_PAGE))
            if self._is_local:  # a file system has no order
                pages = iter([sorted((found for page in pages for found in page), key=lambda found: found["path"])])
        self.requests += 1
        while True:
            with _Failures(self.url):
                page = next(pages, None)
            if page is None:
                return
            yield from (Found(found["path"], found["size"]) for found in page)
            self.requests += len(page) == _PAGE  # else it was the last

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders in a folder."""
        self.requests += 1
        with _Failures(self.url):
            found = self._api.list_with_delimiter(self._store, prefix or None)
        for path in found["common_prefixes"]:
            yield path.rstrip("/").rpartition("/")[2]


def _endpoints() -> list[str]:
    """The addresses in the environment that lead to other stores than the provider's. Raises `UnusableError`."""
    found = [(name, os.environ[name]) for name in _ENDPOINTS if os.environ.get(name)]
    for name, address in found:
        if not _is_endpoint(address):  # obstore panics over some
            raise UnusableError(f"{name} must be a URL: http://host:port, https://host:port")
    return [address for _, address in found]


def _is_endpoint(address: str) -> bool:
    try:
        parts = urlsplit(address)
        is_host = bool(parts.hostname) and parts.port != 0  # raises for a port that is not a number
    except ValueError:
        return False
    return is_host and parts.scheme in ("http", "https") and address.isprintable() and " " not in address


class _Failures:
    """Turns whatever obstore raises into an `ArchiveError` of one line.

    With `one_object`, for reading: `FileNotFoundError` passes.
    """

    def __init__(self, what: str, *, one_object: bool = False) -> None:
        self._what = what
        self._one_object = one_object

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, ArchiveError):
            return
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            return
        failure = failure_of(self._what, error, one_object=self._one_object)
        if self._one_object and isinstance(error, FileNotFoundError) and not isinstance(failure, UnusableError):
            return
        raise failure from None  # the original has the request's URL, which may have a token
