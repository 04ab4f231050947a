"""Serve a folder on this machine only: `make talk` for the speaker, and the browser tests.

python tools/serve.py dist --port 3030
"""

import argparse
import signal
import socket
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# The system's own table differs from machine to machine; these are the types a deck needs.
TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}

# With these a page may use several threads: the model in the deck is faster then.
ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}

KEYS = """\
  right, space   next step      down, up   next, previous slide
  left           previous step  g          go to a slide
  f              full screen    o          overview
  l              in the other language
"""


class Handler(SimpleHTTPRequestHandler):
    """Files of `directory`, reached under `prefix`; anything outside the prefix is not found."""

    protocol_version = "HTTP/1.1"  # keeps connections open
    timeout = 60  # seconds that one may be silent: who never ends what it asks holds no thread for ever
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, **TYPES}
    prefix = "/"
    headers_sent = {"Cache-Control": "no-cache"}  # a rebuilt deck shows at the next reload

    def translate_path(self, path):
        if not path.startswith(self.prefix):
            return str(Path(self.directory, "outside the prefix"))
        return super().translate_path("/" + path[len(self.prefix) :])

    def send_head(self):
        try:
            return super().send_head()
        except ValueError:  # a name that no file can have, with a NUL in it or half a letter
            return self.send_error(404)

    def end_headers(self):
        for name, value in self.headers_sent.items():
            self.send_header(name, value)
        asked = hasattr(self, "headers")  # there are none where they were too long or too many
        if asked and self.command == "GET" and self.server.live and self.is_deck():
            for cookie in self.server.live.cookies(self):
                self.send_header("Set-Cookie", cookie)
        super().end_headers()

    def is_deck(self):
        """Whether the page of the deck is asked for, in either language"""
        path = self.path.partition("?")[0].removesuffix("index.html")
        return path in (self.prefix, f"{self.prefix}ja/")

    def do_POST(self):
        self.close_connection = True  # what was sent may not have been read
        if self.server.live and self.path.startswith(f"{self.prefix}live/"):
            self.server.live.post(self, self.path.removeprefix(f"{self.prefix}live/"))
        else:
            self.send_error(404)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # a browser with many windows asks for much at once
    live = None  # what runs code of the slides (live.py), if anything does

    def handle_error(self, request, client_address):
        """A browser that leaves in the middle of an answer is no news; anything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def make_server(folder, port=0, prefix="/", headers=ISOLATION):
    """A server of `folder` at http://localhost:port/prefix; port 0 takes a free one (see `.server_port`)."""
    handler = type("PrefixHandler", (Handler,), {"prefix": prefix, "headers_sent": Handler.headers_sent | headers})
    return Server(("127.0.0.1", port), partial(handler, directory=str(folder)))


@contextmanager
def serving(folder, prefix="/", headers=ISOLATION, live=None):
    """`folder` at a free port, as long as the block lasts; -> its address"""
    server = make_server(folder, prefix=prefix, headers=headers)
    server.live = live
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}{prefix}"
    finally:
        server.shutdown()
        server.server_close()


def open_live():
    """A kernel with torch, where Jupyter is installed. Without it, what the deck's page can run is run there."""
    try:
        from live import Live

        return Live()
    except (ImportError, OSError) as error:
        print(f"  Code on the slides is not run by this machine's torch: {error}", file=sys.stderr)
        return None


def answers(port):
    """Whether something listens at localhost, be it on IPv4 or on IPv6."""
    try:
        socket.create_connection(("localhost", port), timeout=1).close()
        return True
    except (OSError, OverflowError):
        return False


def stop(message):
    print(message, file=sys.stderr)
    sys.exit(2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=3030)
    args = parser.parse_args()
    if not (args.folder / "index.html").is_file():
        stop(f"There is no deck in {args.folder}/: build it with `make build`.")
    if answers(args.port):
        stop(f"Port {args.port} is in use. Stop what listens there, or take another: make talk PORT={args.port + 1}")
    try:
        server = make_server(args.folder, args.port)
    except (OSError, OverflowError) as error:
        stop(f"Port {args.port} cannot be used ({error}). Take another: make talk PORT=3030")
    address = f"http://localhost:{args.port}/"
    print(
        f"\n  the deck       {address}\n  the presenter  {address}#/presenter/1\n  in Japanese    {address}ja/"
        f"\n\n{KEYS}\n  Ctrl-C stops.",
        flush=True,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.live = open_live()
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        if server.live:
            server.live.close()


if __name__ == "__main__":
    main()
