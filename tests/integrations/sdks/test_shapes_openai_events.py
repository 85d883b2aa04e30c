"""OpenAI's typed events: the Responses API, Assistants, and the Agents SDK on top of the former."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from canned_server import ANSWER, REASONING, TOOL_CALL, logged, serving, sse

openai = pytest.importorskip("openai")

Json = dict[str, Any]

# -- the Responses API ---------------------------------------------------------------


def event(kind: str, **fields: Any) -> Json:
    return {"type": f"response.{kind}", "sequence_number": 0} | fields


def response(*output: Json, status: str = "completed", **more: Any) -> Json:
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2} | details
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "usage": usage, "tools": []}
    head |= {"parallel_tool_calls": True, "tool_choice": "auto", "error": None, "incomplete_details": None}
    return head | {"status": status, "output": list(output)} | more


def message_events(*pieces: str, at: int = 0) -> list[Json]:
    """A message of the answer's pieces, from its beginning to the events that repeat it."""
    where = {"item_id": f"msg_{at}", "output_index": at, "content_index": 0}
    whole = {"type": "output_text", "text": "".join(pieces), "annotations": [], "logprobs": []}
    item = {"id": f"msg_{at}", "type": "message", "role": "assistant", "status": "completed", "content": [whole]}
    return [
        event("output_item.added", output_index=at, item=item | {"content": [], "status": "in_progress"}),
        event("content_part.added", **where, part=whole | {"text": ""}),
        *(event("output_text.delta", **where, delta=piece, logprobs=[]) for piece in pieces),
        event("output_text.done", **where, text=whole["text"], logprobs=[]),
        event("content_part.done", **where, part=whole),
        event("output_item.done", output_index=at, item=item),
    ]


def reasoning_events(*pieces: str, kind: str = "reasoning_summary_text") -> list[Json]:
    where = {"item_id": "rs_0", "output_index": 0}
    text = "".join(pieces)
    item = {"id": "rs_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}
    return [
        event("output_item.added", output_index=0, item=item | {"summary": []}),
        *(event(f"{kind}.delta", **where, delta=piece) for piece in pieces),
        event(f"{kind}.done", **where, text=text),
        event("output_item.done", output_index=0, item=item),
    ]


def call_item(at: int, name: str, arguments: str, kind: str = "function_call") -> Json:
    text = {"input" if kind == "custom_tool_call" else "arguments": arguments}
    return {"id": f"fc_{at}", "type": kind, "call_id": f"call_{at}", "name": name, "status": "completed"} | text


KINDS = {
    "function_call": "function_call_arguments",
    "custom_tool_call": "custom_tool_call_input",
    "mcp_call": "mcp_call_arguments",
}


def call_events(at: int, name: str, *pieces: str, kind: str = "function_call") -> list[Json]:
    where = {"item_id": f"fc_{at}", "output_index": at}
    text = {"input" if kind == "custom_tool_call" else "arguments": "".join(pieces)}
    return [
        event("output_item.added", output_index=at, item=call_item(at, name, "", kind)),
        *(event(f"{KINDS[kind]}.delta", **where, delta=piece) for piece in pieces),
        event(f"{KINDS[kind]}.done", **where, **text),
        event("output_item.done", output_index=at, item=call_item(at, name, "".join(pieces), kind)),
    ]


def responses(*events: Json) -> Iterator[Any]:
    """The events as the client's own objects."""
    with serving(sse(*events, named="type")) as url, openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client:
        yield from client.responses.create(model="m", input="Hi", stream=True)


def whole(*events: Json) -> list[Json]:
    """With the events around them; the last has all of the answer again."""
    items = [each["item"] for each in events if each["type"] == "response.output_item.done"]
    began = response(status="in_progress")
    return [event("created", response=began), *events, event("completed", response=response(*items))]


def test_responses_answer() -> None:
    """From its deltas alone: three other events and the last one repeat it."""
    assert logged(responses(*whole(*message_events("Hel", "lo")))) == ("Hello", "completed")


@pytest.mark.parametrize("kind", ["reasoning_summary_text", "reasoning_text"])
def test_responses_reasoning(kind: str) -> None:
    """Its summary as well as its text."""
    events = whole(*reasoning_events("Let me ", "think.", kind=kind), *message_events("Hel", "lo", at=1))
    assert logged(responses(*events)) == ("Hello", "completed")
    assert logged(responses(*events), "reasoning") == (f"{REASONING}Let me think.{ANSWER}Hello", "completed")


@pytest.mark.parametrize("kind", KINDS)
def test_responses_tool_call(kind: str) -> None:
    """Its name comes with the item, its arguments in pieces and then whole."""
    events = whole(*message_events("Let me look."), *call_events(1, "f", '{"a"', ": 1}", kind=kind))
    assert logged(responses(*events)) == ("Let me look.", "completed")
    assert logged(responses(*events), "tool_calls") == (f'Let me look.\n{TOOL_CALL}f {{"a": 1}}', "completed")


def test_responses_parallel_tool_calls() -> None:
    """Kept apart by the item that they belong to."""
    first, second = call_events(0, "f", '{"a":', "1}"), call_events(1, "g", '{"b":', "2}")
    mixed = [step for pair in zip(first, second, strict=True) for step in pair]
    expected = f'{TOOL_CALL}f {{"a":1}}\ng {{"b":2}}'
    assert logged(responses(*whole(*mixed)), "tool_calls") == (expected, "completed")


OVERLOADED = {"code": "server_error", "message": "Overloaded"}
FAILURES = {
    "response.failed": event("failed", response=response(status="failed", error=OVERLOADED)),
    "error": {"type": "error", "param": None, "sequence_number": 1} | OVERLOADED,
}


@pytest.mark.parametrize("kind", FAILURES)
def test_responses_failure_is_the_outcome(kind: str) -> None:
    """The client yields both as events and raises nothing."""
    began = message_events("Hel", "lo")[:4]
    assert logged(responses(*began, FAILURES[kind])) == ("Hello", "error")


def test_responses_cut_by_its_limit_is_completed() -> None:
    """`response.incomplete` is an answer of the length that was asked for."""
    cut = response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert logged(responses(*message_events("Hel", "lo"), event("incomplete", response=cut))) == ("Hello", "completed")


def test_responses_refusal_and_transcript_are_the_answer() -> None:
    """And the event that ends a refusal repeats it."""
    where = {"item_id": "msg_0", "output_index": 0, "content_index": 0}
    events = [event("refusal.delta", **where, delta="I cannot."), event("refusal.done", **where, refusal="I cannot.")]
    assert logged(responses(*events)) == ("I cannot.", "completed")
    assert logged(responses(event("audio.transcript.delta", delta="Hello"))) == ("Hello", "completed")


# -- Assistants ----------------------------------------------------------------------


def assistant(*events: tuple[str, Json]) -> Iterator[Any]:
    """The events of a run as the client's own objects: their names are not in their JSON."""
    text = [f"event: {name}\n{sse(data)[0]}" for name, data in events] + ["event: done\ndata: [DONE]\n\n"]
    with serving(text) as url, openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client:
        yield from client.beta.threads.runs.create("t", assistant_id="a", stream=True)


def thread_message(*content: Json) -> Json:
    return {"id": "msg_1", "object": "thread.message", "role": "assistant", "content": list(content)}


def message_delta(text: str) -> tuple[str, Json]:
    content = [{"index": 0, "type": "text", "text": {"value": text, "annotations": []}}]
    return "thread.message.delta", {"id": "msg_1", "object": "thread.message.delta", "delta": {"content": content}}


def step_delta(index: int, name: str | None, arguments: str) -> tuple[str, Json]:
    function = {"arguments": arguments} | ({"name": name, "output": None} if name else {})
    calls = [{"index": index, "type": "function", "function": function} | ({"id": f"call_{index}"} if name else {})]
    details = {"step_details": {"type": "tool_calls", "tool_calls": calls}}
    return "thread.run.step.delta", {"id": "step_1", "object": "thread.run.step.delta", "delta": details}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # OpenAI's, about Assistants as a whole
def test_assistants_answer() -> None:
    """From the deltas; the completed message repeats it."""
    done = thread_message({"type": "text", "text": {"value": "Hello", "annotations": []}})
    run = {"id": "run_1", "object": "thread.run", "status": "completed"}
    ends = [("thread.message.completed", done), ("thread.run.completed", run)]
    events = [("thread.message.created", thread_message()), message_delta("Hel"), message_delta("lo"), *ends]
    assert logged(assistant(*events)) == ("Hello", "completed")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_assistants_parallel_tool_calls() -> None:
    """Kept apart by their index."""
    events = [
        step_delta(0, "f", ""),
        step_delta(1, "g", ""),
        step_delta(0, None, '{"a":'),
        step_delta(1, None, '{"b":'),
    ]
    events += [step_delta(0, None, "1}"), step_delta(1, None, "2}")]
    assert logged(assistant(*events)) == ("", "completed")
    assert logged(assistant(*events), "tool_calls") == (f'{TOOL_CALL}f {{"a":1}}\ng {{"b":2}}', "completed")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_assistants_failure_is_the_outcome() -> None:
    """A run that failed is an event like the others."""
    run = {"id": "run_1", "object": "thread.run", "status": "failed"}
    failed = ("thread.run.failed", run | {"last_error": {"code": "server_error", "message": "Sorry"}})
    assert logged(assistant(message_delta("Hel"), failed)) == ("Hel", "error")


# -- the Agents SDK ------------------------------------------------------------------


async def run_of_agent(*answers: list[Json]) -> AsyncIterator[Any]:
    """The events of a real agent with a tool, whose model gives these answers."""
    agents = pytest.importorskip("agents")
    agents.set_tracing_disabled(True)

    @agents.function_tool
    def search(query: str) -> str:
        """Looks something up."""
        return f"TOOL OUTPUT for {query}"

    with serving(*(sse(*answer, named="type") for answer in answers)) as url:
        async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:
            model = agents.OpenAIResponsesModel("m", client)
            agent = agents.Agent(name="a", instructions="Answer.", model=model, tools=[search])
            async for step in agents.Runner.run_streamed(agent, "Hi").stream_events():
                yield step


AGENT_TURNS = [
    whole(*reasoning_events("Hm"), *message_events("Let me look. ", at=1), *call_events(2, "search", '{"query":"x"}')),
    whole(*message_events("It is ", "42.")),
]


def test_agent_run() -> None:
    """Both turns of the model; not the tool's output, nor the items that repeat what was streamed."""
    assert logged(run_of_agent(*AGENT_TURNS)) == ("Let me look. It is 42.", "completed")


def test_agent_run_with_reasoning_and_tool_calls() -> None:
    """In the order in which they came."""
    call = f'{TOOL_CALL}search {{"query":"x"}}'
    expected = f"{REASONING}Hm{ANSWER}Let me look. \n{call}{ANSWER}It is 42."
    assert logged(run_of_agent(*AGENT_TURNS), "reasoning", "tool_calls") == (expected, "completed")
