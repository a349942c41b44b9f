"""What `pfbench ui` serves, and to whom: the door before MLflow's application."""

import asyncio
import json
import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's own, of many kinds
    from harness.tracking.server import Door

KEY = "s3cr3t"
HEAD = [(b"host", b"127.0.0.1:5000")]
COOKIE = [(b"cookie", f"other=1; pfbench-5000={KEY}".encode())]


async def inside(scope, receive, send):
    """Stands for MLflow: answers 200 to everything."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"MLflow"})


async def echo(scope, receive, send):
    """Answers with what it was sent."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def asked(path, headers=(), query="", body=b"", inside=inside, method="GET"):
    """Status, headers and body of the answer."""
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(),
             "headers": [*HEAD, *headers], "server": ("127.0.0.1", 5000), "scheme": "http",
             "root_path": ""}  # fmt: skip
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    asyncio.run(Door(inside, KEY, "<html>")(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


RUNS = "/ajax-api/2.0/mlflow/runs/search"


@pytest.mark.parametrize(
    "path", ["/", RUNS, "/get-artifact", "/graphql", "/static-files/main.js", "/health", "/version"]
)
@pytest.mark.parametrize(
    "headers", [(), [(b"cookie", b"pfbench-5000=wrong")], [(b"authorization", b"Bearer wrong")]]
)
def test_without_the_key_nothing_is_served(path, headers):
    status, _, body = asked(path, headers, query="key=wrong")
    assert (status, b"Open a link" in body) == (401, True)


@pytest.mark.parametrize("headers", [COOKIE, [(b"authorization", f"Bearer {KEY}".encode())]])
@pytest.mark.parametrize("path", [RUNS, "/get-artifact", "/ajax-api/2.0/mlflow/artifacts/list"])
def test_with_the_key_mlflow_answers(path, headers):
    assert asked(path, headers)[2] == b"MLflow"


def test_a_link_with_the_key_leaves_it_in_a_cookie_and_not_in_the_address():
    status, headers, _ = asked("/", query=f"key={KEY}")
    assert (status, headers[b"location"]) == (303, b"/")
    cookie = headers[b"set-cookie"].decode()
    assert cookie.startswith(f"pfbench-5000={KEY};")
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie


@pytest.mark.parametrize(
    "path",
    [
        *("/ajax-api/3.0/mlflow/assistant/config", "/ajax-api/3.0/mlflow/assistant/message"),
        *("/ajax-api/3.0/mlflow/jobs", "/gateway/x/mlflow/invocations", "/v1/traces"),
        *("/ajax-api/2.0/mlflow/upload-artifact", "/ajax-api/2.0/mlflow/gateway-proxy"),
        *("/api/2.0/mlflow-artifacts/artifacts/x", "/ajax-api/3.0/mlflow/ui-telemetry"),
        *("/api/2.0/mlflow/model-versions/create", "/api/2.0/mlflow/webhooks", "/mcp", "/x"),
        "/health",
    ],
)
def test_what_comparing_runs_does_not_need_is_not_there(path):
    assert asked(path, COOKIE)[0] == 404


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (b"http://127.0.0.1:5000", 200),
        (b"http://127.0.0.1:5001", 403),
        (b"http://127.0.0.1", 403),
        (b"http://localhost:5000", 403),
        (b"https://127.0.0.1:5000", 403),
        (b"http://example.org", 403),
        (b"null", 403),
    ],
)
def test_a_page_of_another_server_gets_nothing_although_the_browser_sends_the_key(
    origin, status, method
):
    assert asked(RUNS, [*COOKIE, (b"origin", origin)], method=method)[0] == status


QUESTION = {"query": "query Ask($n: Int) { __typename }", "variables": {"n": 1}}


@pytest.mark.parametrize("question", [QUESTION, QUESTION | {"operationName": "Ask"}])
def test_a_question_in_graphql_reaches_mlflow_as_it_was_asked(question):
    body = json.dumps(question).encode()
    assert asked("/graphql", COOKIE, body=body, inside=echo)[2] == body


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b"3", b"\xff", b"{}", b'{"query": null}', b'{"query": 3}'),
        *(b'{"query": ""}', b'{"query": "{"}', b'{"query": "query { a }", "variables": []}'),
        b'{"query": "query { a }", "operationName": 3}',
        b'{"query": "' + b"{a" * 50_000 + b'"}',
        b'{"query": "' + b" " * (1 << 20) + b'{ a }"}',
    ],
    ids=range(15),
)
def test_what_is_no_question_in_graphql_is_said_so_and_mlflow_does_not_see_it(body):
    assert asked("/graphql", COOKIE, body=body)[0] == 400
