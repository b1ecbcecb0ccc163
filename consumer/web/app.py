"""The ASGI application.  One table of operations routes each request, checks it and documents it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route

from consumer.telemetry import Event, log
from consumer.web import admin, inbox, problems, tasks, webhooks
from consumer.web.operation import Operation, reply
from consumer.web.problems import TooLong
from consumer.web.request import RequestContext, authenticate, organization_of, read_query, wants_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from consumer.app import App

MAX_ADDRESS: Final = 8_192
"""Longest path, and longest query, in bytes."""

HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}
"""Headers of every response that does not set them itself."""


async def home(_context: RequestContext) -> Response:
    """The page that says what this is."""
    from consumer.web.pages import site

    return site.home()


async def list_problems(_context: RequestContext) -> Response:
    """The page of all error types, where the `type` of a problem document leads."""
    from consumer.web.pages import site

    return site.error_types()


async def describe(context: RequestContext) -> Response:
    """The document of the API."""
    from consumer.web import openapi

    return reply(openapi.document(OPERATIONS, context.world.config.public_url))


OPERATIONS: Final[tuple[Operation, ...]] = (
    *tasks.OPERATIONS,
    *admin.OPERATIONS,
    *webhooks.OPERATIONS,
    *inbox.OPERATIONS,
    Operation(
        method="GET",
        path="/openapi.json",
        handler=describe,
        summary="Get this document",
        answers={200: "OpenAPI"},
    ),
    Operation(
        method="GET",
        path="/problems",
        handler=list_problems,
        summary="List the error types",
        answers={200: ""},
    ),
    Operation(method="GET", path="/", handler=home, summary="Show what this is", answers={200: ""}),
)


def build(app: App) -> Starlette:
    """The application.  Making one is cheap: the Worker makes one for each request."""
    made = Starlette(
        routes=ROUTES, middleware=[Middleware(Edge)], exception_handlers={HTTPException: answer_refused}
    )
    made.router.redirect_slashes = False
    made.state.worker = app
    return made


class Edge:
    """The outermost layer: it refuses long addresses, adds headers, and turns every exception into a response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            _check_address(scope)
            await self._app(scope, receive, with_headers)
        except Exception as error:
            if started:
                raise
            response = await answer_refused(Request(scope), error)
            await response(scope, receive, with_headers)


def _check_address(scope: Scope) -> None:
    if max(len(scope["query_string"]), len(scope["path"].encode("utf-8", "replace"))) > MAX_ADDRESS:
        raise TooLong(f"at most {MAX_ADDRESS} bytes of path and of query")


async def answer_refused(request: Request, error: Exception) -> Response:
    """A problem document, or a page for a person.  Internal errors are logged, without the values of the request."""
    refused = problems.refusal(error)
    if refused.kind.status >= 500:
        route = request.scope.get("route")
        where = route.path if isinstance(route, Route) else None
        log().error(Event.REQUEST_FAILED, error=type(error).__name__, method=request.method, route=where)
    if request.url.path.startswith(inbox.PATH_PREFIX) and not wants_json(request):
        from consumer.web.pages import site

        return site.refused(refused)
    return problems.response(refused)


def _routes() -> list[Route]:
    """One route for each address, so that the refusal of a method can name the methods that are allowed."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    return [Route(path, _endpoint(methods), methods=[*methods]) for path, methods in by_path.items()]


def _endpoint(operations: Mapping[str, Operation]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        operation = operations[method]
        return await operation.handler(await _checked(operation, request))

    return endpoint


async def _checked(operation: Operation, request: Request) -> RequestContext:
    """The request after its key, its role and its query were checked, in this order."""
    app = cast("App", request.app.state.worker)
    if operation.role is None:
        query = {} if operation.query is None else read_query(request, operation.query)
        return RequestContext(request, app, query)
    caller = await authenticate(request, app)
    caller.need(operation.role)
    query = read_query(request, operation.query or ())
    return RequestContext(request, app, query, organization_of(caller, query), caller.role, caller.key)


ROUTES: Final = _routes()
