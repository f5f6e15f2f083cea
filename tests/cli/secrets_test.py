"""Secrets and TLS credentials as objects: accepted and refused options, and no visible copy of a secret."""

import base64
import os
import resource
import signal
import socket
import subprocess
import unittest

from lib import certificates, daemon, memory, qmp, settings, tools, wait
from lib.testcase import DaemonTest

CANARY = "Kanarienvogel-4711"
KEY = "12345678901234567890123456789012"


def encrypted(text):
    """Base64 of the text under KEY, and of the initial vector, by OpenSSL."""
    vector = b"1234567890123456"
    data = tools.run("openssl", "enc", "-aes-256-cbc", "-K", KEY.encode().hex(), "-iv", vector.hex(), "-base64", "-A",
                     stdin=text)
    return data.strip(), base64.b64encode(vector).decode()


class CanaryTest(unittest.TestCase):
    """A secret that is easy to find, if it is anywhere."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        with open(os.path.join(self.workdir, "canary"), "w", encoding="ascii") as file:
            file.write(CANARY)

    def start(self, objects):
        """A server with these objects."""
        server = daemon.Daemon(self.workdir, nbd_server=None, objects=objects)
        self.addCleanup(server.kill)
        return server.start()

    def test_given_on_the_command_line(self):
        """It is not in the list of processes, the log, or any answer, in either form of the option."""
        server = self.start([f"secret,id=sec0,data={CANARY}",
                             f'{{"qom-type":"secret","id":"sec1","data":"{CANARY}"}}'])
        with open(f"/proc/{server.pid}/cmdline", "rb") as file:
            shown = file.read()
        self.assertNotIn(CANARY.encode(), shown)
        self.assertIn(b"secret,id=sec0,data=" + b"*" * len(CANARY), shown)
        self.nowhere(server, ["sec0", "sec1"])
        server.stop()

    def test_given_over_qmp_and_in_a_file(self):
        """It is not in the log or any answer."""
        server = self.start([f"secret,id=sec0,file={self.workdir}/canary"])
        server.qmp.execute("object-add", {"qom-type": "secret", "id": "sec1", "data": CANARY})
        self.nowhere(server, ["sec0", "sec1"])
        server.stop()

    def nowhere(self, server, identities):
        """Looks through all that the server says."""
        said = []
        for identity in identities:
            path = f"/objects/{identity}"
            said.append(server.qmp.command("qom-list", {"path": path}))
            for name in ("data", "file", "format", "iv", "keyid", "type"):
                said.append(server.qmp.command("qom-get", {"path": path, "property": name}))
            refusal = server.qmp.failure("qom-get", {"path": path, "property": "data"})
            self.assertEqual(refusal[1], "Property 'secret.data' is not readable")
        said.append(server.qmp.command("x-debug-tasks"))
        self.assertNotIn(CANARY, str(said))
        self.assertNotIn(CANARY.encode(), server.stderr())

    def test_mistakes(self):
        """An error in the option does not repeat it."""
        server = daemon.Daemon(self.workdir, nbd_server=None, monitor=False,
                               objects=[f"secret,id=sec0,data={CANARY},format=hex"])
        result = subprocess.run([server.program, *server.arguments], capture_output=True, check=False,
                                timeout=settings.seconds(10))
        self.assertNotEqual(result.returncode, 0)
        self.assertNotIn(CANARY.encode(), result.stderr)
        self.assertIn(b"Parameter 'format' does not accept value 'hex'", result.stderr)

    def test_no_core(self):
        """A process with a secret leaves no core behind when it is killed by a signal that makes one."""
        server = daemon.Daemon(self.workdir, nbd_server=None, objects=[f"secret,id=sec0,data={CANARY}"])
        resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
        self.addCleanup(server.kill)
        server.start()
        server.signal(signal.SIGQUIT)
        _, status = os.waitpid(server.pid, 0)
        server.process.returncode = -signal.SIGQUIT
        self.assertTrue(os.WIFSIGNALED(status))
        self.assertFalse(os.WCOREDUMP(status))


class MemoryTest(unittest.TestCase):
    """A secret in the daemon's memory: in pages that are kept for secrets, and nowhere else."""

    # One that a string has room for in itself, one that it has not, and one that is received in several pieces.
    SHORT, USUAL, LONG = "Kanari-4711", CANARY, "Kanari".join(f"-{number}-" for number in range(4000))

    @settings.unlike_qemu("what a secret passed through is not wiped")
    def setUp(self):
        if settings.sanitized():
            self.skipTest("a sanitizer keeps terabytes of shadows, and what was freed")
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)

    def start(self, objects=()):
        """A server with these objects."""
        server = daemon.Daemon(self.workdir, nbd_server=None, objects=objects)
        self.addCleanup(server.kill)
        return server.start()

    def places(self, server, secret):
        """The mappings that its first bytes are in."""
        try:
            return memory.places_of(server.pid, secret[:32].encode())
        except PermissionError:
            self.skipTest("this user may not look into another process")

    def assert_is_safe(self, server, secret, count=1):
        """It is there `count` times, each time where it belongs."""
        places = self.places(server, secret)
        self.assertEqual([place for place in places if not place.is_secret], [])
        self.assertEqual(len(places), count)

    def test_given_over_qmp(self):
        """It is where it belongs after object-add, and nowhere after object-del or a refusal."""
        server = self.start()
        for secret in (self.SHORT, self.USUAL, self.LONG):
            server.qmp.execute("object-add", {"qom-type": "secret", "id": "sec0", "data": secret})
            self.assert_is_safe(server, secret)
            taken = {"qom-type": "secret", "id": "sec0", "data": secret}
            self.assertIn("duplicate", server.qmp.failure("object-add", taken)[1])
            for wrong in ({"keyid": "none"}, {"format": "hex"}, {"file": "x"}, {"unknown": 1}):
                server.qmp.failure("object-add", {"qom-type": "secret", "id": "sec1", "data": secret, **wrong})
            self.assert_is_safe(server, secret)
            server.qmp.execute("object-del", {"id": "sec0"})
            self.assert_is_safe(server, secret, 0)
        server.stop()

    def test_given_on_the_command_line(self):
        """It is where it belongs, in either form of the option, and nowhere after object-del."""
        for secret in (self.SHORT, self.USUAL, self.USUAL + ",," + self.USUAL):
            server = self.start([f"secret,id=sec0,data={secret}",
                                 f'{{"qom-type":"secret","id":"sec1","data":"{secret}"}}'])
            self.assert_is_safe(server, secret[:len(self.USUAL)], 2 * secret.count(self.USUAL) or 2)
            server.qmp.execute("object-del", {"id": "sec0"})
            server.qmp.execute("object-del", {"id": "sec1"})
            self.assert_is_safe(server, secret[:len(self.USUAL)], 0)
            server.stop()

    def test_given_in_base64(self):
        """Neither what was written nor what it means is left."""
        server = self.start()
        written = base64.b64encode(self.USUAL.encode()).decode()
        server.qmp.execute("object-add", {"qom-type": "secret", "id": "sec0", "data": written, "format": "base64"})
        self.assert_is_safe(server, self.USUAL)
        self.assert_is_safe(server, written, 0)
        server.stop()

    def test_half_a_message(self):
        """What a client sent when it left in the middle of a message, or of what is no message, is gone with it."""
        server = self.start()
        server.qmp.close()
        head = '{"execute": "object-add", "arguments": {"qom-type": "secret", "id": "sec0", "data": "'
        for tail in ("", "\\", '"', '", "format', '\\q"}}', '"]'):
            with qmp.QmpClient(server.qmp_path, negotiate=False) as client:
                client.send_raw((head + self.USUAL + tail).encode())
                client.socket.shutdown(socket.SHUT_WR)
                while client.socket.recv(4096):
                    pass
            # The session ends a moment after its stream.
            wait.until(lambda: not self.places(server, self.USUAL), 10, "the session to end")
        server.stop()


class SecretTest(DaemonTest):
    """What a secret may be, as qemu-storage-daemon has it."""

    @classmethod
    def prepare(cls):
        return []

    def add(self, identity, **properties):
        """object-add; the error's text, or None."""
        reply = self.qmp.command("object-add", {"qom-type": "secret", "id": identity, **properties})
        if "return" in reply:
            self.addCleanup(self.qmp.command, "object-del", {"id": identity})
            return None
        return reply["error"]["desc"]

    def test_good_ones(self):
        """Raw, Base64, from a file, and encrypted by another secret."""
        with open(self.path("key"), "w", encoding="ascii") as file:
            file.write(KEY)
        self.assertIsNone(self.add("raw", data="x"))
        self.assertIsNone(self.add("base64", data="Z2VoZWlt", format="base64"))
        self.assertIsNone(self.add("key", file=self.path("key")))
        data, vector = encrypted("geheim")
        self.assertIsNone(self.add("under", data=data, format="base64", keyid="key", iv=vector))

    def test_bad_ones(self):
        """Each mistake has its text."""
        self.assertIsNone(self.add("key", data=KEY))
        self.assertIsNone(self.add("short", data="short"))
        vector = base64.b64encode(b"1234567890123456").decode()
        for properties, text in (
                ({}, "Either 'file' or 'data' must be provided"),
                ({"data": "x", "file": "y"}, "'file' and 'data' are mutually exclusive"),
                ({"data": "x!", "format": "base64"}, "Base64 data contains invalid characters"),
                ({"data": "x", "keyid": "none"}, "No secret with id 'none'"),
                ({"data": "x", "keyid": "short"}, "Key should be 32 bytes in length"),
                ({"data": "x", "keyid": "key"}, "IV is required to decrypt secret"),
                ({"data": "x", "keyid": "key", "iv": "YWI="}, "IV should be 16 bytes in length not 2"),
                ({"data": "abc", "keyid": "key", "iv": vector}, "Length 3 must be a multiple of block size 16"),
                ({"data": "1234567890123456", "keyid": "key", "iv": vector},
                 "Incorrect number of padding bytes (234) found on decrypted data"),
                ({"data": "x", "format": "hex"}, "Parameter 'format' does not accept value 'hex'")):
            self.assertEqual(self.add("bad", **properties), text)
        self.assertTrue(self.add("bad", file="/nonexistent").startswith("Unable to read /nonexistent: "))


class CredentialsTest(DaemonTest):
    """The objects tls-creds-*: what they want, and what they show."""

    @classmethod
    def prepare(cls):
        cls.pki = certificates.make(cls.path("pki"))
        cls.pki.add_user("alice")
        return []

    def add(self, kind, **properties):
        """object-add; the error's text, or None."""
        reply = self.qmp.command("object-add", {"qom-type": f"tls-creds-{kind}", "id": "tls0", **properties})
        if "return" in reply:
            self.qmp.execute("object-del", {"id": "tls0"})
            return None
        return reply["error"]["desc"]

    def broken(self, **changes):
        """A directory with some files of another content, or (None) without them."""
        path = self.path(f"broken-{len(os.listdir(self.workdir))}")
        pki = certificates.Certificates(path)
        pki.copy(self.pki, {name: name for name in os.listdir(self.pki.path) if name.endswith(".pem")})
        for name, content in changes.items():
            name = name.replace("_", "-") + ".pem"
            os.unlink(pki.file(name)) if content is None else pki.write(name, content)
        return pki

    def content(self, name):
        """A file of the good directory."""
        with open(self.pki.file(name), "rb") as file:
            return file.read()

    def test_lines_that_both_accept(self):
        """The same --object lines start either program."""
        directory = self.pki.path
        lines = ["secret,id=s0,data=x", f"tls-creds-x509,id=a,endpoint=server,dir={directory}",
                 f"tls-creds-x509,id=b,dir={directory},verify-peer=no",
                 f"tls-creds-x509,id=c,endpoint=server,dir={directory},priority=NORMAL,sanity-check=off,passwordid=s0",
                 f"tls-creds-psk,id=d,endpoint=server,dir={directory}",
                 f"tls-creds-psk,id=e,endpoint=client,dir={directory},username=alice",
                 "tls-creds-anon,id=f,endpoint=server", "tls-creds-anon,id=g"]
        arguments = [part for line in lines for part in ("--object", line)]
        for program in {settings.program(), settings.REFERENCE}:
            if os.path.exists(program):
                # A mistake behind them ends the program once it has taken them. The reference looks for a prime for
                # Diffie-Hellman for each server, which takes as long as it takes.
                result = subprocess.run([program, *arguments, "--monitor", "nothing"], capture_output=True, text=True,
                                        check=False, timeout=settings.seconds(150))
                self.assertIn('--monitor nothing: chardev "nothing" not found', result.stderr, program)

    def test_certificates_that_cannot_be_used(self):
        """What is missing or wrong is named by its file."""
        garbage = b"garbage\n"
        self.assertEqual(self.add("x509", endpoint="server"), "Missing 'dir' property value")
        for changes, text in (
                ({"ca_cert": None}, "Unable to access credentials {}/ca-cert.pem: No such file or directory"),
                ({"server_cert": None}, "Unable to access credentials {}/server-cert.pem: No such file or directory"),
                ({"server_key": None}, "Unable to access credentials {}/server-key.pem: No such file or directory"),
                ({"ca_cert": garbage}, "Unable to import CA certificate list {}/ca-cert.pem"),
                ({"server_cert": garbage},
                 "Unable to import server certificate {}/server-cert.pem: Base64 unexpected header error."),
                ({"server_key": self.content("client-key.pem")},
                 "Cannot load certificate '{0}/server-cert.pem' & key '{0}/server-key.pem': "
                 "The certificate and the given key do not match."),
                ({"ca_cert": self.content("server-cert.pem")},
                 "The certificate {}/ca-cert.pem basic constraints do not show a CA"),
                ({"server_cert": self.content("ca-cert.pem")},
                 "The certificate {}/server-cert.pem basic constraints show a CA, but we need one for a server"),
                ({"ca_crl": garbage}, "Cannot load CRL '{}/ca-crl.pem': Base64 decoding error.")):
            pki = self.broken(**changes)
            self.assertEqual(self.add("x509", endpoint="server", dir=pki.path), text.format(pki.path))

    def test_dates_and_authority(self):
        """The sanity check finds what has expired and what somebody else has signed, and can be switched off."""
        pki = self.broken()
        pki.make("server", "server", dates=('activation_date = "2020-01-01 00:00:00"',
                                            'expiration_date = "2021-01-01 00:00:00"'))
        name = pki.file("server-cert.pem")
        self.assertEqual(self.add("x509", endpoint="server", dir=pki.path),
                         f"The server certificate {name} has expired")
        self.assertIsNone(self.add("x509", endpoint="server", dir=pki.path, **{"sanity-check": False}))
        strangers = certificates.make(self.path("strangers"))
        strangers.make_authority("Another authority")
        name = strangers.file("server-cert.pem")
        self.assertEqual(self.add("x509", endpoint="server", dir=strangers.path),
                         f"Our own certificate {name} failed validation against {strangers.file('ca-cert.pem')}: "
                         "The certificate hasn't got a known issuer")

    @settings.unlike_qemu("each has to be valid, and 16 are looked at")
    def test_authorities_that_are_not_needed(self):
        """Beside ours there may be an expired one, one that is none, and many others; ours has to be valid."""
        old = certificates.Certificates(self.path("old"))
        old.make_authority("Old", ('activation_date = "2020-01-01 00:00:00"',
                                   'expiration_date = "2021-01-01 00:00:00"'))
        with open(old.file("ca-cert.pem"), "rb") as file:
            expired = file.read()
        ours = self.content("ca-cert.pem")
        for bundle in (expired + ours, ours + expired, self.content("server-cert.pem") + ours, expired * 40 + ours):
            for endpoint in ("server", "client"):
                self.assertIsNone(self.add("x509", endpoint=endpoint, dir=self.broken(ca_cert=bundle).path))
        pki = self.broken(ca_cert=expired)
        self.assertEqual(self.add("x509", endpoint="server", dir=pki.path),
                         f"The CA certificate {pki.file('ca-cert.pem')} has expired")

    @settings.unlike_qemu("a certificate that ends soon is told")
    def test_expiry_is_told(self):
        """A certificate that ends within 30 days is warned of."""
        pki = self.broken()
        pki.make("server", "server", dates=("expiration_days = 20",))
        self.assertIsNone(self.add("x509", endpoint="server", dir=pki.path))
        line = f"certificate {pki.file('server-cert.pem')} expires in less than 30 days".encode()
        wait.until(lambda: line in self.daemon.stderr(), 10, "the line in the log")

    def test_password(self):
        """An encrypted key wants its password."""
        pki = self.broken()
        pki.make("server", "server", password="geheim")
        self.assertTrue(self.add("x509", endpoint="server", dir=pki.path).startswith("Cannot load certificate '"))
        self.assertEqual(self.add("x509", endpoint="server", dir=pki.path, passwordid="none"),
                         "No secret with id 'none'")
        for password, good in (("wrong", False), ("geheim", True)):
            self.qmp.execute("object-add", {"qom-type": "secret", "id": "sec0", "data": password})
            text = self.add("x509", endpoint="server", dir=pki.path, passwordid="sec0")
            self.assertEqual(text is None, good, text)
            self.qmp.execute("object-del", {"id": "sec0"})

    def test_shared_keys(self):
        """A server has no user, a client one that is there."""
        keys = self.pki.file("keys.psk")
        self.assertEqual(self.add("psk", endpoint="server", dir=self.path("nowhere")),
                         f"Unable to access credentials {self.path('nowhere')}/keys.psk: No such file or directory")
        self.assertEqual(self.add("psk", endpoint="server", dir=self.pki.path, username="alice"),
                         "username should not be set when endpoint=server")
        self.assertEqual(self.add("psk", dir=self.pki.path), f"Username qemu not found in PSK file {keys}")
        self.assertIsNone(self.add("psk", dir=self.pki.path, username="alice"))

    @settings.unlike_qemu("it says nothing")
    def test_what_cannot_be_verified(self):
        """Whoever asks for anonymous peers to be verified is told that nobody is."""
        self.assertIsNone(self.add("anon", endpoint="server"))
        self.assertNotIn(b"verify-peer=on has no effect", self.daemon.stderr())
        self.assertIsNone(self.add("anon", endpoint="server", **{"verify-peer": True}))
        self.assertIn(b"verify-peer=on has no effect", self.daemon.stderr())

    def test_properties(self):
        """qom-list and qom-get show what was given and what is the default."""
        self.qmp.execute("object-add", {"qom-type": "tls-creds-x509", "id": "tls0", "endpoint": "server",
                                        "dir": self.pki.path})
        self.addCleanup(self.qmp.command, "object-del", {"id": "tls0"})
        listed = {entry["name"]: entry["type"] for entry in self.qmp.execute("qom-list", {"path": "/objects/tls0"})}
        self.assertEqual(listed, {"type": "string", "endpoint": "QCryptoTLSCredsEndpoint", "dir": "string",
                                  "verify-peer": "bool", "priority": "string", "sanity-check": "bool",
                                  "passwordid": "string", "strict-modes": "bool"})
        for name, value in (("endpoint", "server"), ("dir", self.pki.path), ("verify-peer", True), ("priority", ""),
                            ("sanity-check", True), ("passwordid", ""), ("strict-modes", False)):
            self.assertEqual(self.qmp.execute("qom-get", {"path": "tls0", "property": name}), value, name)
        self.qmp.execute("qom-set", {"path": "tls0", "property": "dir", "value": "/other"})
        self.assertEqual(self.qmp.execute("qom-get", {"path": "tls0", "property": "dir"}), "/other")
        self.assertEqual(self.qmp.failure("qom-set", {"path": "tls0", "property": "endpoint", "value": "x"})[1],
                         "Parameter 'endpoint' does not accept value 'x'")

    def test_wrong_objects(self):
        """nbd-server-start wants credentials, and those of a server."""
        address = {"type": "unix", "data": {"path": self.path("other.sock")}}
        self.qmp.execute("nbd-server-stop")
        for kind, text in (("iothread", "Object with id 'obj0' is not TLS credentials"),
                           ("tls-creds-anon", "Expected TLS credentials for a server endpoint")):
            self.qmp.execute("object-add", {"qom-type": kind, "id": "obj0"})
            self.assertEqual(self.qmp.failure("nbd-server-start", {"addr": address, "tls-creds": "obj0"})[1], text)
            self.qmp.execute("object-del", {"id": "obj0"})


if __name__ == "__main__":
    unittest.main()
