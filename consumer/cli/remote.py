"""The client of a worker elsewhere: every operation over HTTP, on either host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx2

from consumer.cli.group import Failure
from consumer.cli.target import command
from consumer.core.errors import BadInput, Conflict, Forbidden, NotFound, Problem
from consumer.core.strictjson import dump_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumer.cli.target import Remote

CONNECT_S: Final = 10.0
ANSWER_S: Final = 60.0
"""Seconds.  A thousand tasks or a sweep take some of them, and the start of a Worker a few more."""

_BROKEN: Final = "the worker claims nothing until it is repaired: docs/operations.md, the schema is broken"
_DIRECT: Final = "see docs/deploy.md for keys of a deployment"


class NoKey(Failure):
    """The command needs a key, and none was given."""


class Api:
    """The HTTP API of one worker.  Its methods block, because a command sends one request after another."""

    def __init__(self, remote: Remote, transport: httpx2.BaseTransport | None = None) -> None:
        self._remote = remote
        self._client = httpx2.Client(
            base_url=remote.url,
            timeout=httpx2.Timeout(ANSWER_S, connect=CONNECT_S),
            trust_env=not remote.on_loopback,  # a proxy cannot reach loopback of this machine
            transport=transport,
        )

    @property
    def url(self) -> str:
        return self._remote.url

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def ask(
        self, method: str, path: str, *, query: Mapping[str, object] | None = None, body: object = None
    ) -> Any:
        """The JSON of the reply.  Raises `BizQError` for a refusal, Failure for a reply that is not the API's."""
        content = None if body is None else dump_json(body).encode()
        return self.read(self.send(method, path, query=query, content=content))

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        open_to_all: bool = False,
    ) -> httpx2.Response:
        """The reply.  Raises Failure if none arrives, or if the request needs a key and there is none."""
        sent = {"Accept": "application/json", **(headers or {})}
        if content is not None:
            sent["Content-Type"] = "application/json"
        if not open_to_all:
            sent["Authorization"] = f"Bearer {self._key()}"
        asked = {name: str(value) for name, value in (query or {}).items() if value is not None}
        try:
            return self._client.request(method, path, params=asked, content=content, headers=sent)
        except httpx2.ConnectError as error:
            raise Failure(
                f"nothing answers at {self.url} ({error}): start a worker there (here: `bizq dev`), or correct --target"
            ) from None
        except httpx2.TimeoutException:
            raise Failure(f"{self.url} does not answer in time{_perhaps(method)}: try again later") from None
        except httpx2.TransportError as error:
            cause = str(error) or type(error).__name__
            raise Failure(
                f"the connection to {self.url} broke ({cause}){_perhaps(method)}: try again"
            ) from None

    def _key(self) -> str:
        if self._remote.key is None:
            raise NoKey(
                f"{self.url} needs an API key: put it into BIZQ_KEY, or name its file with --key-file"
            )
        return self._remote.key

    def read(self, reply: httpx2.Response) -> Any:
        """The JSON of a reply.  Raises `BizQError`, Failure."""
        try:
            value = reply.json()
        except ValueError:
            value = None
        if reply.is_success and value is not None:
            return value
        if isinstance(value, dict) and not reply.is_success and "detail" in value:
            raise self.refused(reply.status_code, value)
        raise Failure(
            f"{self.url} answered {reply.status_code}, not as BizQ does: check the address in --target"
        )

    def refused(self, status: int, document: Mapping[str, Any]) -> Exception:
        """The error that a problem document describes."""
        detail = str(document["detail"])
        problems = [
            Problem(str(error["field"]), str(error["message"])) for error in document.get("errors", ())
        ]
        if status in (400, 422):
            return BadInput.of(problems or [Problem("", detail)])
        if status == 401:
            return Failure(
                f"{self.url} refused the key: {detail}; create one with `bizq key create` on its machine or,"
                " for Cloudflare, as docs/deploy.md describes"
            )
        kinds = {403: Forbidden, 404: NotFound, 409: Conflict}
        if status in kinds:
            return kinds[status](detail)
        if status == 503:
            return Failure(f"{self.url} cannot work now: {detail}; run {command('doctor')} to diagnose")
        return Failure(f"{self.url} refused the request with {status}: {detail}", problems)


def _perhaps(method: str) -> str:
    """A warning about a request without a reply that changes something."""
    return "" if method == "GET" else ", but the change may have been made"


class RemoteClient:
    """`Client` over HTTP, with the rights of the API key."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def organizations(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._api.ask("GET", "/v1/organizations")["organizations"]
        return found

    async def submit(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        submitted: list[dict[str, Any]] = self._api.ask("POST", "/v1/tasks", body=list(items))["tasks"]
        return submitted

    async def history(self, task: int) -> dict[str, Any]:
        return dict(self._api.ask("GET", f"/v1/tasks/{task}/history"))

    async def cancel(self, task: int) -> dict[str, Any]:
        return dict(self._api.ask("POST", f"/v1/tasks/{task}/cancel"))

    async def retry(self, task: int) -> dict[str, Any]:
        return dict(self._api.ask("POST", f"/v1/tasks/{task}/retry")) | {"retry_of": task}

    async def release(self, task: int, *, questions: bool) -> dict[str, Any]:
        query = {"questions": "true"} if questions else {}
        return dict(self._api.ask("POST", f"/v1/tasks/{task}/release", query=query))

    async def bulk(self, organization: int | None, action: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self._api.ask("POST", "/v1/bulk", query=_scope(organization), body=dict(action)))

    async def inbox(self, organization: int | None, user: int | None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            query = {"user": user, "cursor": cursor or None, **_scope(organization)}
            page = self._api.ask("GET", "/v1/inbox", query=query)
            found += [{"link": None, **assignment} for assignment in page["assignments"]]
            cursor = page["cursor"]
        return found

    async def costs(
        self, organization: int | None, by: str, since: str | None, cursor: int | None
    ) -> dict[str, Any]:
        query = {"by": by, "since": since, "cursor": cursor, **_scope(organization)}
        return dict(self._api.ask("GET", "/v1/costs", query=query))

    async def adopt(self, organization: int | None) -> dict[str, Any]:
        return dict(self._api.ask("POST", "/v1/adopt", query=_scope(organization)))

    async def tick(self) -> dict[str, Any]:
        return dict(self._api.ask("POST", "/tick"))

    async def stop(self, reason: str) -> dict[str, Any]:
        return dict(self._api.ask("PUT", "/v1/stop", body={"reason": reason})["stop"])

    async def resume(self) -> bool:
        return bool(self._api.ask("DELETE", "/v1/stop")["resumed"])

    async def restore(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self._api.ask("POST", "/v1/restore", body=dict(wanted)))

    async def examine(self, *, probe: bool = False) -> list[dict[str, Any]]:
        """All findings, for an operator's key.  For another key or none, only the state of the schema, from
        `/healthz`."""
        query = {"probe": "true"} if probe else {}
        try:
            found: list[dict[str, Any]] = self._api.ask("GET", "/v1/doctor", query=query)["findings"]
        except (Forbidden, NoKey):
            return self._health()
        return found

    def _health(self) -> list[dict[str, Any]]:
        reply = self._api.send("GET", "/healthz", open_to_all=True)
        document = _json_of(reply)
        if reply.status_code == 503 and document.get("type") == "/problems#unhealthy":
            problems = [str(error["message"]) for error in document.get("errors", ())]
            return [
                {"level": "error", "what": problem, "advice": _BROKEN}
                for problem in problems or [str(document["detail"])]
            ]
        self._api.read(reply)
        healthy = {"level": "ok", "what": f"{self._api.url} answers, its schema is complete", "advice": ""}
        return [healthy, {"level": "ok", "what": "an operator's key shows more", "advice": ""}]

    async def create_organization(self, name: str) -> dict[str, Any]:
        return dict(self._api.ask("POST", "/v1/organizations", body={"name": name}))

    async def create_user(self, organization: int, email: str, name: str, role: str) -> dict[str, Any]:
        body = {"email": email, "name": name, "role": role}
        return dict(self._api.ask("POST", "/v1/users", query=_scope(organization), body=body))

    async def put_template(self, organization: int, template: Mapping[str, Any]) -> dict[str, Any]:
        value, name, scope = dict(template), template.get("name"), _scope(organization)
        if value.get("id") is None and isinstance(name, str):
            same_name = self._api.ask("GET", "/v1/templates", query={**scope, "name": name})["templates"]
            value["id"] = same_name[0]["id"] if same_name else None
        number = value.get("id")
        if number is not None and type(number) is not int:
            raise BadInput("id", "must be a whole number")
        method, path = ("POST", "/v1/templates") if number is None else ("PUT", f"/v1/templates/{number}")
        written = self._api.ask(method, path, query=scope, body=value)
        return {
            "id": written["id"],
            "organization": written["organization_id"],
            "name": written["name"],
            "created": number is None,
        }

    async def put_budget(self, organization: int, budget: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self._api.ask("POST", "/v1/budgets", query=_scope(organization), body=dict(budget)))

    async def create_key(self, organization: int | None, role: str) -> dict[str, Any]:
        raise _only_here("creating a key", organization, role)

    async def revoke_key(self, key: str) -> dict[str, Any]:
        raise _only_here("revoking a key", key)


def _only_here(what: str, *_arguments: object) -> Failure:
    return Failure(f"{what} is not possible over HTTP: {_DIRECT}")


def _scope(organization: int | None) -> dict[str, object]:
    return {"organization": organization} if organization else {}


def _json_of(reply: httpx2.Response) -> dict[str, Any]:
    try:
        value = reply.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class RemoteReader:
    """The statuses of `status` and `watch`, over HTTP."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._seen: dict[int, tuple[str, dict[str, Any]]] = {}
        """The last reply about a task, with its ETag."""

    def close(self) -> None:
        """Close the connection."""
        self._api.close()

    def task(self, number: int) -> dict[str, Any]:
        """The live status of a task.  An unchanged one is not sent again, and an older one is ignored."""
        tag, known = self._seen.get(number, ("", None))
        headers = {"If-None-Match": tag} if tag else {}
        reply = self._api.send("GET", f"/v1/tasks/{number}/status", headers=headers)
        if reply.status_code == 304 and known is not None:
            return known
        try:
            value: dict[str, Any] = self._api.read(reply)
        except NotFound as error:
            raise Failure(f"{error}; {command('status')} counts the tasks that this key may see") from None
        if known is not None and value["version"] < known["version"]:
            return known
        self._seen[number] = (reply.headers.get("etag", ""), value)
        return value

    def counts(self) -> dict[str, Any]:
        """Tasks by status."""
        return dict(self._api.ask("GET", "/v1/counts"))
