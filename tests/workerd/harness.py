"""The real Worker in workerd, driven from CPython: one Node process per `Workerd`, JSON lines between.

    with Workerd(stage.shipped(), packages(LOCK), Configuration.read(Path("wrangler.toml"))) as worker:
        worker.database("DB").migrate(Path("migrations"))
        worker.fetch("GET", "/healthz").status

The process is started in its own group and ends with this one, even if this one is killed.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import itertools
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from tests.workerd.archives import HERE, below, pack
from tests.workerd.configuration import Configuration, Options
from tests.workerd.replies import Event, Reply, Verdicts
from tests.workerd.tables import Tables
from tests.workerd.toolchain import Toolchain

HOST = HERE / "js" / "host.mjs"
INSIDE = HERE / "inside"
BOOT_TIMEOUT_S: Final = 120.0
CALL_TIMEOUT_S: Final = 60.0
_END_TIMEOUT_S: Final = 5.0


class WorkerdError(RuntimeError):
    """A command failed inside Node or the Worker; `name` is the JavaScript error's."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message


class Workerd:
    """A running Worker.  Methods block and may be called from any thread; `submit` gives a future instead."""

    def __init__(
        self,
        source: Mapping[str, Path | str],
        site: Path,
        configuration: Configuration,
        *,
        options: Options | None = None,
        toolchain: Toolchain | None = None,
        lab: Mapping[str, Path | str] | None = None,
    ) -> None:
        """Prepare to run the files of `source` with the packages in `site`; `lab`: additional files of tests."""
        self._source = source
        self._site = site
        self._configuration = configuration
        self._options = options or Options()
        self._toolchain = toolchain
        self._lab = {**below(INSIDE, "inside/"), **(lab or {})}
        self._ids = itertools.count(1)
        self._waiting: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None
        self.boot_s = 0.0
        """From the start of Node to the Worker's first readiness, in seconds."""
        self.info: dict[str, Any] = {}
        """The report of boot: `url`, `heapBytes`, `times` (ms), `entropyCallers`, `clockCallers`, `networkCallers`,
        `modules`, `version`."""

    # --- life cycle ---------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start Node, workerd and Python, and import the project.  Raises `MissingToolError`, `WorkerdError`."""
        toolchain = self._toolchain or Toolchain.find()
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="workerd-") as directory:
            archives = {
                "site": self._site,
                "source": pack(self._source, Path(directory, "source.zip")),
                "lab": pack(self._lab, Path(directory, "lab.zip")),
            }
            self._launch(toolchain)
            try:
                self.info = self._begin(toolchain, archives)
            except BaseException:
                self.stop()
                raise
        self.boot_s = time.monotonic() - began
        return self

    @property
    def pid(self) -> int:
        """The id of the Node process and of its group.  Raises `WorkerdError` if it does not run."""
        return self._running().pid

    def stop(self) -> None:
        """End the Worker: ask, then kill its process group.  Harmless when it has ended."""
        process, self._process = self._process, None
        atexit.unregister(self.stop)
        if process is None:
            return
        with contextlib.suppress(OSError):
            _stream(process.stdin).close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if self._listener:
            self._listener.join()  # it sees the end of the pipe
        _stream(process.stdout).close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            raise WorkerdError("Ended", "the Worker is not running")
        return self._process

    def _launch(self, toolchain: Toolchain) -> None:
        self._process = subprocess.Popen(
            [str(toolchain.node), str(HOST)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        atexit.register(self.stop)
        self._listener = threading.Thread(
            target=self._listen, args=(_stream(self._process.stdout),), daemon=True
        )
        self._listener.start()

    def _begin(self, toolchain: Toolchain, archives: Mapping[str, Path]) -> dict[str, Any]:
        options = self._options
        started: dict[str, Any] = self.call(
            "start",
            timeout_s=BOOT_TIMEOUT_S,
            nodeModules=str(toolchain.node_modules.resolve()),
            archives={name: str(path) for name, path in archives.items()},
            mainModule=options.main_module,
            compatibilityDate=self._configuration.compatibility_date,
            env=self._configuration.environment,
            triggers=self._configuration.triggers,
            intercept=options.intercept,
            persist=str(options.persist.resolve()) if options.persist else None,
            port=options.port,
            cronEverySeconds=options.cron_every_s,
            watchImports=options.watch_imports,
            echo=options.echo_logs,
        )
        return started

    # --- commands -----------------------------------------------------------------------------------

    def submit(self, command: str, **arguments: object) -> Future[Any]:
        """Send a command and return its future result (`asyncio.wrap_future` makes it awaitable)."""
        process = self._running()
        number = next(self._ids)
        future: Future[Any] = Future()
        line = json.dumps({"id": number, "command": command, **arguments})
        with self._lock:
            self._waiting[number] = future
            try:
                _stream(process.stdin).write(line + "\n")  # line-buffered
            except OSError as error:
                raise WorkerdError("Ended", f"the Worker's process ended: {error}") from error
        return future

    def call(self, command: str, *, timeout_s: float = CALL_TIMEOUT_S, **arguments: object) -> Any:
        """Send a command and wait for its result.  Raises `WorkerdError`, or `TimeoutError`."""
        return self.submit(command, **arguments).result(timeout_s)

    def lab(self, name: str, *, timeout_s: float = CALL_TIMEOUT_S, **arguments: object) -> Any:
        """Run a command of `boot.mjs` inside the Worker."""
        return self.call("lab", timeout_s=timeout_s, name=name, **arguments)

    def python(
        self, module: str, function: str, argument: object = None, *, timeout_s: float = CALL_TIMEOUT_S
    ) -> Any:
        """Run a function of the lab inside the Worker: it takes and returns JSON text."""
        return self.lab("python", timeout_s=timeout_s, module=module, function=function, argument=argument)

    def fetch(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """Send an HTTP request to the Worker; `path` may be a whole URL."""
        url = path if path.startswith("http") else f"http://worker.test{path}"
        sent = None if body is None else base64.b64encode(body).decode()
        result = self.call("fetch", method=method, url=url, headers=dict(headers or {}), body=sent)
        received = {name.lower(): value for name, value in result["headers"]}
        return Reply(result["status"], received, base64.b64decode(result["body"]))

    def deliver(self, queue: str, messages: Iterable[Mapping[str, object]]) -> Verdicts:
        """Deliver one batch straight to the `queue` handler: messages of {id, body, attempts?}."""
        stamped = [{"timestamp": int(time.time() * 1000), "attempts": 1, **message} for message in messages]
        result = self.call("queue", queue=queue, messages=stamped)
        return Verdicts(
            outcome=result["outcome"],
            acked=tuple(result["explicitAcks"]),
            retried={retry["msgId"]: retry.get("delaySeconds") for retry in result["retryMessages"]},
        )

    def send(self, binding: str, messages: Iterable[Mapping[str, object]]) -> None:
        """Send to the real queue: messages of {body, contentType?, delaySeconds?}."""
        self.lab("send", binding=binding, messages=list(messages))

    def tick(self, cron: str = "* * * * *", at_ms: int | None = None) -> str:
        """Fire the cron trigger and return its outcome (`ok`, `exception`)."""
        when = at_ms if at_ms is not None else int(time.time() * 1000)
        return str(self.call("scheduled", cron=cron, scheduledTime=when)["outcome"])

    def database(self, binding: str) -> Tables:
        """Return the D1 database of a binding."""
        return Tables(self, binding)

    def kv(
        self,
        binding: str,
        operation: str,
        key: str | None = None,
        value: str | None = None,
        options: Mapping[str, object] | None = None,
    ) -> Any:
        """`get` (value and metadata), `put`, `delete` or `list` in KV."""
        return self.lab("kv", binding=binding, operation=operation, key=key, value=value, options=options)

    def r2(self, binding: str, operation: str, key: str | None = None, value: bytes | None = None) -> Any:
        """`get`, `put`, `delete` or `list` in R2; a value comes back as base64 beside key, size and etag."""
        encoded = None if value is None else base64.b64encode(value).decode()
        return self.lab("r2", binding=binding, operation=operation, key=key, value=encoded)

    def rules(self, *rules: Mapping[str, object]) -> None:
        """Replace the rules for the Worker's outgoing requests; the first rule that fits a request is used.

        A rule names `url` (a prefix) and perhaps `method` and `times`; and either `forward` (another origin on
        loopback) or `status`, `headers`, `body` (bytes), with `delay` (s, before the headers), `body_delay` (s,
        between two halves of the body), `reset` ("headers" or "body": the connection breaks there).
        """
        self.call("rules", rules=[_rule(rule) for rule in rules])

    def outgoing(self) -> list[dict[str, Any]]:
        """Drain the Worker's outgoing requests since the last call: method, url, headers, body (bytes)."""
        calls = self.call("calls")
        return [{**call, "body": base64.b64decode(call["body"])} for call in calls]

    def logs(self) -> list[dict[str, Any]]:
        """Drain the Worker's log since the last call: level, message, timestamp."""
        drained: list[dict[str, Any]] = self.call("logs")
        return drained

    def events(self) -> list[Event]:
        """Drain the usage of the platform by the events that ended since the last call."""
        return [Event.read(counts) for counts in self.lab("meter")]

    def faults(self, *faults: Mapping[str, object]) -> None:
        """Replace the faults of the bindings; the first fault that fits a call is used.

        A fault names `binding`, `method` and the `message` of the error; `when` it is raised (`before`, or `after`
        the platform has done it); perhaps `match`, a part of the call's SQL or first argument, and `times`.
        """
        self.lab("faults", faults=list(faults))

    def heap_bytes(self) -> int:
        """Return the size of Python's memory, which Cloudflare limits to 128 MB together with the rest."""
        return int(self.lab("info")["heapBytes"])

    # --- replies ------------------------------------------------------------------------------------

    def _listen(self, stream: IO[str]) -> None:
        for line in stream:
            message = json.loads(line)
            with self._lock:
                future = self._waiting.pop(message["id"], None)
            if future is None:
                continue
            if error := message.get("error"):
                future.set_exception(WorkerdError(error["name"], error["message"]))
            else:
                future.set_result(message["result"])
        self._abandon()

    def _abandon(self) -> None:
        """Fail all waiting commands: no reply will come."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(WorkerdError("Ended", "the Worker's process ended"))


def _stream(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("the host process was started without pipes")
    return stream


def _rule(rule: Mapping[str, object]) -> dict[str, object]:
    body = rule.get("body", b"")
    if not isinstance(body, bytes):
        raise TypeError("a rule's body is bytes")
    known = {name: rule[name] for name in rule if name not in {"body", "body_delay"}}
    return {**known, "body": base64.b64encode(body).decode(), "bodyDelay": rule.get("body_delay")}
