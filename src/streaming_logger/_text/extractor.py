"""The text of whatever a stream yields, item by item; one extractor for each stream."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import Any

from streaming_logger._text.lines import EventLines, JsonLines, is_event_stream, may_become_event_stream
from streaming_logger._text.shapes import ANSWER, REASONING, TOOL_CALL, Part, Shape, chunk_in, shape_of

__all__ = ["TextExtractor"]

#: What `include` may name, and the kind of text that it stands for.
_INCLUDE = {"reasoning": REASONING, "tool_calls": TOOL_CALL}
#: A first line of JSON is a model's answer, unless it has one of these keys, as every known API has.
_API_KEYS = {"choices", "candidates", "message", "response", "type", "delta"}


class TextExtractor:
    """Called with each item of one stream; returns its text, "" where it has none.

    Knows str, bytes, server-sent events and lines of JSON (also cut anywhere), OpenAI chat
    completions and Responses events, Anthropic, Gemini, LangChain, LiteLLM, Mistral, Ollama,
    Bedrock and pydantic-ai chunks, and dicts of these. Raises `TypeError` for an object of
    another shape. `include` adds "reasoning" and "tool_calls", each after a line that says so.

    >>> extract = TextExtractor(include=["reasoning"])
    >>> extract({"choices": [{"delta": {"reasoning_content": "Hm."}}]}) + extract("Yes")
    '[streaming_logger: reasoning]\\nHm.\\n[streaming_logger: answer]\\nYes'
    """

    def __init__(self, include: Iterable[str] = (), format: str = "auto") -> None:  # noqa: A002 - as in `wrap`
        names = (include,) if isinstance(include, str) else tuple(include)
        for name in names:
            if name not in _INCLUDE:
                raise ValueError(f"include: must be of {', '.join(_INCLUDE)}, got {name!r}")
        self._kinds = {ANSWER, *(_INCLUDE[name] for name in names)}
        self._all_kinds = len(names) > 0
        self._kind = ANSWER
        self._begun = False
        self._shapes: dict[type, Shape] = {}
        self._decoder: codecs.IncrementalDecoder | None = None
        # A stream of str or bytes: what it holds, once that is known.
        self._is_plain = False
        self._undecided = ""
        self._lines: EventLines | JsonLines | None = None
        if format in ("sse", "jsonl"):
            self._lines = EventLines() if format == "sse" else JsonLines()
        self._is_plain = format == "text"

    def __call__(self, item: Any) -> str:
        kind = type(item)
        if kind is str:
            return item if self._is_plain and not self._all_kinds else self._from_text(item)
        if kind is bytes:
            return self._from_bytes(item)
        shape = self._shapes.get(kind)
        if shape is None:
            if item is None:
                return ""
            if isinstance(item, (str, bytes, bytearray, memoryview)):
                return self._from_text(str(item)) if isinstance(item, str) else self._from_bytes(bytes(item))
            if isinstance(item, tuple):
                return self(chunk_in(item))
            shape = self._known(item)
        found = shape(item, self._all_kinds)
        if isinstance(found, str):
            return found if not self._all_kinds else self._joined([(ANSWER, found)])
        return self._joined(found)

    def finish(self) -> str:
        """The text that is left at the stream's end: a cut character, a line without its end."""
        text = self._undecided
        self._undecided = ""
        if self._decoder is not None:
            text += self._decoder.decode(b"", True)
        if self._lines is None:
            return self._joined([(ANSWER, text)])
        documents = [*self._lines.feed(text), *self._lines.finish()] if text else [*self._lines.finish()]
        return self._joined(self._parts_of(documents))

    def _known(self, item: Any) -> Shape:
        shape = shape_of(item)
        if shape is None:
            raise TypeError(f"no text is known in a {type(item).__module__}.{type(item).__qualname__}: pass text=")
        if not isinstance(item, dict):  # dicts of one stream may have different shapes
            self._shapes[type(item)] = shape
        return shape

    def _from_bytes(self, data: bytes) -> str:
        if self._decoder is None:
            self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        text = self._decoder.decode(data)
        return "" if data and not text else self._from_text(text)  # a cut character is no blank line

    def _from_text(self, text: str) -> str:
        if not self._is_plain and self._lines is None:
            text = self._undecided + text
            self._undecided = ""
            document = JsonLines.begins(text)
            if is_event_stream(text):
                self._lines = EventLines()
            elif document is not None and _API_KEYS & set(document):
                self._lines = JsonLines()
            elif may_become_event_stream(text):
                self._undecided = text
                return ""
            else:
                self._is_plain = True
        if self._lines is not None:
            return self._joined(self._parts_of(self._lines.feed(text)))
        return self._joined([(ANSWER, text)])

    def _parts_of(self, documents: Iterable[Any]) -> Iterator[Part]:
        for document in documents:
            if isinstance(document, str):
                yield ANSWER, document
            elif isinstance(document, dict):
                found = self._known(document)(document, self._all_kinds)
                yield from [(ANSWER, found)] if isinstance(found, str) else found

    def _joined(self, parts: Iterable[Part]) -> str:
        """The text of the kinds that are asked for; where the kind changes, a line says so."""
        found = []
        for kind, text in parts:
            if not text or kind not in self._kinds:
                continue
            if kind != self._kind:
                self._kind = kind
                found.append("\n" if self._begun else "")
                found.append(f"[streaming_logger: {kind}]\n")
                text = text.lstrip("\n")
            found.append(text)
            self._begun = True
        return "".join(found)
