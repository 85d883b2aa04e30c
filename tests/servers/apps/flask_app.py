"""A chat server with Flask."""

from __future__ import annotations

import flask

from servers.apps import upstream
from streaming_logger.integrations.wsgi import StreamLogMiddleware

app = flask.Flask(__name__)
app.wsgi_app = StreamLogMiddleware(app.wsgi_app, logger=upstream.logger, paths=upstream.PATHS)  # type: ignore[method-assign]


@app.get("/tick")
def tick() -> list[float]:
    return upstream.tick(float(flask.request.args["seconds"]))


@app.get("/<route>/<session_id>")
def chat(route: str, session_id: str) -> flask.Response:
    asked = flask.request.args
    body = upstream.stream(route, session_id, asked["model"], int(asked.get("fail_after", -1)))
    return flask.Response(body, mimetype="text/event-stream" if route == "middleware" else "text/plain")
