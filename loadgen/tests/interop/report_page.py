"""Looks at a page of loadgen report in headless Chromium, at desktop and phone width, light, dark
and printed: every plot must have lines in it, and nothing may stick out or be fetched.

    report_page.py PAGE.html PLOTS [PICTURES]

PLOTS is how many plots the page has; pictures are kept in the folder PICTURES. Then each plot is
emptied in turn, to prove that the check would notice. Needs the packages websockets and pillow.
"""

import base64
import io
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from PIL import Image
from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (1280, 390)
# How much of a plot's width a line must cover, and what makes a pixel coloured: panels, grids and
# texts are almost grey in both schemes.
COVERED = 0.3
COLOURED = 60

AREAS = """[...document.querySelectorAll('svg.plot')]
    .filter(svg => svg.getClientRects().length)
    .map(svg => {
        const {x, y, width, height} = svg.querySelector('.area').getBoundingClientRect();
        return {title: svg.getAttribute('aria-label'), x, y: y + scrollY, width, height};
    })"""
EMPTY = """document.querySelectorAll('svg.plot').forEach(svg => {
        const off = svg.getAttribute('aria-label') === TITLE;
        svg.querySelectorAll('.curve, .mark').forEach(e => e.style.display = off ? 'none' : '');
    })"""


class Browser:
    """A tab, spoken to by the DevTools protocol."""

    def __init__(self, profile):
        program = next(filter(None, map(shutil.which, NAMES)))
        # A container's root has no sandbox of its own; the page is ours.
        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-dev-shm-usage", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--hide-scrollbars",
             f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = os.path.join(profile, "DevToolsActivePort")
        deadline = time.monotonic() + 60
        while not (os.path.exists(port) and "\n" in open(port, encoding="ascii").read()):
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.close()
                sys.exit("Chromium did not come up")
            time.sleep(0.05)
        number, path = open(port, encoding="ascii").read().split("\n")[:2]
        self.socket = connect(f"ws://127.0.0.1:{number}{path}", max_size=None)
        self.numbers = itertools.count(1)
        self.session = None
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target,
                                 flatten=True)["sessionId"]

    def call(self, method, **parameters):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.socket.send(json.dumps(message))
        while True:
            answer = self.receive()
            if answer.get("id") == number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]

    def receive(self):
        answer = json.loads(self.socket.recv(timeout=60))
        if "method" in answer:
            self.events.append(answer)
        return answer

    def open(self, url):
        self.call("Page.enable")
        self.call("Network.enable")
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.receive()

    def requests(self):
        return [event["params"]["request"]["url"] for event in self.events
                if event["method"] == "Network.requestWillBeSent"]

    def see(self, width, scheme, media=""):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                  deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", media=media,
                  features=[{"name": "prefers-color-scheme", "value": scheme}])

    def run(self, script):
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            sys.exit(f"the page says {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def picture(self, **clip):
        options = {"clip": {**clip, "scale": 1}} if clip else {}
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True, **options)["data"]
        return base64.b64decode(data)

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def covered(png):
    """The share of a picture's columns that have a coloured pixel in them."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    pixels = image.load()
    wide, high = image.size
    coloured = sum(
        any(max(pixels[x, y]) - min(pixels[x, y]) > COLOURED for y in range(high))
        for x in range(wide))
    return coloured / wide


def shares(browser):
    """How much of each plot is covered, by its title."""
    return {area.pop("title"): covered(browser.picture(**area)) for area in browser.run(AREAS)}


def main(page, plots, pictures=None):
    checks = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            browser.open(pathlib.Path(page).resolve().as_uri())
            looks = [(width, scheme, "") for width in WIDTHS for scheme in ("light", "dark")]
            for width, scheme, media in [*looks, (1000, "light", "print")]:
                name = f"{width}-{scheme}{media and '-' + media}"
                browser.see(width, scheme, media)
                full = shares(browser)
                if pictures:
                    os.makedirs(pictures, exist_ok=True)
                    with open(os.path.join(pictures, f"{name}.png"), "wb") as file:
                        file.write(browser.picture())
                if len(full) != plots:
                    sys.exit(f"{name}: {len(full)} plots, not {plots}: {list(full)}")
                for title, share in full.items():
                    if share < COVERED:
                        sys.exit(f"{name}: the plot `{title}` is empty, {share:.0%} covered")
                    browser.run(EMPTY.replace("TITLE", json.dumps(title)))
                    emptied = shares(browser)
                    if emptied.pop(title) >= COVERED or min(emptied.values(), default=1) < COVERED:
                        sys.exit(f"{name}: this check does not see that `{title}` is empty")
                    checks += 1
                browser.run(EMPTY.replace("TITLE", "null"))
                sticking = browser.run("document.documentElement.scrollWidth") - width
                if sticking > 0:
                    sys.exit(f"{name}: the page is {sticking} pixels too wide")
            if len(browser.requests()) != 1:
                sys.exit(f"the page fetches {browser.requests()[1:]}")
        finally:
            browser.close()
    print(f"{checks} plots seen full, and empty when emptied; nothing fetched")


main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:4])
