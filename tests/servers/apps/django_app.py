"""A chat server with Django: `wsgi` and `asgi`."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse, StreamingHttpResponse
from django.urls import path

from servers.apps import upstream
from streaming_logger.integrations import asgi as for_asgi
from streaming_logger.integrations import wsgi as for_wsgi

settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="not one", ALLOWED_HOSTS=["*"])  # noqa: S106 - no secret
django.setup()


def chat(request: Any, route: str, session_id: str) -> StreamingHttpResponse:
    stream = upstream.astream if hasattr(request, "scope") else upstream.stream
    body = stream(route, session_id, request.GET["model"], int(request.GET.get("fail_after", -1)))
    kind = "text/event-stream" if route == "middleware" else "text/plain"
    return StreamingHttpResponse(body, content_type=kind)


def tick(request: Any) -> JsonResponse:
    return JsonResponse(upstream.tick(float(request.GET["seconds"])), safe=False)


async def atick(request: Any) -> JsonResponse:
    return JsonResponse(await upstream.atick(float(request.GET["seconds"])), safe=False)


urlpatterns = [path("tick", tick), path("atick", atick), path("<route>/<session_id>", chat)]
wsgi = for_wsgi.StreamLogMiddleware(get_wsgi_application(), upstream.logger, paths=upstream.PATHS)
asgi = for_asgi.StreamLogMiddleware(get_asgi_application(), upstream.logger, paths=upstream.PATHS)
