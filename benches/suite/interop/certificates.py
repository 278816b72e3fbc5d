"""An authority for one run, and a certificate of it for 127.0.0.1 and localhost."""

import base64
import hashlib
import os
import subprocess

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Failed(Exception):
    """What openssl said."""


def openssl(folder, *arguments):
    """What a command of openssl prints."""
    done = subprocess.run(["openssl", *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
                          check=False)
    if done.returncode != 0:
        raise Failed(f"openssl {arguments[0]}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout


def certify(folder):
    """Leaves ca.pem, server.pem and server.key in a folder; gives the digest by which Chromium trusts the key."""
    with open(os.path.join(folder, "names"), "w", encoding="ascii") as file:
        file.write("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    openssl(folder, "req", "-x509", *KEY, "-days", "1", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(folder, "req", *KEY, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    openssl(folder, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "1", "-extfile", "names", "-out", "server.pem")
    openssl(folder, "x509", "-in", "server.pem", "-pubkey", "-noout", "-out", "public.pem")
    der = openssl(folder, "pkey", "-pubin", "-in", "public.pem", "-outform", "der")
    return base64.b64encode(hashlib.sha256(der).digest()).decode("ascii")
