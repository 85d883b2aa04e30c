"""Events that are told by their `type` or `event`: a table for each, one line an event.

A type of no table is searched for text, as an item without one is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from streaming_logger._text.messages import blocks, calls, graph_mode, message
from streaming_logger._text.models import claude_message, claude_result
from streaming_logger._text.parts import (
    ANSWER,
    FINAL,
    FRAME,
    ITEM,
    REASONING,
    TOOL_CALL,
    TOOL_NAME,
    Part,
    at,
    get,
    shown,
    words,
)
from streaming_logger._text.readers import Reader, answer, both, call, error, inner, nothing, reasoning
from streaming_logger._text.search import search

__all__ = ["EVENTS", "TYPES", "named", "pair", "typed", "whole_call"]


def _anthropic_block(event: Any) -> Iterator[Part]:
    """A content block's beginning, or a piece of one."""
    block = get(event, "content_block") or get(event, "delta")
    kind, which = get(block, "type"), get(event, "index")
    if kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
        yield Part(TOOL_NAME, shown(get(block, "name")), which, get(block, "id"))
    elif kind == "input_json_delta":
        yield Part(TOOL_CALL, words(get(block, "partial_json")), which)
    elif kind in ("thinking", "thinking_delta"):
        yield Part(REASONING, words(get(block, "thinking")))
    elif kind in ("text", "text_delta", None):
        yield Part(ANSWER, words(get(block, "text")))


def _completed(event: Any) -> Iterator[Part]:
    """OpenAI's whole response, after its pieces or in their place."""
    texts = []
    for item in get(get(event, "response"), "output") or ():
        if get(item, "type") == "message":
            texts += [words(get(block, "text")) for block in get(item, "content") or ()]
    yield Part(FINAL, "".join(texts), ANSWER)


def _run_step(event: Any) -> Iterator[Part]:
    for one in get(at(event, "data.delta.step_details"), "tool_calls") or ():
        code = at(one, "code_interpreter.input")
        yield from [Part(TOOL_CALL, code, get(one, "index"))] if isinstance(code, str) else calls([one])


def _ag_ui_call(item: Any) -> Iterator[Part]:
    which = get(item, "toolCallId") or get(item, "tool_call_id")
    if name := get(item, "toolCallName") or get(item, "tool_call_name"):
        yield Part(TOOL_NAME, shown(name), which)
    yield Part(TOOL_CALL, words(get(item, "delta")), which)


def whole_call(item: Any) -> Iterator[Part]:
    """Once more, if its pieces came before it."""
    which = get(item, "toolCallId")
    yield Part(FINAL, shown(get(item, "toolName")), (TOOL_NAME, which))
    yield Part(FINAL, shown(get(item, "input") or get(item, "args")), (TOOL_CALL, which))


def _protocol_event(item: Any) -> Iterator[Part]:
    """LangGraph's events of version 3."""
    data = at(item, "params.data") if get(item, "method") == "messages" else None
    kind, delta = get(data, "event"), get(data, "delta")
    which = get(data, "index")
    if kind == "content-block-delta":
        yield Part(ANSWER, words(get(delta, "text")))
        yield Part(REASONING, words(get(delta, "reasoning")))
        yield Part(TOOL_CALL, words(get(delta, "args")), which)
    elif kind == "content-block-start" and (name := at(data, "content.name")):
        yield Part(TOOL_NAME, shown(name), which)


def _own_call(item: Any) -> Iterator[Part]:
    for one in get(item, "content") or ():
        yield Part(TOOL_NAME, shown(get(one, "name")), get(one, "id"))
        yield Part(TOOL_CALL, shown(get(one, "arguments")), get(one, "id"))


def _spoken(kind: str) -> Reader:
    """AutoGen's whole messages; the first is the user's own."""
    return lambda item: () if get(item, "source") == "user" else (Part(FINAL, words(get(item, "content")), kind),)


def _claude_event(item: Any) -> Iterable[Part]:
    return () if get(item, "parent_tool_use_id") else inner("event")(item)


def _graph(item: Any) -> Iterator[Part]:
    """LangGraph's dicts of version 2: `type` is the mode, `data` what it brings."""
    yield from graph_mode(get(item, "type"), get(item, "data"))


def pair(item: Any) -> Iterable[Part]:
    """The name and data of a server-sent event."""
    data, name = get(item, "data"), get(item, "event") or ""
    if isinstance(data, str):
        return (Part(FRAME, data, str(getattr(name, "value", name))),)
    return (Part(ITEM, "", data),)


#: By `type`.
TYPES: dict[str, Reader] = {
    # OpenAI Responses and Realtime; what else begins with "response." repeats or is no text
    "response.output_text.delta": answer("delta"),
    "response.text.delta": answer("delta"),
    "response.refusal.delta": answer("delta"),
    "response.audio.transcript.delta": answer("delta"),
    "response.audio_transcript.delta": answer("delta"),
    "response.output_audio_transcript.delta": answer("delta"),
    "response.reasoning_text.delta": reasoning("delta"),
    "response.reasoning_summary_text.delta": reasoning("delta"),
    "response.output_item.added": call("item.name", "", "output_index"),
    "response.function_call_arguments.delta": call("", "delta", "output_index"),
    "response.custom_tool_call_input.delta": call("", "delta", "output_index"),
    "response.mcp_call_arguments.delta": call("", "delta", "output_index"),
    "response.code_interpreter_call_code.delta": call("", "delta", "output_index"),
    "response.shell_call_command.delta": call("", "delta", "output_index"),
    "response.completed": _completed,
    "response.incomplete": _completed,
    "response.failed": error("response.error", "error"),
    # OpenAI's helper for chat; each chunk comes as "chunk" and as a piece of content
    "chunk": inner("chunk"),
    "content.delta": nothing,
    "content.done": nothing,
    "refusal.delta": nothing,
    "refusal.done": nothing,
    "tool_calls.function.arguments.delta": nothing,
    "tool_calls.function.arguments.done": nothing,
    "logprobs.content.delta": nothing,
    # OpenAI Agents SDK
    "raw_response_event": inner("data"),
    "run_item_stream_event": nothing,
    "agent_updated_stream_event": nothing,
    # Anthropic
    "content_block_start": _anthropic_block,
    "content_block_delta": _anthropic_block,
    "content_block_stop": nothing,
    "message_start": nothing,
    "message_delta": nothing,
    "message_stop": nothing,
    "input_json": nothing,
    "completion": answer("completion", "text", "content"),
    # Claude Code's JSON
    "stream_event": _claude_event,
    "assistant": lambda item: claude_message(get(item, "message") or item),
    # Cohere, version 2
    "content-start": both(answer("delta.message.content.text"), reasoning("delta.message.content.thinking")),
    "content-delta": both(answer("delta.message.content.text"), reasoning("delta.message.content.thinking")),
    "tool-plan-delta": reasoning("delta.message.tool_plan"),
    "tool-call-start": call(
        "delta.message.tool_calls.function.name", "delta.message.tool_calls.function.arguments", "index"
    ),
    "tool-call-delta": call("", "delta.message.tool_calls.function.arguments", "index"),
    "message-start": nothing,
    "content-end": nothing,
    "tool-call-end": nothing,
    "citation-start": nothing,
    "citation-end": nothing,
    "message-end": lambda item: (
        error("delta.error")(item)
        if get(get(item, "delta"), "error") or at(item, "delta.finish_reason") == "ERROR"
        else ()
    ),
    # Mistral's conversations
    "message.output.delta": lambda item: blocks(get(item, "content")),
    "function.call.delta": call("name", "arguments", "tool_call_id"),
    "conversation.response.error": error("message"),
    # AutoGen
    "ModelClientStreamingChunkEvent": answer("content"),
    "TextMessage": _spoken(ANSWER),
    "ThoughtEvent": _spoken(REASONING),
    "ToolCallRequestEvent": _own_call,
    "ToolCallExecutionEvent": nothing,
    "ToolCallSummaryMessage": nothing,
    "MemoryQueryEvent": nothing,
    "SelectSpeakerEvent": nothing,
    "CodeExecutionEvent": nothing,
    # AG-UI
    "TEXT_MESSAGE_CONTENT": answer("delta"),
    "TEXT_MESSAGE_CHUNK": answer("delta"),
    "REASONING_MESSAGE_CONTENT": reasoning("delta"),
    "REASONING_MESSAGE_CHUNK": reasoning("delta"),
    "THINKING_TEXT_MESSAGE_CONTENT": reasoning("delta"),
    "TOOL_CALL_START": _ag_ui_call,
    "TOOL_CALL_ARGS": _ag_ui_call,
    "TOOL_CALL_CHUNK": _ag_ui_call,
    "TOOL_CALL_RESULT": nothing,
    "MESSAGES_SNAPSHOT": nothing,
    "STATE_SNAPSHOT": nothing,
    "STATE_DELTA": nothing,
    "RUN_FINISHED": nothing,
    "RUN_ERROR": error("message"),
    # Vercel AI SDK, version 5
    "text-delta": answer("delta", "textDelta", "text"),
    "reasoning-delta": reasoning("delta", "textDelta", "text"),
    "tool-input-start": call("toolName", "", "toolCallId"),
    "tool-input-delta": call("", "inputTextDelta", "toolCallId"),
    "tool-input-available": whole_call,
    "tool-output-available": nothing,
    "source-url": nothing,
    # LangChain's own serialization; LangGraph, version 2
    "ChatGenerationChunk": lambda item: message(get(item, "message")),
    "messages": _graph,
    "updates": _graph,
    "values": _graph,
    "custom": _graph,
}


#: Types that are ordinary words: an application's own events may have them, too.
_COMMON = {"chunk", "completion", "assistant", "messages", "updates", "values", "custom"}


#: By `event`.
EVENTS: dict[str, Reader] = {
    # LangChain's `astream_events`: the model's own; those of chains and parsers repeat the text
    "on_chat_model_stream": lambda item: message(at(item, "data.chunk")),
    "on_llm_stream": lambda item: message(at(item, "data.chunk")),
    "on_chat_model_end": lambda item: message(at(item, "data.output"), is_whole=True),
    # OpenAI Assistants
    "thread.message.delta": lambda item: blocks(get(at(item, "data.delta"), "content")),
    "thread.run.step.delta": _run_step,
    "thread.run.failed": error("data.last_error"),
    # Dify
    "message": lambda item: (answer("answer") if get(item, "answer") is not None else pair)(item),
    "agent_message": answer("answer"),
    "text_chunk": answer("data.text"),
    "agent_thought": nothing,
    "message_end": nothing,
    "message_replace": nothing,
    "message_file": nothing,
    "tts_message": nothing,
    "tts_message_end": nothing,
    "workflow_started": nothing,
    "workflow_finished": lambda item: (Part(FINAL, words(at(item, "data.outputs.answer")), ANSWER),),
    "node_started": nothing,
    "node_finished": nothing,
    # Flowise
    "start": nothing,
    "end": nothing,
    "metadata": nothing,
    "sourceDocuments": nothing,
    "usedTools": nothing,
    "agentReasoning": nothing,
    # Replicate
    "logs": nothing,
    "done": nothing,
    # anybody's
    "ping": nothing,
    "heartbeat": nothing,
    "error": error("data", "error", "message"),
}


def typed(item: Any) -> Iterable[Part]:
    kind = get(item, "type")
    if get(item, "snapshot") is not None and not str(kind).startswith("response."):
        return () if kind != "chunk" else inner("chunk")(item)  # a helper's event: it repeats its SDK's own
    if (reader := TYPES.get(kind)) is not None:
        if kind not in _COMMON or get(item, "ns") is not None or kind in ("chunk", "completion", "assistant"):
            return reader(item)
    elif isinstance(kind, str) and kind.startswith("response.") and not kind.endswith(".delta"):
        return ()
    if isinstance(kind, str) and kind.startswith("data-"):  # of the AI SDK: an application's own data
        return ()
    if kind == "event" and get(item, "params") is not None:
        return _protocol_event(item)
    if kind == "result" and get(item, "subtype") is not None:
        return claude_result(item)
    return search(item)


def named(item: Any) -> Iterable[Part]:
    """Something with an event's name: (name, data) as server-sent events have it, or of a protocol of its own."""
    name = get(item, "event")
    name = getattr(name, "value", name)
    if get(item, "type") is not None:
        return typed(item)
    if not isinstance(name, str):
        return _claude_event(item) if get(name, "type") else search(item)
    if (reader := EVENTS.get(name)) is not None:
        return reader(item)
    if name.startswith(("on_", "thread.")):
        return ()
    return pair(item)
