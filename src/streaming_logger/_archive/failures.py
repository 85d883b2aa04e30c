"""Why a request to the object storage failed, as one line that says what to mend. Pure.

obstore's own texts have the whole answer of the store, and the request's URL with its query: an access key, a SAS
token, the text that was signed. Of all that, only what is named here goes into a message.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

__all__ = ["ArchiveError", "ForkedError", "UnusableError", "failure_of"]


class ArchiveError(Exception):
    """The object storage cannot be used, or refused a request; the text says why."""


class UnusableError(ArchiveError):
    """No request can succeed: the credentials, the bucket or the endpoint is wrong."""


class ForkedError(ArchiveError):
    """This process was forked from one that uses object storage: no request would ever end."""


_LONGEST = 200
_STATUS = re.compile(r"status code: (\d{3}[^:\n]*)")
_CODE = re.compile(r"<Code>([^<]+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]+)</Message>")
_URL = re.compile(r"https?://[^\s,)\"']+")
#: The operating system's words, in obstore's account of a connection that failed.
_CAUSE = re.compile(r'(?:message|error): "([^"]+)"')
#: Where cloud machines get credentials: it is asked when there are none in the environment.
_METADATA = re.compile(r"/latest/(api/token|meta-data)|/computeMetadata/|/metadata/identity/|metadata\.google")

_NO_CREDENTIALS = "there are no credentials: set them in the environment, as the provider's own tools have them"
_NO_BUCKET = "the bucket does not exist"
_REJECTED = "the store rejects the credentials"
_DENIED = "the store denies access with these credentials"
_MISSING = {
    "NoSuchBucket": _NO_BUCKET,
    "ContainerNotFound": "the container does not exist",
    "AccountNotFound": "the account does not exist",
}
_CREDENTIALS = {
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"),
    *("RequestTimeTooSkewed", "AuthFailure", "InvalidSecurity", "InvalidClientTokenId", "UnrecognizedClientException"),
    *("AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation", "AuthenticationRequired"),
}


def failure_of(what: str, error: BaseException, *, one_object: bool = False) -> ArchiveError:
    """What to raise for obstore's exception; `what` was asked for.

    With `one_object` a denial may concern that object alone, and others can be had.
    """
    text = str(error)
    summary, _, details = text.partition("\n\nDebug source")
    status = _STATUS.search(summary)
    if _METADATA.search(summary) or ("Missing" in summary and "AccessKey" in summary):
        return UnusableError(f"{what}: {_NO_CREDENTIALS}")
    if status is not None:
        return _refusal(what, status[1].strip(), summary[status.end() :], one_object)
    if "HTTP error" in summary:
        return _no_answer(what, summary, details)
    if type(error).__name__ == "PanicException":
        return UnusableError(f"{what}: obstore failed: {_plain(summary)}")
    return ArchiveError(f"{what}: {_plain(summary)}")


def _refusal(what: str, status: str, body: str, one_object: bool) -> ArchiveError:
    """The store answered with an error."""
    code, message = (_plain(found[1]) if (found := form.search(body)) else "" for form in (_CODE, _MESSAGE))
    answer = ", ".join(filter(None, (status, ": ".join(filter(None, (code, message))))))
    if code in _MISSING:
        return UnusableError(f"{what}: {_MISSING[code]} ({answer})")
    if code in _CREDENTIALS or status.startswith("401"):
        return UnusableError(f"{what}: {_REJECTED} ({answer})")
    if status.startswith("403"):
        return (ArchiveError if one_object else UnusableError)(f"{what}: {_DENIED} ({answer})")
    return ArchiveError(f"{what}: {answer}")


def _no_answer(what: str, summary: str, details: str) -> ArchiveError:
    """No answer came: no connection, or one that ended."""
    endpoint = _URL.search(summary)
    place = urlsplit(endpoint[0]).netloc.rpartition("@")[2] if endpoint else "the store"
    causes = _CAUSE.findall(details)
    cause = f": {_plain(causes[-1])}" if causes else ""
    if "kind: Connect" in details:
        return UnusableError(f"{what}: cannot connect to {place}{cause}")
    if "TimedOut" in details or "kind: Timeout" in details:
        return UnusableError(f"{what}: {place} does not answer in time{cause}")
    return ArchiveError(f"{what}: the connection to {place} broke{cause}")


def _plain(text: str) -> str:
    """One line of printable characters; of each URL its host alone."""
    text = _URL.sub(lambda found: urlsplit(found[0]).netloc.rpartition("@")[2], " ".join(text.split()))
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
