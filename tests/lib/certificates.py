"""Certificates and keys in a private directory, created with certtool and psktool, as users do."""

import os

from lib import tools

DAYS = 100


class Certificates:
    """A directory with an authority, and certificates that it signed."""

    def __init__(self, path):
        self.path = path
        self.serial = 0
        os.makedirs(path, exist_ok=True)
        self.make_authority()

    def file(self, name):
        """The path of a file in the directory."""
        return os.path.join(self.path, name)

    def _certtool(self, *arguments):
        tools.run("certtool", *arguments)

    def _template(self, *lines):
        path = self.file("template.info")
        with open(path, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
        return path

    def _make_key(self, name, password=None):
        extra = ["--password", password, "--pkcs8", "--pkcs-cipher", "aes-256"] if password else []
        self._certtool("--generate-privkey", "--key-type", "ecdsa", "--outfile", self.file(f"{name}-key.pem"), *extra)
        os.chmod(self.file(f"{name}-key.pem"), 0o600)

    def make_authority(self, name="Test authority", dates=()):
        """A new authority; what the one before has signed is worth nothing to those who trust this one."""
        self._make_key("ca")
        template = self._template(f"cn = {name}", "ca", "cert_signing_key", "crl_signing_key",
                                  *(dates or [f"expiration_days = {DAYS}"]))
        self._certtool("--generate-self-signed", "--load-privkey", self.file("ca-key.pem"), "--template", template,
                       "--outfile", self.file("ca-cert.pem"))

    def make(self, name, purpose, common_name=None, password=None, dates=()):
        """NAME-cert.pem and NAME-key.pem, for the "server" or "client" side, signed by the authority."""
        self._make_key(name, password)
        self.serial += 1
        lines = ["country = GB", f"cn = {common_name or name}", "signing_key", f"serial = {self.serial}",
                 f"tls_www_{purpose}", *(dates or [f"expiration_days = {DAYS}"])]
        if purpose == "server":
            lines += ["dns_name = localhost", "ip_address = 127.0.0.1"]
        extra = ["--password", password] if password else []
        self._certtool("--generate-certificate", "--load-ca-certificate", self.file("ca-cert.pem"),
                       "--load-ca-privkey", self.file("ca-key.pem"), "--load-privkey", self.file(f"{name}-key.pem"),
                       "--template", self._template(*lines), "--outfile", self.file(f"{name}-cert.pem"), *extra)

    def revoke(self, name):
        """ca-crl.pem, which revokes NAME-cert.pem."""
        template = self._template("expiration_days = 10", "crl_next_update = 10", "crl_number = 1")
        self._certtool("--generate-crl", "--load-ca-certificate", self.file("ca-cert.pem"), "--load-ca-privkey",
                       self.file("ca-key.pem"), "--load-certificate", self.file(f"{name}-cert.pem"), "--template",
                       template, "--outfile", self.file("ca-crl.pem"))

    def copy(self, source, names):
        """Files of another directory, as {name there: name here}."""
        for there, here in names.items():
            with open(source.file(there), "rb") as file:
                self.write(here, file.read())

    def write(self, name, content, mode=0o600):
        """A file, put in its place at once."""
        temporary = self.file(f"{name}.new")
        with open(temporary, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
        os.rename(temporary, self.file(name))

    def add_user(self, user):
        """A user with a key, in keys.psk."""
        tools.run("psktool", "-u", user, "-p", self.file("keys.psk"))


def make(path):
    """The usual: an authority, a server and a client."""
    certificates = Certificates(path)
    certificates.make("server", "server")
    certificates.make("client", "client")
    return certificates
