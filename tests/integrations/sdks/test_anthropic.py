"""One call logs every stream of an Anthropic client: the real SDK against a server that replays recordings."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import anthropic
import pytest

from cloud_server import serving_clouds
from log_lines import without_page
from replay_server import ReplayServer, spoken
from streaming_logger.integrations.anthropic import instrument
from streaming_logger.testing import ManualLogger

MODEL = "logfile"


def request(model: str = MODEL, **more: Any) -> Any:
    prompt = [{"role": "user", "content": "Go on."}]
    return {"model": model, "messages": prompt, "max_tokens": 100, "extra_headers": {"X-Session-Id": "s"}} | more


@pytest.fixture
def logger(manual: Callable[..., ManualLogger]) -> ManualLogger:
    return manual()


@pytest.fixture
def client(replay: ReplayServer, logger: ManualLogger) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=replay.url, api_key="none", max_retries=0) as made:
        yield instrument(made, logger)


def asynchronous(replay: ReplayServer, logger: ManualLogger, use: Callable[[anthropic.AsyncAnthropic], Any]) -> None:
    """Runs `use` with an instrumented client on an event loop."""

    async def run() -> None:
        async with anthropic.AsyncAnthropic(base_url=replay.url, api_key="none", max_retries=0) as made:
            await use(instrument(made, logger))

    asyncio.run(run())


def test_a_stream_is_logged_and_stays_what_it_was(client: anthropic.Anthropic, logger: ManualLogger) -> None:
    """The SDK's own type, attributes and items; the whole text is in the session's file."""
    stream = client.messages.create(**request(), stream=True)
    assert isinstance(stream, anthropic.Stream)
    assert stream.response.status_code == 200
    kinds = [event.type for event in stream]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert logger.text == {"s": spoken(MODEL)}
    assert logger.outcomes == {"s": "completed"}


HELPED: dict[str, Callable[[Any], Any]] = {
    "events": list,
    "text_stream": lambda stream: list(stream.text_stream),
    "get_final_message": lambda stream: stream.get_final_message(),
    "get_final_text": lambda stream: stream.get_final_text(),
    "until_done": lambda stream: stream.until_done(),
}


@pytest.mark.parametrize("way", HELPED)
def test_a_helper_is_logged_however_it_is_read(client: anthropic.Anthropic, logger: ManualLogger, way: str) -> None:
    """All its ways read one stream, which is the one that is logged."""
    with client.messages.stream(**request()) as stream:
        HELPED[way](stream)
        assert stream.get_final_text() == spoken(MODEL)
    assert logger.text == {"s": spoken(MODEL)}
    assert logger.outcomes == {"s": "completed"}


def test_async_streams_are_logged(replay: ReplayServer, logger: ManualLogger) -> None:
    """The stream itself, the helper's text, and the helper's message."""

    async def use(client: anthropic.AsyncAnthropic) -> None:
        stream = await client.messages.create(**request(), stream=True)
        assert isinstance(stream, anthropic.AsyncStream)
        assert [event async for event in stream]
        async with client.messages.stream(**request()) as helper:
            assert "".join([text async for text in helper.text_stream]) == spoken(MODEL)
        async with client.messages.stream(**request()) as helper:
            assert await helper.get_final_text() == spoken(MODEL)

    asynchronous(replay, logger, use)
    assert logger.text == {"s": 3 * spoken(MODEL)}
    assert logger.outcomes == {"s": "completed"}
    assert logger.stats().sessions_completed == 3


def test_thinking_and_tool_calls_are_logged_on_request(replay: ReplayServer, logger: ManualLogger) -> None:
    """`include` reaches the log of each stream."""
    model = "logfile+limit=30+reasoning=5+tools=5"
    with anthropic.Anthropic(base_url=replay.url, api_key="none") as client:
        instrument(client, logger, session_id=lambda request: "s", include=["reasoning", "tool_calls"])
        list(client.messages.create(**request(model, extra_headers={}), stream=True))
    parts = {kind: spoken(model, kind) for kind in ("reasoning", "text", "tool")}
    assert logger.text["s"] == (
        f"[streaming_logger: reasoning]\n{parts['reasoning']}\n[streaming_logger: answer]\n{parts['text']}\n"
        f"[streaming_logger: tool call]\nnote {parts['tool']}"
    )


@pytest.mark.parametrize(("way", "outcome"), [("close", "closed"), ("helper", "closed"), ("error", "error")])
def test_leaving_early_completes_at_once(
    client: anthropic.Anthropic, logger: ManualLogger, way: str, outcome: str
) -> None:
    """While the reader still holds the stream; an exception in its `with` block is the outcome."""
    if way == "close":
        stream = client.messages.create(**request(), stream=True)
        next(stream)
        stream.close()
    else:
        with contextlib.suppress(KeyError), client.messages.stream(**request()) as helper:
            next(helper.text_stream)
            if way == "helper":
                helper.close()
            raise KeyError
    logger.run_pending()
    assert logger.outcomes == {"s": outcome}


def test_a_dropped_stream_ends_with_its_last_reference(client: anthropic.Anthropic, logger: ManualLogger) -> None:
    """The log makes no cycle: where the SDK has none the connection is closed without the collector, as before."""

    def closes_when_dropped(client: anthropic.Anthropic) -> bool:
        stream = client.messages.create(**request(), stream=True)
        next(stream)
        response = stream.response
        del stream
        return bool(response.is_closed)

    with anthropic.Anthropic(base_url=str(client.base_url), api_key="none") as plain:
        assert closes_when_dropped(client) == closes_when_dropped(plain)
    gc.collect()
    assert logger.outcomes["s"] in ("closed", "abandoned")  # the latter by the collector


def test_a_cancelled_task_is_the_outcome(replay: ReplayServer, logger: ManualLogger) -> None:
    """A task that waits for text is cancelled; what came before is in the file."""

    async def use(client: anthropic.AsyncAnthropic) -> None:
        seen: list[str] = []
        all_seen = asyncio.Event()

        async def read() -> None:
            async with client.messages.stream(**request("logfile+stall=10")) as stream:
                async for text in stream.text_stream:
                    seen.append(text)
                    if len(seen) == 10:
                        all_seen.set()

        task = asyncio.create_task(read())
        await asyncio.wait_for(all_seen.wait(), 10)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert logger.text == {"s": "".join(seen)}

    asynchronous(replay, logger, use)
    assert logger.outcomes == {"s": "closed"}


def test_a_broken_connection_is_an_error(client: anthropic.Anthropic, logger: ManualLogger) -> None:
    """The reader gets the SDK's own exception, the file what came before it."""
    stream = client.messages.create(**request("logfile+break=10"), stream=True)
    with pytest.raises(Exception, match="incomplete chunked read"):
        list(stream)
    assert logger.text == {"s": spoken("logfile+limit=10")}
    assert logger.outcomes == {"s": "error"}


def test_what_is_no_stream_passes_untouched(client: anthropic.Anthropic, logger: ManualLogger) -> None:
    """Whole answers and raw responses are as without the call; a second call changes nothing."""
    assert instrument(client, logger) is client
    assert client.messages.create(**request()).content[0].text == spoken(MODEL)
    raw = client.messages.with_raw_response.create(**request(), stream=True)
    assert len(list(raw.parse())) > 50
    assert logger.text == {}
    list(client.with_options(timeout=30).messages.create(**request(), stream=True))
    assert logger.text == {"s": spoken(MODEL)}


def test_a_wrong_client_is_refused(logger: ManualLogger) -> None:
    """Not by its first request."""
    with pytest.raises(TypeError, match="must be a client of anthropic, not ManualLogger"):
        instrument(logger)


def test_beta_streams_are_logged(client: anthropic.Anthropic, logger: ManualLogger) -> None:
    """With its own helper."""
    assert list(client.beta.messages.create(**request(), stream=True))
    with client.beta.messages.stream(**request()) as helper:
        assert "".join(helper.text_stream) == spoken(MODEL)
    assert logger.text == {"s": 2 * spoken(MODEL)}
    assert logger.outcomes == {"s": "completed"}


@pytest.mark.parametrize("cloud", ["bedrock", "vertex"])
@pytest.mark.parametrize("is_async", [False, True])
def test_streams_of_clouds_are_logged(logger: ManualLogger, cloud: str, is_async: bool) -> None:
    """Bedrock's frames and Vertex's events; their helpers and copies, too."""
    pytest.importorskip("boto3" if cloud == "bedrock" else "google.auth")
    kind = f"{'Async' * is_async}Anthropic{cloud.title()}"
    with serving_clouds() as clouds:
        if cloud == "bedrock":
            made = getattr(anthropic, kind)(
                base_url=clouds.url,
                aws_access_key="none",
                aws_secret_key="none",  # noqa: S106 - not a secret
                aws_region="eu-central-1",
            )
        else:
            made = getattr(anthropic, kind)(
                base_url=clouds.url,
                access_token="none",  # noqa: S106 - not a secret
                project_id="none",
                region="europe-west1",
            )
        client = instrument(made, logger)

        async def use() -> None:
            async with client:
                assert [event async for event in await client.messages.create(**request(), stream=True)]
                async with client.with_options(timeout=30).messages.stream(**request()) as helper:
                    assert await helper.get_final_text() == spoken(MODEL)

        if is_async:
            asyncio.run(use())
        else:
            with client:
                assert list(client.messages.create(**request(), stream=True))
                with client.with_options(timeout=30).messages.stream(**request()) as helper:
                    assert helper.get_final_text() == spoken(MODEL)
    assert logger.text == {"s": 2 * spoken(MODEL)}
    assert logger.outcomes == {"s": "completed"}


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the library logged as errors."""
    return [without_page(record) for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("way", HELPED)
def test_faults_never_reach_the_reader(
    client: anthropic.Anthropic,
    logger: ManualLogger,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    """A logger that is out of order costs the log, and one line says so, for any number of streams."""
    monkeypatch.setattr(logger._engine, "begin_stream", Mock(side_effect=OSError("out of order")))
    for _ in range(2):
        with client.messages.stream(**request()) as stream:
            HELPED[way](stream)
            assert stream.get_final_text() == spoken(MODEL)
    assert reports(caplog) == ["anthropic: a stream is not logged: OSError('out of order')"]


def test_callable_cannot_break_a_stream(
    replay: ReplayServer, logger: ManualLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """The stream has a new id."""
    with anthropic.Anthropic(base_url=replay.url, api_key="none") as client:
        instrument(client, logger, session_id=lambda asked: asked["metadata"]["user_id"])
        assert list(client.messages.create(**request(extra_headers={}), stream=True))
        assert list(client.messages.create(**request(extra_headers={}, metadata={"user_id": "u"}), stream=True))
    assert sorted(logger.text.values()) == [spoken(MODEL)] * 2
    assert "u" in logger.text
    assert reports(caplog) == ["anthropic: a session id is not usable: the callable raised KeyError('metadata')"]


@pytest.mark.parametrize("part", ["copy", "request", "with_options"])
def test_sdk_whose_parts_have_moved_is_refused(
    client: anthropic.Anthropic, logger: ManualLogger, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """By name, with the way round it."""
    made = client.copy()
    monkeypatch.setattr(made, part, None)
    with pytest.raises(ImportError, match=f"Anthropic.{part} is missing.* StreamingLogger.wrap instead"):
        instrument(made, logger)
    monkeypatch.setattr(anthropic, "__version__", "0.18.0")
    with pytest.raises(ImportError, match=r"anthropic 0.18.0 cannot be instrumented.* anthropic>=0.45,<3"):
        instrument(made, logger)
