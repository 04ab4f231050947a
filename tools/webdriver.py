"""The machine's own Firefox and WebKitGTK, for engines.py: as much of a page of playwright's as deck.py asks for.

Playwright drives neither: it brings builds of its own. Both take the same commands, W3C's WebDriver, WebKit over HTTP
and Firefox over a socket (Marionette), so that a driver of Firefox's, which Debian has none of, is not needed.
"""

import base64
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

PATIENCE = 60  # seconds for one command
PREFERENCES = {
    "marionette.port": 0,  # a free one, which it writes into its profile
    "ui.prefersReducedMotion": 1,
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
}
FIREFOX = ("firefox-esr", "firefox")
KEYS = {"Escape": "\ue00c", "Enter": "\ue007", "Control": "\ue009", "ArrowRight": "\ue014"}
# What goes wrong is heard from the first call on: neither browser tells of more, driven like this. No fault is that
# Firefox does not fetch in advance what it has, nor that WebKitGTK does not let Slidev keep the screen awake.
CALL = """
const [given, done] = arguments
if (!window.wrong) {{
    window.wrong = []
    const error = console.error
    console.error = (...all) => (wrong.push(`console: ${{all.join(' ')}}`), error.apply(console, all))
    const address = ({{ target }}) => target.matches('[rel=modulepreload]') || `no ${{target.src ?? target.href}}`
    const heard = what => what === true || wrong.push(String(what))
    addEventListener('error', e => heard(e.message ?? address(e)), true)
    addEventListener('unhandledrejection', e => heard(e.reason?.name === 'NotAllowedError' || e.reason))
}}
const call = async () => {{ const found = ({expression}
); return typeof found === 'function' ? found(given) : found }}
const answer = how => done({{ wrong: wrong.splice(0), ...how }})
call().then(found => answer({{ found }}), error => answer({{ error: String(error) }}))
"""


class Keyboard:
    def __init__(self, ask):
        self.ask = ask

    def press(self, keys):
        keys = [KEYS.get(key, key) for key in keys.split("+")]
        down, up = ([dict(type=way, value=key) for key in keys] for way in ("keyDown", "keyUp"))
        held = dict(type="pause", duration=100)  # as long as by a finger: a key that is up again is not seen
        self.ask("PerformActions", actions=[dict(type="key", id="keyboard", actions=[*down, held, *up])])


class Page:
    """`ask(command, **parameters)` says what a browser answers."""

    def __init__(self, ask, version):
        self.ask, self.version, self.keyboard, self.tell = ask, version, Keyboard(ask), lambda wrong: None
        ask("SetTimeouts", script=1000 * PATIENCE, pageLoad=1000 * PATIENCE)

    def on(self, event, tell):
        """Of what playwright tells, only errors: those of the console are told as the page's are"""
        if event == "pageerror":
            self.tell = tell

    def goto(self, address):
        self.ask("Navigate", url=address)

    def evaluate(self, expression, arg=None):
        script = CALL.format(expression=expression)
        answer = self.ask("ExecuteAsyncScript", script=script, args=[arg])["value"]
        for wrong in answer["wrong"]:
            self.tell(wrong)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer.get("found")

    def wait_for_function(self, expression, arg=None, timeout=30_000):
        end = time.monotonic() + timeout / 1000
        while not self.evaluate(expression, arg):
            if time.monotonic() > end:
                raise TimeoutError(f"{timeout / 1000:.0f} s: {expression}")
            time.sleep(0.05)

    def wait_for_timeout(self, milliseconds):
        time.sleep(milliseconds / 1000)

    def screenshot(self, path):
        Path(path).write_bytes(base64.b64decode(self.ask("TakeScreenshot")["value"]))

    def resize(self, width, height):
        """The page itself, without what is around it: a window manager, where there is one, may take its time"""
        self.ask("SetWindowRect", x=0, y=0, width=width, height=height)
        time.sleep(0.5)
        lacks = self.evaluate("size => [size[0] - innerWidth, size[1] - innerHeight]", [width, height])
        self.ask("SetWindowRect", x=0, y=0, width=width + lacks[0], height=height + lacks[1])
        self.wait_for_function("size => size[0] === innerWidth && size[1] === innerHeight", [width, height])


@contextmanager
def running(command, folder):
    """The program, at home in a folder; it and all that it started end with the block"""
    home = {name: str(folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")}
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    program = subprocess.Popen(command, env=os.environ | home, **quiet)
    try:
        yield
    finally:
        os.killpg(program.pid, signal.SIGTERM)
        program.wait(PATIENCE)


def until(call):
    """What it gives, as soon as it does: a browser needs some time until it listens"""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except (OSError, ValueError):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@contextmanager
def firefox(width, height):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        profile = Path(folder)
        (profile / "user.js").write_text(
            "".join(f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in PREFERENCES.items())
        )
        program = next(filter(None, map(shutil.which, FIREFOX)))
        with running([program, "--headless", "--marionette", "--no-remote", "--profile", folder], profile):
            port = until(lambda: int((profile / "MarionetteActivePort").read_text()))
            with until(lambda: socket.create_connection(("127.0.0.1", port), PATIENCE + 5)) as connection:
                stream, numbers = connection.makefile("rb"), itertools.count(1)

                def receive():
                    length = b"".join(iter(lambda: stream.read(1), b":"))
                    return json.loads(stream.read(int(length)))

                def ask(command, **parameters):
                    message = json.dumps([0, next(numbers), f"WebDriver:{command}", parameters]).encode()
                    connection.sendall(b"%d:%s" % (len(message), message))
                    _, _, error, result = receive()
                    if error:
                        raise RuntimeError(f"{command}: {error['message']}")
                    return result

                receive()  # what it says of itself
                page = Page(ask, ask("NewSession")["capabilities"]["browserVersion"])
                page.resize(width, height)
                yield page


@contextmanager
def webkit(width, height):
    paths = {"SetTimeouts": "timeouts", "Navigate": "url", "ExecuteAsyncScript": "execute/async"}
    paths |= {"PerformActions": "actions", "TakeScreenshot": "screenshot", "SetWindowRect": "window/rect"}
    (browser,) = sorted(Path("/usr").glob("lib*/**/webkit2gtk-4.1/MiniBrowser"))[:1]
    options = {"binary": str(browser), "args": ["--automation"]}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        (Path(folder) / "gtk-3.0").mkdir()
        (Path(folder) / "gtk-3.0/settings.ini").write_text("[Settings]\ngtk-enable-animations=0\n")
        screen = ["xvfb-run", "-a", "-s", "-screen 0 1600x1200x24"]
        with running([*screen, "WebKitWebDriver", f"--port={port}"], Path(folder)):

            def send(path, **parameters):
                data = None if path.endswith("screenshot") else json.dumps(parameters).encode()
                asked = Request(f"http://127.0.0.1:{port}/{path}", data, {"Content-Type": "application/json"})
                return json.load(urlopen(asked, timeout=PATIENCE + 5))

            new = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
            session = until(lambda: send("session", capabilities=new))["value"]
            ask = lambda command, **parameters: send(f"session/{session['sessionId']}/{paths[command]}", **parameters)
            page = Page(ask, session["capabilities"]["browserVersion"])
            page.resize(width, height)
            yield page
