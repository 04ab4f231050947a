"""The browser for the tests: the machine's own, else Debian's package, else playwright's own, in this order.

python tools/browser.py        prints its path, after installing one where there is none
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
NONE = (
    "No browser for the tests: none on this machine, `apt-get install chromium` and `playwright install chromium` "
    "did not work (see above). Install Chromium or Google Chrome, then run again."
)

# Nothing but what the deck asks for goes over the network.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def on_machine():
    """The path of a browser which is already there, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None) or (str(MAC) if MAC.exists() else None)


def of_playwright():
    """The path of playwright's own Chromium, or None where it has not been installed."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def find():
    """The path of a browser, or None. Installs nothing."""
    return on_machine() or of_playwright()


def launch(playwright):
    return playwright.chromium.launch(executable_path=find() or sys.exit(NONE), args=FLAGS)


def install():
    """Debian's package where apt-get may be used, else playwright's own. Returns the path or None."""

    def run(*command):
        print("$", *command, file=sys.stderr, flush=True)
        return subprocess.run(command, stdout=sys.stderr, stdin=subprocess.DEVNULL).returncode == 0

    apt = shutil.which("apt-get") and os.geteuid() == 0
    if apt:
        os.environ["DEBIAN_FRONTEND"] = "noninteractive"
        if run("apt-get", "update", "-q") and run("apt-get", "install", "-q", "-y", "chromium") and on_machine():
            return on_machine()
    run(sys.executable, "-m", "playwright", "install", *["--with-deps"] * bool(apt), "chromium")
    return of_playwright()


if __name__ == "__main__":
    print(find() or install() or sys.exit(NONE))
