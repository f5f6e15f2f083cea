"""Certificates and the pre-shared key of the TLS cells: created per run in a folder that is removed at its end."""

import os
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.tools import BenchError, Tools

X509 = "x509"
PSK = "psk"
USER = "bench"
KEY_BYTES = 32
# The keys that the guides of libnbd, nbdkit and QEMU recommend: RSA of the library's default strength.
KEY_OPTIONS = ("--generate-privkey", "--key-type=rsa", "--sec-param=high")
AUTHORITY = "cn = bench authority\nca\ncert_signing_key\nexpiration_days = 2\n"
SERVER = ("cn = localhost\ndns_name = localhost\nip_address = 127.0.0.1\ntls_www_server\nencryption_key\nsigning_key\n"
          "expiration_days = 2\n")


@dataclass(frozen=True)
class Credentials:
    """The folder of certificates and the file of keys, in the layout that all servers read."""

    x509: Path
    psk: Path

    @property
    def key_file(self) -> Path:
        return self.psk / "keys.psk"

    def client_args(self, kind: str) -> list[str]:
        """The options for nbdload, and for a control."""
        return [f"--tls-x509={self.x509}"] if kind == X509 else [f"--tls-psk={self.key_file}"]


def call(certtool: str, *options: str) -> None:
    done = subprocess.run([certtool, *options], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise BenchError(f"certtool: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")


def make_certificates(certtool: str, folder: Path) -> None:
    ca_key, ca_cert = folder / "ca-key.pem", folder / "ca-cert.pem"
    key, cert = folder / "server-key.pem", folder / "server-cert.pem"
    templates = {"ca.template": AUTHORITY, "server.template": SERVER}
    for name, text in templates.items():
        (folder / name).write_text(text, encoding="ascii")
    for path in (ca_key, key):
        call(certtool, *KEY_OPTIONS, f"--outfile={path}")
        path.chmod(0o600)
    call(certtool, "--generate-self-signed", f"--load-privkey={ca_key}", f"--template={folder / 'ca.template'}",
         f"--outfile={ca_cert}")
    call(certtool, "--generate-certificate", f"--load-privkey={key}", f"--load-ca-certificate={ca_cert}",
         f"--load-ca-privkey={ca_key}", f"--template={folder / 'server.template'}", f"--outfile={cert}")


def make_credentials(tools: Tools, scratch: Path) -> Credentials:
    """Creates them below `scratch`; a BenchError if certtool is missing."""
    if tools.certtool is None:
        raise BenchError("certtool (package gnutls-bin) is not installed")
    return make_credentials_with(tools.certtool, scratch)


def make_credentials_with(certtool: str, scratch: Path) -> Credentials:
    made = Credentials(scratch / "tls-x509", scratch / "tls-psk")
    for folder in (made.x509, made.psk):
        folder.mkdir(mode=0o700)
    make_certificates(certtool, made.x509)
    with open(os.open(made.key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(f"{USER}:{secrets.token_hex(KEY_BYTES)}\n")
    return made
