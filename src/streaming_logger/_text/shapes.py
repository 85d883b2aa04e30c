"""The chunks of the known SDKs: where each has its text. Told by shape, from objects and from plain dicts alike.

A shape function gets a chunk and returns its parts, (kind, text). It raises nothing of its own;
what an attribute of a foreign object raises passes through to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__ = ["ANSWER", "REASONING", "TOOL_CALL", "Part", "Shape", "chunk_in", "shape_of"]

ANSWER = "answer"
REASONING = "reasoning"
TOOL_CALL = "tool call"

#: A kind of text, and the text itself.
Part = tuple[str, str]
#: `Shape(chunk, all_kinds)`; without `all_kinds` it may leave out what is not the answer. A str is an answer alone.
Shape = Callable[[Any, bool], Iterable[Part] | str]

#: Where a dict of no known SDK has its text.
_PLAIN_KEYS = ("content", "text", "token", "delta", "response")
#: Events of OpenAI's Responses API that carry text, and its kind.
_RESPONSES = {
    "response.output_text.delta": ANSWER,
    "response.refusal.delta": ANSWER,
    "response.reasoning_text.delta": REASONING,
    "response.reasoning_summary_text.delta": REASONING,
    "response.function_call_arguments.delta": TOOL_CALL,
    "response.custom_tool_call_input.delta": TOOL_CALL,
    "response.mcp_call_arguments.delta": TOOL_CALL,
}


def get(chunk: Any, name: str) -> Any:
    """A dict's item or an object's attribute; None where it is missing."""
    return chunk.get(name) if isinstance(chunk, dict) else getattr(chunk, name, None)


def shape_of(chunk: Any) -> Shape | None:
    """The function that knows where such a chunk has its text; None: no shape that is known."""
    for name, shape in _BY_ATTRIBUTE:
        value = get(chunk, name)
        if value is not None and not callable(value):
            return shape
    return _plain if isinstance(chunk, dict) else None


def chunk_in(parts: tuple[Any, ...]) -> Any:
    """The chunk in a tuple of LangGraph's: (message, metadata), (mode, what) or (namespace, mode, what)."""
    for part in parts:
        if not isinstance(part, str) and not (isinstance(part, tuple) and all(isinstance(name, str) for name in part)):
            return part
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _first(value: Any) -> Any:
    return value[0] if value else None


def _chat(chunk: Any, all_kinds: bool) -> Iterable[Part] | str:
    """OpenAI chat completions, as LiteLLM and many servers have them, too. Of several choices the first."""
    choice = _first(get(chunk, "choices"))
    if choice is None or get(choice, "index"):
        return ()
    delta = get(choice, "delta")
    if delta is None:
        return _text(get(choice, "text"))
    content = get(delta, "content")
    if content and not all_kinds:  # the everyday case: nothing else is looked at
        return content if isinstance(content, str) else _blocks(content)
    return _rest_of_chat(delta, content, all_kinds)


def _rest_of_chat(delta: Any, content: Any, all_kinds: bool) -> Iterator[Part]:
    if all_kinds:
        yield REASONING, _text(get(delta, "reasoning_content") or get(delta, "reasoning"))
    yield from ((ANSWER, content),) if isinstance(content, str) else _blocks(content or ())
    yield ANSWER, _text(get(delta, "refusal"))
    if all_kinds:
        yield from _tool_calls(get(delta, "tool_calls") or ())


def _tool_calls(calls: Iterable[Any]) -> Iterator[Part]:
    """OpenAI's and LangChain's: the name comes once, the arguments in pieces."""
    for call in calls:
        function = get(call, "function") or call
        yield _tool_call(get(function, "name"), get(function, "arguments") or get(function, "args"))


def _tool_call(name: object, arguments: object) -> Part:
    """A call begins on a line of its own, with its name."""
    text = arguments if isinstance(arguments, str) else "" if arguments is None else repr(arguments)
    return TOOL_CALL, (f"\n{name} {text}" if name else text)


def _typed(chunk: Any, all_kinds: bool) -> Iterable[Part] | str:
    """OpenAI's Responses events and Anthropic's message events."""
    kind = get(chunk, "type")
    if kind in _RESPONSES:
        return ((_RESPONSES[kind], _text(get(chunk, "delta"))),)
    if kind == "content_block_delta":
        return (_anthropic(get(chunk, "delta")),)
    if kind == "content_block_start":
        return (_anthropic(get(chunk, "content_block")),)
    if kind == "response.output_item.added":
        item = get(chunk, "item")
        return (_tool_call(get(item, "name"), None),) if get(item, "name") else ()
    if (
        kind == "ChatGenerationChunk"
    ):  # LangChain's; Anthropic's last event has a message, too, and that is a repetition
        return _inner("message")(chunk, all_kinds)
    return ()


def _anthropic(block: Any) -> Part:
    """A content block, or a piece of one."""
    kind = get(block, "type")
    if kind in ("thinking", "thinking_delta"):
        return REASONING, _text(get(block, "thinking"))
    if kind in ("tool_use", "server_tool_use"):
        return _tool_call(get(block, "name"), None)
    if kind == "input_json_delta":
        return TOOL_CALL, _text(get(block, "partial_json"))
    return ANSWER, _text(get(block, "text"))


def _gemini(chunk: Any, all_kinds: bool) -> Iterator[Part]:
    content = get(_first(get(chunk, "candidates")), "content")
    for part in get(content, "parts") or ():
        yield REASONING if get(part, "thought") else ANSWER, _text(get(part, "text"))
        call = get(part, "function_call") or get(part, "functionCall")
        if call is not None:
            yield _tool_call(get(call, "name"), get(call, "args"))


def _message(chunk: Any, all_kinds: bool) -> Iterator[Part]:
    """LangChain's messages."""
    if all_kinds:
        yield REASONING, _text(get(get(chunk, "additional_kwargs"), "reasoning_content"))
    content = get(chunk, "content")
    yield from ((ANSWER, content),) if isinstance(content, str) else _blocks(content)
    if all_kinds:
        yield from _tool_calls(get(chunk, "tool_call_chunks") or ())


def _blocks(content: Iterable[Any]) -> Iterator[Part]:
    """Content that is a list of blocks."""
    for block in content:
        if isinstance(block, str):
            yield ANSWER, block
        elif get(block, "type") in ("reasoning", "thinking"):
            yield REASONING, _text(get(block, "reasoning") or get(block, "thinking"))
        elif get(block, "type") in ("text", "output_text", None):
            yield ANSWER, _text(get(block, "text"))


def _pydantic_ai(chunk: Any, all_kinds: bool) -> Iterable[Part]:
    kind = get(chunk, "event_kind")
    piece = get(chunk, "part") if kind == "part_start" else get(chunk, "delta") if kind == "part_delta" else None
    kind = get(piece, "part_kind") or get(piece, "part_delta_kind")
    if kind in ("tool-call", "tool_call"):
        name, args = get(piece, "tool_name"), get(piece, "args")
        return (_tool_call(name or get(piece, "tool_name_delta"), args or get(piece, "args_delta")),)
    text = _text(get(piece, "content") or get(piece, "content_delta"))
    return ((REASONING if kind == "thinking" else ANSWER, text),)


def _inner(name: str) -> Shape:
    """A chunk that wraps another one."""

    def unwrapped(chunk: Any, all_kinds: bool) -> Iterable[Part] | str:
        inner = get(chunk, name)
        if isinstance(inner, str):
            return inner
        shape = shape_of(inner)
        return shape(inner, all_kinds) if shape else ()

    return unwrapped


def _langchain_event(chunk: Any, all_kinds: bool) -> Iterable[Part] | str:
    """`astream_events`: the model's own events; those of its parsers repeat the text."""
    if get(chunk, "event") in ("on_chat_model_stream", "on_llm_stream"):
        return _inner("chunk")(get(chunk, "data"), all_kinds)
    return ()


def _bedrock(chunk: Any, all_kinds: bool) -> Iterable[Part]:
    delta = get(get(chunk, "contentBlockDelta"), "delta")
    yield REASONING, _text(get(get(delta, "reasoningContent"), "text"))
    yield ANSWER, _text(get(delta, "text"))


def _plain(chunk: Any, all_kinds: bool) -> str:
    """A dict of no known SDK: the first of the usual keys that holds text."""
    return next((value for key in _PLAIN_KEYS if isinstance(value := chunk.get(key), str)), "")


#: The first of these attributes that a chunk has tells its shape.
_BY_ATTRIBUTE: tuple[tuple[str, Shape], ...] = (
    ("choices", _chat),
    ("candidates", _gemini),
    ("event_kind", _pydantic_ai),
    ("additional_kwargs", _message),
    ("contentBlockDelta", _bedrock),
    ("type", _typed),
    ("event", _langchain_event),
    ("message", _inner("message")),  # Ollama
    ("chunk", _inner("chunk")),
    ("data", _inner("data")),  # Mistral
    ("token", _inner("token")),  # text-generation-inference
    ("content", _message),
    ("text", _inner("text")),
    ("response", _inner("response")),
)
