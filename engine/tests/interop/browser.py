"""A page in headless Chromium against a running echo and broadcast server.

    browser.py ECHO_URL BROADCAST_URL [SCREENSHOT.png]

The page is served from here, says on itself what happened, and reports it; with a third argument a
picture of it is kept. For wss URLs TRUSTED_SPKI has the hash of the server's public key, which alone
the browser trusts beyond its authorities: SHA-256, in base64.
"""

import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ("chromium", "chromium-browser", "google-chrome")


class Page(http.server.BaseHTTPRequestHandler):
    """Serves the page and takes its report."""

    report = None
    done = threading.Event()

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        if path == "/until-done":
            Page.done.wait(120)
        if path != "/":
            self.send_error(404)
            return
        with open(os.path.join(HERE, "browser.html"), "rb") as file:
            body = file.read()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        Page.report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        Page.done.set()

    def log_message(self, *_):
        pass


def browse(url, profile, *more):
    """Starts the browser on a page."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        sys.exit("no Chromium is installed")
    if key := os.environ.get("TRUSTED_SPKI"):
        more = (*more, f"--ignore-certificate-errors-spki-list={key}")
    # A container's root has no sandbox of its own; the page is ours.
    return subprocess.Popen(
        [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-dev-shm-usage", f"--user-data-dir={profile}", *more, url],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main(echo, broadcast, picture=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    query = urllib.parse.urlencode({"echo": echo, "broadcast": broadcast})
    url = f"http://127.0.0.1:{server.server_port}/?{query}"
    # The browser's helpers may still write there when it has ended.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        more = [f"--screenshot={picture}", "--window-size=900,760"]
        browser = browse(url, profile, *(more if picture else ["--remote-debugging-port=0"]))
        told = Page.done.wait(120)
        if picture:
            browser.wait(60)
        browser.terminate()
        try:
            browser.wait(10)
        except subprocess.TimeoutExpired:
            browser.kill()
            browser.wait()
    if not told:
        sys.exit("the page did not report")
    failed = 0
    for row in Page.report:
        print(f"{row['name']} ... {row['outcome']}")
        failed += row["outcome"].startswith("FAILED")
    if failed:
        sys.exit(f"{failed} checks failed")
    print(f"{len(Page.report)} of {len(Page.report)} checks passed")


main(*sys.argv[1:])
