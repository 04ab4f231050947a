"""Real torch behind the slides: a Jupyter kernel of this environment, behind the deck's own server (serve.py).

The page sends what is to be run and reads what comes of it, line by line to the end; when it goes away, the run is
stopped. Two addresses are all there is, so nothing else of a kernel, nor of Jupyter, can be reached:

    POST live/python   {"torch": "2.13.0"}, or {"missing": why there is none}
    POST live/run      a task (slides/python/types.ts), or null: only start -> {"state": ...}, {"print": ...},
                       {"step": ...} as they come, at last {"done": ...} or {"failed": ...}

The page has the words: what it shows is sent as a code, such as {"state": "starting"}, but for what Python itself says.

Who may ask: the deck's own page, in a browser of the user who has started the server (see `refusal`).
"""

import json
import os
import re
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from http.cookies import CookieError, SimpleCookie
from importlib.metadata import version
from pathlib import Path
from queue import Empty
from urllib.parse import urlsplit

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

TOOLS = Path(__file__).parent
MIME = "application/vnd.sdscope.live+json"  # of what live_kernel.py sends
LARGEST = 256_000  # bytes of a task
PRINTED = 20_000  # characters of a run's that are passed on
PATIENCE = 1.0  # seconds from an interrupt to the end of a kernel that does not heed it

NAMES = ("localhost", "127.0.0.1")


class Kernel:
    """It starts at once, and again when it is gone. One run at a time: a new one stops the one before."""

    def __init__(self):
        self.lock, self.turn, self.manager = threading.Lock(), None, None
        self.folder = Path(tempfile.mkdtemp(prefix="live-"))  # of this user alone: sockets, and what cells save
        self.start()

    def start(self):
        self.end()
        self.problem = None
        self.starting = threading.Thread(target=self.open, daemon=True)
        self.starting.start()

    def open(self):
        """A kernel of this very Python, reached by files in our folder. It ends when this process does, whatever ends
        that: ipykernel looks every second whether its parent is still there."""
        at = self.folder / secrets.token_hex(4)
        made = {
            "SDSCOPE_OUT": f"{at}-out",
            "SDSCOPE_RUNS": f"{at}-runs",
            "MPLBACKEND": "agg",
            "TRANSFORMERS_VERBOSITY": "error",
        }
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, extra_arguments=["--log-level=50"])
        try:
            specs = KernelSpecManager(kernel_dirs=[])  # what else is called python3 on this machine is not asked
            where = dict(transport="ipc", ip=str(at), connection_file=f"{at}.json")
            self.manager = KernelManager(kernel_spec_manager=specs, **where)
            self.manager.start_kernel(cwd=str(TOOLS.parent), env=os.environ | made, **quiet)
            self.client = self.manager.client()
            self.client.start_channels()
            self.client.wait_for_ready(timeout=120)
            code = f"import sys; sys.path.append({str(TOOLS)!r}); import live_kernel"
            answer = self.client.execute(code, store_history=False, reply=True, timeout=300)["content"]
            if answer["status"] != "ok":
                self.problem = f"{answer['ename']}: {answer['evalue']}".partition("\n")[0]
        except Exception as error:  # no ipykernel, no room for a process, ended while it started
            self.problem = str(error).partition("\n")[0] or type(error).__name__
        if self.problem:
            print(
                f"  Code on the slides is not run by this machine's torch: {self.problem}", file=sys.stderr, flush=True
            )

    def alive(self):
        return self.manager is not None and self.manager.has_kernel and self.manager.is_alive()

    def end(self):
        if self.manager is not None and self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)

    def close(self):
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, task, gone):
        """Yields what the kernel sends, to the end. gone(): whether nobody is there any more to read it."""
        mine = self.turn = object()
        over = lambda: gone() or self.turn is not mine
        with self.lock:  # the run before hears that it is over
            if not self.starting.is_alive() and not self.alive():
                self.start()
            if self.starting.is_alive():
                yield {"state": "starting"}
            while self.starting.is_alive() and not over():
                self.starting.join(0.1)
            if over():
                yield failed("stopped")
            elif self.problem:
                yield failed("missing", problem=self.problem)
            elif task is None:
                yield {"done": None}
            else:
                yield from self.execute(task, over)

    def execute(self, task, over):
        code = f"live_kernel.run({json.dumps(task)!r})"
        asked = self.client.execute(code, store_history=False, allow_stdin=False)
        room = PRINTED
        try:
            while not over():
                try:
                    message = self.client.get_iopub_msg(timeout=0.1)
                except Empty:
                    if self.alive():
                        continue
                    asked = None
                    self.start()
                    yield failed("lost")
                    return
                kind, content = message["msg_type"], message["content"]
                if message["parent_header"].get("msg_id") != asked:
                    continue
                if kind == "stream" and room > 0:
                    room -= len(content["text"])
                    yield {"print": content["text"]} if room > 0 else {"print": content["text"][:room], "cut": True}
                elif kind == "display_data" and MIME in content["data"]:
                    yield content["data"][MIME]
                elif kind == "error":  # of live_kernel itself, or KeyboardInterrupt
                    yield failed("error", message=f"{content['ename']}: {content['evalue']}".rstrip(": "))
                elif kind == "status" and content["execution_state"] == "idle":
                    asked = None
                    return
            self.stop(asked)
            asked = None
            yield failed("stopped")
        finally:
            if asked:  # the reader went away in the middle of a line
                self.stop(asked)

    def stop(self, asked):
        """It ends what it does, or it is ended."""
        self.manager.interrupt_kernel()
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with suppress(Empty):
                message = self.client.get_iopub_msg(timeout=0.1)
                ours = message["parent_header"].get("msg_id") == asked and message["msg_type"] == "status"
                if ours and message["content"]["execution_state"] == "idle":
                    return
        self.start()


def failed(kind, **more):
    return {"failed": {"kind": kind, **more}}


class Live:
    """The kernel, and who may use it."""

    def __init__(self):
        self.key, self.kernel = secrets.token_urlsafe(32), Kernel()
        self.torch = version("torch").partition("+")[0]

    def cookies(self, handler):
        """What comes with the deck's page: the key, which its scripts cannot read, and that there is one. Cookies
        are those of all ports of a machine, so their names say which."""
        if not (here(handler) and same_user(handler)):
            return []
        port = port_of(handler)
        return [
            f"live-{port}={self.key}; HttpOnly; SameSite=Strict; Path=/",
            f"kernel-{port}=yes; SameSite=Strict; Path=/",
        ]

    def refusal(self, handler):
        """Why this is not the deck's own page, or None. Another page can send requests here, but not say that it is
        this one (Origin), not under its own name, should that lead here (Host), and not with the key (a cookie)."""
        headers, origin = handler.headers, handler.headers.get("Origin")
        if not here(handler):
            return "not asked for as localhost"
        if origin != f"http://{headers['Host']}" or headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return "asked for by another page"
        try:
            given = SimpleCookie(headers.get("Cookie", ""))[f"live-{port_of(handler)}"].value
        except (CookieError, KeyError):
            return "without the key: load the page again"
        if not secrets.compare_digest(given.encode(), self.key.encode()):
            return "with the key of another start: load the page again"
        return None

    def post(self, handler, name):
        """Answers a POST of live/NAME"""
        handler.close_connection = True
        length = handler.headers.get("Content-Length", "")
        if line := self.refusal(handler):
            return answer(handler, 403, {"error": line})
        if name not in ("python", "run"):
            return answer(handler, 404, {"error": "there is only live/python and live/run"})
        if not re.fullmatch("[0-9]{1,9}", length) or int(length) > LARGEST:
            return answer(handler, 413, {"error": f"more than {LARGEST // 1000} kB of code"})
        try:
            task = json.loads(handler.rfile.read(int(length)))
        except (ValueError, RecursionError):
            return answer(handler, 400, {"error": "not JSON"})
        if name == "python":
            problem = self.kernel.problem
            return answer(handler, 200, {"missing": problem} if problem else {"torch": self.torch})
        start(handler, 200, "application/x-ndjson")
        with closing(self.kernel.run(task, lambda: gone(handler.connection))) as events:
            for event in events:
                handler.wfile.write(json.dumps(event).encode() + b"\n")
        return None

    def close(self):
        self.kernel.close()


def answer(handler, status, value):
    start(handler, status, "application/json")
    handler.wfile.write(json.dumps(value).encode())


def start(handler, status, kind):
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Connection", "close")
    handler.end_headers()


def here(handler):
    """Whether it was asked for by this machine's own name. A name of somebody else's may be made to lead here."""
    try:
        return port_of(handler) > 0 and urlsplit(f"//{handler.headers['Host']}").hostname in NAMES
    except ValueError:
        return False


def port_of(handler):
    return urlsplit(f"//{handler.headers['Host']}").port or 80


def gone(connection):
    """Whether the other end has closed it"""
    try:
        return bool(select.select([connection], [], [], 0)[0]) and not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


def same_user(handler):
    """Whether the other end of the connection is ours, or root's. Only Linux tells: elsewhere, anybody's here."""
    ends = [f":{port:04X}" for port in (handler.client_address[1], handler.connection.getsockname()[1])]
    try:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    except OSError:
        return True
    return any([row[1][-5:], row[2][-5:]] == ends and int(row[7]) in (0, os.getuid()) for row in rows)
