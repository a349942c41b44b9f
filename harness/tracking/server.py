"""Serve MLflow's pages of one store: to whoever has the key, and what comparing runs needs alone.

    python -P -m harness.tracking.server PORT        # URI and key in the environment

MLflow's server has much more: an assistant that runs commands on this machine, jobs, a gateway to
language models. Those routes answer 404, and the page is sent without the assistant's pane. Others
on a shared machine reach 127.0.0.1, too; without the key every route answers 401, and a page of
another server, which the browser sends the key to as well, gets 403.

Standard input is a pipe that nobody writes to: it closes when its owner is gone, and this ends.
"""

import json
import os
import re
import secrets
import signal
import sys
import threading
from pathlib import Path

import uvicorn
from graphql import GraphQLError, parse
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harness.tracking.ui import KEY, LOCAL

LONGEST = 1 << 20  # bytes of a question in GraphQL

QUERY = "key"
OF_RUNS = (
    "artifacts|experiments|runs|metrics|logged-models|traces"
    "|(registered-models|model-versions)/search"
)
SERVED = re.compile(
    r"/|/version|/graphql|/get-artifact|/static-files/.*"
    rf"|/(ajax-)?api/2\.0/?mlflow/({OF_RUNS})(/.*)?"
    r"|/(ajax-)?api/3\.0/mlflow/(traces(/.*)?|datasets/search|server-info)"
)
NO_PANE = "<style>[data-assistant-ui] { display: none !important }</style>"


class Door:
    """The ASGI application before MLflow's: asks for the key, and lets known routes pass."""

    def __init__(self, inside: ASGIApp, key: str, page: str) -> None:
        self.inside = inside
        self.key = key
        self.page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            answer = self._answer(Request(scope))
            if answer is None and scope["path"] == "/graphql":
                body = await _body(Request(scope, receive))
                answer, receive = _no_question(body), _again(body)
            await (answer or self.inside)(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})

    def _answer(self, request: Request) -> Response | None:
        """The answer to the request; None where MLflow gives it."""
        path = request.url.path
        origin = request.headers.get("origin")
        if origin and origin != f"{request.url.scheme}://{request.headers.get('host', '')}":
            return PlainTextResponse("Asked for by a page of another server.\n", 403)
        cookie = f"pfbench-{request.url.port}"
        if self._right(request.query_params.get(QUERY, "")):
            place = f"/{path.lstrip('/')}"  # of this server, also where the path begins with //
            found = RedirectResponse(place, 303)  # a browser keeps what stands behind the #
            found.set_cookie(cookie, self.key, httponly=True, samesite="lax")
            return found
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not self._right(request.cookies.get(cookie, "")) and not self._right(bearer):
            return PlainTextResponse(
                "Open a link that `pfbench ui` printed: it has the key.\n", 401
            )
        if not SERVED.fullmatch(path):
            return PlainTextResponse("pfbench ui does not serve this.\n", 404)
        return HTMLResponse(self.page, headers=NO_FRAME) if path == "/" else None

    def _right(self, key: str) -> bool:
        return secrets.compare_digest(key.encode(), self.key.encode())


async def _body(request: Request) -> bytes:
    """The body of a request, as far as a question may be long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST:
            break
    return body


def _again(body: bytes) -> Receive:
    """The messages of a request whose body was read."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _no_question(body: bytes) -> Response | None:
    """The answer to what is no question in GraphQL, on which MLflow would fail; None for one."""
    try:
        if len(body) > LONGEST:
            raise ValueError("too long")
        asked = json.loads(body)
        parse(asked["query"])
        for key, kind in (("variables", dict), ("operationName", str)):
            if not isinstance(asked.get(key), kind | None):
                raise TypeError(key)
    except (ValueError, TypeError, KeyError, RecursionError, GraphQLError):
        return PlainTextResponse("No question in GraphQL.\n", 400)
    return None


NO_FRAME = {"x-frame-options": "SAMEORIGIN", "cache-control": "no-store"}


def application(key: str) -> Door:
    """MLflow's application, of the store named in the environment, behind the door."""
    from mlflow.server import app as pages
    from mlflow.server.fastapi_app import app

    page = Path(str(pages.static_folder), "index.html").read_text(encoding="utf-8")
    return Door(app, key, page.replace("</head>", f"{NO_PANE}</head>"))


def end_with_owner() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    threading.Thread(target=end_with_owner, daemon=True).start()
    door = application(os.environ.pop(KEY))
    uvicorn.run(door, host=LOCAL, port=int(sys.argv[1]), log_level="warning", lifespan="off")


if __name__ == "__main__":
    main()
