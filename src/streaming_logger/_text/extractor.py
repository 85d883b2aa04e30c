"""The text of whatever a stream yields, item by item; one extractor for each stream."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from streaming_logger._text.chat import everyday_text
from streaming_logger._text.documents import Documents
from streaming_logger._text.frames import Frame, Framer, parsed
from streaming_logger._text.guess import Guess
from streaming_logger._text.parts import ANSWER, CHOICE, CUMULATIVE, FRAME, ITEM, REASONING, TOOL_CALL, Part
from streaming_logger._text.prefixed import PrefixedLines, prefixed
from streaming_logger._text.search import search
from streaming_logger._text.shapes import named_document, reader_of, tuple_parts, words_of, yields_all_so_far
from streaming_logger._text.sse import Events
from streaming_logger._text.transcript import Transcript

__all__ = ["FORMATS", "INCLUDE", "TextExtractor"]

#: What `include` may name, and the kind of text that it stands for.
INCLUDE = {"reasoning": REASONING, "tool_calls": TOOL_CALL, "choices": CHOICE}
#: What `format` may name, and what reads such text.
FORMATS: dict[str, Callable[[], Framer] | None] = {"auto": None, "text": None, "sse": Events, "jsonl": Documents}

_TEXT = (str, bytes, bytearray, memoryview)


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
        self._on_error = on_error
        self._transcript = Transcript({ANSWER, *(INCLUDE[name] for name in names)})
        self._is_simple = not names  # nothing but the answer is asked for
        # A stream of str or bytes: how it is read, once that is known.
        make = FORMATS[format]
        self._framer = make() if make is not None else None
        self._guess = Guess() if format == "auto" else None
        self._is_plain = format == "text" and self._is_simple
        self._decoder: codecs.IncrementalDecoder | None = None
        self._has_documents = self._has_words = False
        self._is_cumulative = False

    def __call__(self, item: Any) -> str:
        kind = type(item)
        if kind is str:
            if self._is_plain and not "\ud800" <= item[-1:] <= "\udbff":
                return item  # type: ignore[no-any-return]
            return self._from_text(item)
        if item is None:
            return ""
        if isinstance(item, _TEXT):
            return self._from_text(str(item)) if isinstance(item, str) else self._from_bytes(bytes(item))
        if self._guess is not None and not self._guess.held:
            self._guess = None  # of strings among objects nothing is guessed
        if self._is_simple and (text := everyday_text(item)) is not None:
            return self._transcript.answer(text)
        return self._joined(self._parts_of(item))

    def reads(self, stream: Any) -> None:
        """Some streams of strings are known by what yields them."""
        if yields_all_so_far(stream):
            self._is_cumulative, self._is_plain, self._guess = True, False, None

    @property
    def error(self) -> str | None:
        """What the stream said of its own failure."""
        return self._transcript.error

    @property
    def is_empty(self) -> bool:
        """Whether no text of any kind was found, asked for or not."""
        return self._transcript.is_empty

    @property
    def is_undecided(self) -> bool:
        """Whether text is held, or may be, because it is not known yet what it is."""
        return self._guess is not None

    @property
    def held(self) -> int:
        """Characters that wait for more: for the end of their frame, their call, their line."""
        guess, framer = self._guess, self._framer
        waiting = guess.held if guess is not None else framer.held if framer is not None else 0
        return waiting + self._transcript.held

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
        return text + self._transcript.finish()

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
        framer = self._framer
        if framer is None:
            return self._from_plain(text)
        if self._is_simple and isinstance(framer, Events) and (frame := framer.whole(text)) is not None:
            if (answer := everyday_text(frame.document)) is not None:
                self._has_documents = True
                return self._transcript.answer(answer)
            return self._joined(self._parts_of_frames((frame,)))
        return self._joined(self._parts_of_frames(framer.feed(text)))

    def _from_plain(self, text: str) -> str:
        text = self._joined((Part(ANSWER, text),))
        # The short way, unless half of a surrogate pair waits for the other one.
        self._is_plain = self._is_simple and not self._transcript.held
        return text

    def _decided(self, guess: Guess) -> str:
        self._guess = None
        self._framer = guess.framer
        if guess.framer is None:
            return self._from_plain(guess.text)
        return self._joined(self._parts_of_frames(guess.frames))

    def _joined(self, found: Iterable[Part]) -> str:
        return self._transcript.add(self._flat(found))

    # -- parts -------------------------------------------------------------------------

    def _flat(self, found: Iterable[Part]) -> Iterator[Part]:
        """The parts, with those of items and events inside them."""
        for part in found:
            if part.kind == ITEM:
                yield from self._flat(self._parts_of(part.key))
            elif part.kind == FRAME:
                yield from self._flat(self._parts_of_frames([Frame(part.key or "", part.text, parsed(part.text))]))
            else:
                yield part

    def _parts_of(self, item: Any) -> Iterable[Part]:
        if item is None or isinstance(item, str):
            return (Part(ANSWER, item),) if item else ()
        if isinstance(item, tuple):
            return tuple_parts(item)
        if isinstance(item, list):
            return [part for one in item for part in self._parts_of(one)]
        reader = reader_of(item)
        found = (reader or search)(item)
        if reader is None:
            found = list(found)
            has_text = any(part.text or part.kind == ITEM for part in found)
            if not has_text and self.is_empty and not isinstance(item, dict):
                raise TypeError(f"no text is known in a {type(item).__module__}.{type(item).__qualname__}: pass text=")
        return found

    def _parts_of_frames(self, frames: Iterable[Frame]) -> Iterator[Part]:
        """One frame that cannot be read costs that frame."""
        for frame in frames:
            try:
                yield from list(self._parts_of_frame(frame))
            except Exception as error:
                if self._on_error is None:
                    raise
                self._on_error(error)

    def _parts_of_frame(self, frame: Frame) -> Iterable[Part]:
        name, data, document = frame.name, frame.data, frame.document
        if frame.is_raw:
            return (Part(ANSWER, data),)
        if isinstance(self._framer, PrefixedLines):
            return prefixed(name, document)
        if document and isinstance(document, dict):
            found = list(named_document(name, document))
            if not self._has_words or any(part.text or part.kind == ITEM for part in found) or reader_of(document):
                self._has_documents = True
                return found
        elif document and all(isinstance(one, dict) for one in document):
            return [part for one in document for part in named_document(name, one)]
        if data.strip() == "[DONE]" or (self._has_documents and data.strip() in ("", "{}", "[]")):
            return ()
        if (parts := words_of(name, data)) is not None:
            return parts
        if data.startswith("{") and document is None and self._has_documents:
            raise ValueError(f"invalid JSON: {data[:200]!r}")
        if data.startswith('"') and not self._has_words and data != '""':
            try:
                return (Part(ANSWER, str(json.loads(data))),)
            except ValueError:
                pass
        self._has_words = True
        return (Part(ANSWER, data),)
