"""The shapes of stream items: how each protocol is recognised, and who reads it.

Told by attributes and keys, so that no SDK is imported. A reader gets an item, an object or a
dict, and returns its parts. An item of no shape in the table is searched for text: see `search`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from streaming_logger._text.chat import chat
from streaming_logger._text.events import EVENTS, TYPES, named, pair, typed
from streaming_logger._text.messages import blocks, graph_mode, is_echo, message, messages_in
from streaming_logger._text.models import (
    bedrock,
    claude_message,
    claude_result,
    cumulative,
    dashscope,
    gemini,
    json_bytes,
    llama_index,
    llama_index_call,
    ollama,
    pydantic_ai,
    pydantic_ai_response,
    tgi,
    vllm_output,
)
from streaming_logger._text.parts import ANSWER, CHOICE, ITEM, Part, at, get, words
from streaming_logger._text.readers import Reader, answer, call, error, nothing
from streaming_logger._text.search import search

__all__ = ["is_protocol", "named_document", "read", "reader_of", "tuple_parts", "words_of", "yields_all_so_far"]


def _has(*names: str) -> Callable[[Any], bool]:
    def test(item: Any) -> bool:
        return all((value := get(item, name)) is not None and not callable(value) for name in names)

    return test


def _has_key(*names: str) -> Callable[[Any], bool]:
    return lambda item: any(get(item, name) is not None for name in names)


_BEDROCK_ERRORS = (
    "internalServerException",
    "modelStreamErrorException",
    "modelTimeoutException",
    "serviceUnavailableException",
    "throttlingException",
    "validationException",
)


#: What an item has, and who reads it: the first that fits. The flag: nothing but a protocol looks like it.
_SHAPES: tuple[tuple[Callable[[Any], object], Reader, bool], ...] = (
    (_has("choices"), chat, True),
    (_has_key("candidates", "prompt_feedback", "promptFeedback"), gemini, True),
    (_has("event_kind"), pydantic_ai, True),
    (lambda item: hasattr(item, "raw") and hasattr(item, "delta"), llama_index, True),
    (_has("current_agent_name"), nothing, False),
    (_has("tool_name", "tool_kwargs"), llama_index_call, False),
    (lambda item: get(item, "kind") == "response" and get(item, "parts"), pydantic_ai_response, False),
    (
        lambda item: get(item, "additional_kwargs") is not None or get(item, "tool_call_chunks") is not None,
        message,
        True,
    ),
    (_has("contentBlockDelta"), bedrock, True),
    (
        _has("contentBlockStart"),
        call("contentBlockStart.start.toolUse.name", "", "contentBlockStart.contentBlockIndex"),
        True,
    ),
    (_has_key("messageStart", "contentBlockStop", "messageStop"), nothing, True),
    (_has_key(*_BEDROCK_ERRORS), error(*_BEDROCK_ERRORS), True),
    (lambda item: at(item, "chunk.bytes") is not None, json_bytes, True),
    (lambda item: get(item, "object") == "thread.message.delta", lambda item: blocks(at(item, "delta.content")), True),
    (
        _has("event_type"),
        lambda item: answer("text")(item) if get(item, "event_type") == "text-generation" else (),
        True,
    ),
    (_has("event"), named, False),
    (_has("type"), typed, False),
    (_has("output", "request_id"), dashscope, True),
    (lambda item: get(item, "request_id") and get(item, "code") and get(item, "message"), dashscope, True),
    (_has("text", "meta_info"), cumulative, True),
    (lambda item: isinstance(get(item, "text"), list) and isinstance(at(item, "text"), str), cumulative, False),
    (lambda item: isinstance(get(item, "is_error"), bool) and get(item, "subtype"), claude_result, True),
    (lambda item: isinstance(get(item, "content"), list) and get(item, "model"), claude_message, True),
    (lambda item: get(item, "model") and get(item, "done") is not None, ollama, True),
    (lambda item: get(item, "model") and _has_key("response", "message")(item), ollama, True),
    (_has("request_id", "outputs"), vllm_output, True),
    (lambda item: get(get(item, "token"), "text") is not None, tgi, True),
    (lambda item: get(item, "error") and not get(item, "content") and not get(item, "text"), error("error"), False),
    (lambda item: bool(messages_in(item)), lambda item: graph_mode("updates", item), False),
    (lambda item: get(item, "comment") is not None and get(item, "data") is None, nothing, False),
    (lambda item: get(item, "data") is not None and _is_wrapper(item), pair, False),
)


def _is_wrapper(item: Any) -> bool:
    return not any(isinstance(get(item, name), str) for name in ("content", "text", "delta", "response"))


def reader_of(item: Any) -> Reader | None:
    """Who reads such an item; None: it is of no shape that is known."""
    for test, reader, _ in _SHAPES:
        if test(item):
            return reader
    return None


def read(item: Any) -> Iterable[Part]:
    """The parts of an item, of whatever shape."""
    return (reader_of(item) or search)(item)


def is_protocol(document: Any) -> bool:
    """Whether a JSON document can only be an item of a known protocol, and not a model's own JSON.

    >>> is_protocol({"choices": [{"delta": {}}]}), is_protocol({"type": "refund"}), is_protocol({"text": "a"})
    (True, False, False)
    """
    if not isinstance(document, dict):
        return False
    kind, name = document.get("type"), document.get("event")
    if isinstance(kind, str) and not kind.isalpha() and (kind in TYPES or kind.startswith("response.")):
        return True
    if isinstance(name, str) and not name.isalpha() and (name in EVENTS or name.startswith("thread.")):
        return True
    choices = document.get("choices")
    if choices is not None and not (isinstance(choices, list) and all(isinstance(choice, dict) for choice in choices)):
        return False
    return any(certain and bool(test(document)) for test, _, certain in _SHAPES)


def named_document(name: str, document: dict[str, Any]) -> Iterable[Part]:
    """A document in an event with a name. Its own type counts more."""
    if not name or is_protocol(document) or (isinstance(kind := document.get("type"), str) and kind in TYPES):
        return read(document)
    if name in EVENTS or name.startswith("thread."):
        return named({"event": name, "data": document, **document})
    return (reader_of(document) or search)(document if "type" in document else {"event": name, **document})


def words_of(name: str, data: str) -> Iterable[Part] | None:
    """What an event with plain words has, by its name; None: the words are text."""
    if name in EVENTS and EVENTS[name] is not EVENTS["message"]:
        return EVENTS[name]({"event": name, "data": data})
    return None


def tuple_parts(item: tuple[Any, ...]) -> Iterable[Part]:
    """Tuples: LangGraph's, with mode and namespace before the message; xAI's response and chunk."""
    rest = item
    if rest and isinstance(rest[0], tuple) and all(isinstance(name, str) for name in rest[0]):
        rest = rest[1:]  # the namespace of a subgraph
    if len(rest) == 2 and isinstance(rest[0], str):
        if rest[0] in ("messages", "updates", "values", "custom", "debug", "tasks", "checkpoints"):
            return graph_mode(*rest)
        if not isinstance(rest[1], (dict, tuple)):
            return (Part(ANSWER, rest[0]),)
    if len(rest) == 2 and not isinstance(rest[0], str) and isinstance(get(rest[1], "content"), str):
        return (Part(ITEM, "", rest[1]),)  # a response that accumulates, and the chunk that is new
    if len(rest) == 2 and all(isinstance(part, list) for part in rest):  # the same, of several answers
        return [
            Part(CHOICE, words(get(one, "content")), number) if number else Part(ITEM, "", one)
            for number, one in enumerate(rest[1])
        ]
    for part in rest:
        if isinstance(part, tuple):
            return tuple_parts(part)
        if not isinstance(part, str):
            return () if is_echo(part) else read(part)
    return ()


#: Generators whose strings have all text so far, by their names, and the parameter that makes them yield pieces.
_REPEATING = {
    "StreamedRunResult.stream_text": "delta",
    "StreamedRunResult.stream_output": "",
    "AgentStream.stream_text": "delta",
    "AgentStream.stream_output": "",
}


def yields_all_so_far(stream: Any) -> bool:
    """Whether each string of a stream has the ones before it, as those of pydantic-ai's `stream_text()`."""
    code, frame = getattr(stream, "ag_code", None), getattr(stream, "ag_frame", None)
    switch = _REPEATING.get(getattr(code, "co_qualname", ""))
    return switch is not None and not (frame is not None and frame.f_locals.get(switch))
