"""The session id of a response: made here, unless the server's developer names where it comes from.

What a client sends may be the id of another client's session, which it would write into and end. So nothing of
a request is used that nobody has named.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

__all__ = ["Head", "Identity", "NotLogged", "bounded"]

#: The header of the response that tells a session id which was made here.
HEADER = "x-session-id"
_MAX_CHARACTERS = 1024
_HASH_CHARACTERS = 64
_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_PARAMETER = re.compile(r"\{([A-Za-z_]\w*)\}")


class Head(NamedTuple):
    """What is known of a response before its body. Headers have their names in lower case."""

    request: Any
    """The scope of ASGI, the environ of WSGI: what a function `session_id` gets."""
    method: str
    path: str
    named: Mapping[str, str]
    """The parameters of the path in the middleware's own `paths`."""
    path_params: Mapping[str, Any]
    """Those in the routes of the app."""
    request_headers: Mapping[str, str]
    status: int
    headers: Mapping[str, str]


class NotLogged(Exception):  # noqa: N818 - not an error
    """A response that is not logged, and why. Each `reason` is reported once."""

    def __init__(self, why: str, reason: str = "", level: int = logging.WARNING) -> None:
        super().__init__(why)
        self.reason = reason or why
        self.level = level


def bounded(session_id: str) -> str:
    """The id itself, or its beginning and a hash of the whole. Two ids stay two.

    >>> bounded("sess_1"), len(bounded("x" * 5000))
    ('sess_1', 1024)
    """
    if len(session_id) < _MAX_CHARACTERS:  # one of just this length could be made to equal a shortened one
        return session_id
    whole = sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()
    return session_id[: _MAX_CHARACTERS - _HASH_CHARACTERS] + whole


class Identity:
    """Where session ids come from: a header, "{name}" for a parameter of the path, a function, or None.

    Raises `TypeError` and `ValueError` for anything else. A parameter `{session_id}` in the middleware's own
    `paths` is named, too.

    >>> head = Head({}, "GET", "/chat", {}, {}, {"x-chat": "c1"}, 200, {})
    >>> Identity("x-chat").find(head), Identity(None).find(head)
    ('c1', None)
    """

    def __init__(self, session_id: str | Callable[[Any], str | None] | None) -> None:
        self._function: Callable[[Any], str | None] | None = None
        self._parameter = self._header = ""
        if isinstance(session_id, str):
            if parameter := _PARAMETER.fullmatch(session_id):
                self._parameter = parameter[1]
            elif _HEADER.fullmatch(session_id):
                self._header = session_id.lower()
            else:
                rule = 'the name of a header, "{name}" for a parameter of the path, or a function of the request'
                raise ValueError(f"session_id must be {rule}, got {session_id!r}")
        elif callable(session_id):
            self._function = session_id
        elif session_id is not None:
            kind = type(session_id).__name__
            raise TypeError(f"session_id must be a str, a function of the request or None, not {kind}")

    @property
    def header(self) -> str:
        """The header of the response that tells an id which was made."""
        return self._header or HEADER

    def find(self, head: Head) -> str | None:
        """The id of this response; None: make one.

        Raises `NotLogged` where the function returns None or raises.
        """
        if self._function is not None:
            return _called(self._function, head.request)
        if self._header:
            # The app's own header first: it may have made another id than the client asked for.
            return head.headers.get(self._header) or head.request_headers.get(self._header) or None
        if self._parameter:
            found = {**head.path_params, **head.named}.get(self._parameter)
        else:
            found = head.named.get("session_id")
        return None if found is None else str(found)


def _called(function: Callable[[Any], str | None], request: Any) -> str:
    try:
        found = function(request)
    except Exception as error:  # noqa: BLE001 - the response goes on, whatever a function of the server's does
        raise NotLogged(f"session_id() raised {error!r}", "session_id() raised") from None
    if not found:
        raise NotLogged(f"session_id() returned {found!r}")
    if not isinstance(found, str):
        raise NotLogged(f"session_id() returned {type(found).__name__}, not str")
    return found
