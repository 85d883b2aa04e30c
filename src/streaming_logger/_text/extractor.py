"""The text of whatever a stream yields, item by item; one extractor for each stream."""

from __future__ import annotations

import codecs
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from streaming_logger._text.calls import ToolCalls
from streaming_logger._text.chat import chat, chat_with_all
from streaming_logger._text.documents import Documents
from streaming_logger._text.frames import Frame, Framer, parsed
from streaming_logger._text.guess import Guess
from streaming_logger._text.parts import (
    ANSWER,
    CHOICE,
    CUMULATIVE,
    ERROR,
    FINAL,
    FRAME,
    ITEM,
    REASONING,
    TOOL_CALL,
    TOOL_NAME,
    Part,
)
from streaming_logger._text.prefixed import PrefixedLines, prefixed
from streaming_logger._text.readers import Reader
from streaming_logger._text.search import search
from streaming_logger._text.shapes import named_document, reader_of, tuple_parts, words_of, yields_all_so_far
from streaming_logger._text.sse import Events

__all__ = ["FORMATS", "INCLUDE", "TextExtractor"]

#: What `include` may name, and the kind of text that it stands for.
INCLUDE = {"reasoning": REASONING, "tool_calls": TOOL_CALL, "choices": CHOICE}
#: What `format` may name, and what reads such text.
FORMATS: dict[str, Callable[[], Framer] | None] = {"auto": None, "text": None, "sse": Events, "jsonl": Documents}

_TEXT = (str, bytes, bytearray, memoryview)
#: Characters of other choices that wait for the first one.
_MAX_EARLY = 500
#: Remembered texts of whole messages, against repetitions.
_MAX_FINALS = 1000


class TextExtractor:
    """Called with each item of one stream; returns its text, "" where it has none.

    Knows `str`, `bytes`, server-sent events and JSON documents (also cut anywhere), the chunks of
    the known SDKs and dicts of these, and searches others for text. Raises `TypeError` for an
    object without any. `include` adds "reasoning", "tool_calls" and "choices", each after a line
    that names it. `format` says what strings hold. `on_error` gets what one of several frames in
    an item raises; the others are read.

    >>> extract = TextExtractor(include=["reasoning"])
    >>> extract({"choices": [{"delta": {"reasoning_content": "Hm."}}]}) + extract("Yes")
    '[streaming_logger: reasoning]\\nHm.\\n[streaming_logger: answer]\\nYes'
    """

    def __init__(
        self,
        include: Iterable[str] = (),
        format: str = "auto",  # noqa: A002 - the word that users know
        on_error: Callable[[Exception], object] | None = None,
    ) -> None:
        names = (include,) if isinstance(include, str) else tuple(include)
        for name in names:
            if name not in INCLUDE:
                raise ValueError(f"include: must be of {', '.join(INCLUDE)}, got {name!r}")
        if format not in FORMATS:
            raise ValueError(f"format: must be one of {', '.join(FORMATS)}, got {format!r}")
        self.error: str | None = None
        """What the stream said of its own failure."""
        self.found = False
        """Whether any text was found, asked for or not."""
        self._on_error = on_error
        self._kinds = {ANSWER, *(INCLUDE[name] for name in names)}
        self._chat: Reader = chat if len(self._kinds) == 1 else chat_with_all
        self._readers: dict[type, Reader] = {}
        # A stream of str or bytes: how it is read, once that is known.
        make = FORMATS[format]
        self._framer = make() if make is not None else None
        self._guess = Guess() if format == "auto" else None
        self._decoder: codecs.IncrementalDecoder | None = None
        self._has_documents = self._has_words = False
        # What was logged.
        self._kind = ANSWER
        self._begun = False
        self._choice: int | None = None
        self._choices: dict[int, list[str]] = {}
        self._early: list[Part] = []  # of other choices, before the first one's beginning
        self._calls = ToolCalls()
        self._skipped_call: object = None
        self._surrogate = ""
        self._is_cumulative = False
        # Against repetitions: kinds that came in pieces since the last whole message; whole texts; all so far.
        self._pieces: set[str] = set()
        self._finals: set[tuple[object, int]] = set()
        self._sums: dict[str, tuple[int, int]] = {}

    def __call__(self, item: Any) -> str:
        kind = type(item)
        reader = self._readers.get(kind)
        if reader is not None:
            found = reader(item)
            if type(found) is str and found:
                self._choice = 0
                self._pieces.add(ANSWER)
                return self._whole(found) if len(self._kinds) == 1 else self._joined((Part(ANSWER, found),))
            return self._joined(found)
        if kind is str:
            if self._framer is None and self._guess is None and len(self._kinds) == 1 and not self._is_cumulative:
                return self._whole(item)
            return self._from_text(item)
        if item is None:
            return ""
        if isinstance(item, _TEXT):
            return self._from_text(str(item)) if isinstance(item, str) else self._from_bytes(bytes(item))
        if self._guess is not None and not self._guess.held:
            self._guess = None  # of strings among objects nothing is guessed
        return self._joined(self._parts_of(item))

    def reads(self, stream: Any) -> None:
        """Some streams of strings are known by what yields them."""
        if yields_all_so_far(stream):
            self._is_cumulative, self._guess = True, None

    @property
    def is_undecided(self) -> bool:
        """Whether text is held, or may be, because it is not known yet what it is."""
        return self._guess is not None

    @property
    def held(self) -> int:
        """Characters that wait for more: for the end of their frame, their call, their line."""
        guess, framer = self._guess, self._framer
        waiting = guess.held if guess is not None else framer.held if framer is not None else 0
        return waiting + self._calls.held + len(self._surrogate)

    def release(self) -> str:
        """Text that is held because it is not known what it is: it has waited for long enough."""
        guess = self._guess
        if guess is None or not guess.held:
            return ""
        guess.settle()
        if guess.framer is None and guess.text.endswith(("\n\n", "\r\n\r\n")):
            text = guess.text
            self._guess = Guess()  # an event may begin here
            return self._joined((Part(ANSWER, text),))
        return self._decided(guess)

    def finish(self) -> str:
        """The text that is left at the stream's end: a cut character, a line without its end."""
        text = self._decoder.decode(b"", True) if self._decoder is not None else ""
        text = self._from_text(text) if text else ""
        if (guess := self._guess) is not None:
            guess.settle(at_end=True)
            text += self._decided(guess)
        if self._framer is not None:
            text += self._joined(self._parts_of_frames(self._framer.finish()))
        if self._early:
            self._choice = min(part.key for part in self._early) if self._choice is None else self._choice
            early, self._early = self._early, []
            text += self._joined(early)
        parts = [Part(CHOICE, "\n", index) for index, pieces in self._choices.items() if pieces]
        text += self._joined(parts)
        if waiting := self._calls.finish():
            text += self._shown(TOOL_CALL, waiting)
        surrogate, self._surrogate = self._surrogate, ""
        return text + surrogate

    # -- strings -----------------------------------------------------------------------

    def _from_bytes(self, data: bytes) -> str:
        if self._decoder is None:
            self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        text = self._decoder.decode(data)
        return "" if data and not text else self._from_text(text)  # a cut character is not a blank line

    def _from_text(self, text: str) -> str:
        guess = self._guess
        if self._is_cumulative:
            return self._joined((Part(CUMULATIVE, text, ANSWER),))
        if guess is not None:
            return self._decided(guess) if guess.add(text) else ""
        if self._framer is not None:
            return self._joined(self._parts_of_frames(self._framer.feed(text)))
        return self._joined((Part(ANSWER, text),))

    def _decided(self, guess: Guess) -> str:
        self._guess = None
        self._framer = guess.framer
        if guess.framer is None:
            return self._joined((Part(ANSWER, guess.text),))
        return self._joined(self._parts_of_frames(guess.frames))

    # -- parts -------------------------------------------------------------------------

    def _parts_of(self, item: Any) -> Iterable[Part] | str:
        if item is None or isinstance(item, str):
            return item or ""
        if isinstance(item, tuple):
            return tuple_parts(item)
        if isinstance(item, list):
            return [part for one in item for part in _as_parts(self._parts_of(one))]
        reader = reader_of(item)
        if reader is chat and not isinstance(item, dict):
            self._readers[type(item)] = reader = self._chat
        elif reader is chat:
            reader = self._chat
        found = (reader or search)(item)
        if reader is None and not isinstance(found, str):
            found = list(found)
            if (
                not self.found
                and not isinstance(item, dict)
                and not any(part.text or part.kind == ITEM for part in found)
            ):
                raise TypeError(f"no text is known in a {type(item).__module__}.{type(item).__qualname__}: pass text=")
        return found

    def _parts_of_frames(self, frames: Iterable[Frame]) -> Iterator[Part]:
        """One frame that cannot be read costs that frame."""
        for frame in frames:
            try:
                yield from list(_as_parts(self._parts_of_frame(frame)))
            except Exception as error:
                if self._on_error is None:
                    raise
                self._on_error(error)

    def _parts_of_frame(self, frame: Frame) -> Iterable[Part] | str:
        name, data, document = frame.name, frame.data, frame.document
        if frame.is_raw:
            return data
        if isinstance(self._framer, PrefixedLines):
            return prefixed(name, document)
        if document and isinstance(document, dict):
            found = list(_as_parts(named_document(name, document)))
            if not self._has_words or any(part.text or part.kind == ITEM for part in found) or reader_of(document):
                self._has_documents = True
                return found
        elif document and all(isinstance(one, dict) for one in document):
            return [part for one in document for part in _as_parts(named_document(name, one))]
        if data.strip() == "[DONE]" or (self._has_documents and data.strip() in ("", "{}", "[]")):
            return ()
        if (parts := words_of(name, data)) is not None:
            return parts
        if data.startswith("{") and document is None and self._has_documents:
            raise ValueError(f"invalid JSON: {data[:200]!r}")
        if data.startswith('"') and not self._has_words and data != '""':
            try:
                return str(json.loads(data))
            except ValueError:
                pass
        self._has_words = True
        return data

    # -- policy ------------------------------------------------------------------------

    def _joined(self, parts: Iterable[Part] | str) -> str:
        """The text of the kinds that are asked for; where the kind changes, a line names it."""
        found = []
        for part in _as_parts(parts):
            kind, text = part.kind, part.text
            if kind == FRAME:
                frame = Frame(part.key or "", part.text, parsed(part.text))
                found.append(self._joined(self._parts_of_frames([frame])))
                continue
            if kind == ITEM:
                found.append(self._joined(self._parts_of(part.key)))
                continue
            if kind == FINAL:
                kind, text = self._final(part)
            elif kind == CUMULATIVE:
                kind, text = part.key, self._new_text(part)
            elif kind == CHOICE:
                kind, text = self._of_choice(part)
            elif kind == ANSWER and self._choice is None:
                self._choice = 0
            if not text:
                continue
            if kind == ERROR:
                self.error = self.error or text
                self.found = True
                continue
            self.found = True
            if part.kind not in (FINAL, CUMULATIVE, CHOICE):
                self._pieces.add(kind)
                if kind in (ANSWER, REASONING):
                    self._add_up(kind, text)
            found.append(self._logged(kind, text, part))
        return self._whole("".join(found)) if found else ""

    def _logged(self, kind: str, text: str, part: Part) -> str:
        if kind in (TOOL_NAME, TOOL_CALL):
            if TOOL_CALL not in self._kinds:
                return ""
            begins = kind == TOOL_NAME
            key = part.key[1] if part.kind == FINAL else part.key
            text = self._calls.begin(text, key, part.id) if begins else self._calls.add(text, key)
            return self._shown(TOOL_CALL, text)
        if kind == CHOICE:
            return self._shown(f"{CHOICE} {part.key}", text) if CHOICE in self._kinds else ""
        if kind not in self._kinds:
            return ""
        waiting = self._calls.finish() if self._calls.held else ""
        return self._shown(TOOL_CALL, waiting) + self._shown(kind, text)

    def _shown(self, kind: str, text: str) -> str:
        if not text or (kind == self._kind and (kind != ANSWER or self._begun or len(self._kinds) == 1)):
            return text
        if kind == self._kind:
            self._begun = True
            return text
        begun = "\n" if self._begun else ""
        self._kind, self._begun = kind, True
        return f"{begun}[streaming_logger: {kind}]\n{text.lstrip(chr(10))}"

    def _whole(self, text: str) -> str:
        """A character that JSON cuts into two surrogates is put together."""
        self.found = self.found or bool(text)
        if not self._surrogate and not "\ud800" <= text[-1:] <= "\udbff":
            return text
        text = self._surrogate + text
        self._surrogate = ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._surrogate = text[:-1], text[-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")

    def _of_choice(self, part: Part) -> tuple[str, str]:
        """The choice with the lowest index is the answer; of the others whole lines are shown."""
        if self._choice is None:
            # A lower one may still come; but not for ever.
            self._early.append(part)
            if sum(len(early.text) for early in self._early) < _MAX_EARLY:
                return CHOICE, ""
            early, self._early = self._early, []
            self._choice = min(one.key for one in early)
            return ANSWER, "".join(one.text for one in early if one.key == self._choice)
        if part.key == self._choice:
            return ANSWER, part.text
        if CHOICE not in self._kinds:
            return CHOICE, part.text
        pieces = self._choices.setdefault(part.key, [])
        pieces.append(part.text)
        if not part.text.endswith("\n") and sum(map(len, pieces)) < 500:
            return CHOICE, ""
        self._choices[part.key] = []
        return CHOICE, "".join(pieces)

    def _final(self, part: Part) -> tuple[str, str]:
        """A whole message, if its text did not come in pieces before."""
        if isinstance(part.key, tuple):
            kind, which = part.key
            if kind == TOOL_NAME:
                self._skipped_call = which if self._calls.knows(which) else None
            return kind, "" if self._skipped_call is not None and self._skipped_call == which else part.text
        kind, text = part.key, part.text
        if kind in self._pieces:
            if part.id != "choice":
                self._pieces.discard(kind)
                self._finals.add((kind, hash(text)))
            return kind, ""
        if part.id == "choice":
            return kind, text
        mark = (kind, hash(text))
        if mark in self._finals or self._sums.get(kind, (0, 0)) == _sum(text, 0, 0):
            return kind, ""
        if len(self._finals) < _MAX_FINALS:
            self._finals.add(mark)
        self._add_up(kind, text)
        return kind, text

    def _new_text(self, part: Part) -> str:
        """What an item that has all text so far adds to the one before it."""
        text = part.text.rstrip("\ufffd")  # the rest of a character is still to come
        size, checked = self._sums.get(part.key, (0, 0))
        if len(text) >= size and _sum(text[:size], 0, 0)[1] == checked:
            text = text[size:]
        self._add_up(part.key, text)
        self._pieces.add(part.key)
        return text

    def _add_up(self, kind: str, text: str) -> None:
        self._sums[kind] = _sum(text, *self._sums.get(kind, (0, 0)))


def _sum(text: str, size: int, checked: int) -> tuple[int, int]:
    """Length and checksum of a text that continues one with these."""
    return size + len(text), zlib.crc32(text.encode("utf-8", "surrogatepass"), checked)


def _as_parts(found: Iterable[Part] | str) -> Iterable[Part]:
    return (Part(ANSWER, found),) if isinstance(found, str) else found
