"""What `pfbench ui` serves, and to whom: the door before MLflow's application."""

import asyncio
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


def asked(path, headers=(), query=""):
    """Status, headers and body of the answer."""
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(),
             "headers": [*HEAD, *headers], "server": ("127.0.0.1", 5000), "scheme": "http",
             "root_path": ""}  # fmt: skip
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(Door(inside, KEY, "<html>")(scope, None, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


RUNS = "/ajax-api/2.0/mlflow/runs/search"


@pytest.mark.parametrize("path", ["/", RUNS, "/get-artifact", "/graphql", "/static-files/main.js"])
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
    ],
)
def test_what_comparing_runs_does_not_need_is_not_there(path):
    assert asked(path, COOKIE)[0] == 404


def test_that_the_server_lives_may_be_asked_by_everybody():
    assert asked("/health")[0] == 200
