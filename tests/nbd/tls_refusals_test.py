"""Log lines about failed TLS handshakes: they say whether the server, the peer or neither refused."""

import os
import socket
import ssl
import threading
import unittest

from lib import certificates, daemon, settings, wait
from lib.nbd_wire import OPT_LIST
from lib.tls import TlsTest


class RefusalTest(TlsTest):
    """A server that waits for clients who do not want it, and whom it does not want."""

    def line(self, client, text):
        """The one line that the log gets while client() tries to get in; it must have the text."""
        before = len(self.daemon.stderr())
        with self.assertRaises((OSError, AssertionError)):
            client()
        lines = wait.until(lambda: [line for line in self.daemon.stderr()[before:].decode().splitlines()
                                    if "nbd client" in line], 10, "a line in the log")
        self.assertEqual(len(lines), 1, lines)
        self.assertRegex(lines[0], text)
        return lines[0]

    def try_with(self, context, host="localhost"):
        """A client that begins TLS with this context."""
        connection = self.acknowledged()
        connection.socket = context.wrap_socket(connection.socket, server_hostname=host)
        connection.tls_required = False
        connection.option(OPT_LIST)

    def test_unknown_authority(self):
        """A client that does not trust our authority has refused our certificate, and was not refused."""
        strangers = certificates.make(self.path("strangers"))
        line = self.line(lambda: self.try_with(ssl.create_default_context(cafile=strangers.file("ca-cert.pem"))),
                         r"nbd client .* #\d+ refused our certificate: CA is unknown \(TLS alert 48\)$")
        self.assertNotIn("identity", line)

    def test_another_host(self):
        """The same for one that wanted another host."""
        self.line(lambda: self.try_with(self.context(), "elsewhere"), "refused our certificate: .*TLS alert 4")

    def test_expired(self):
        """The same for one by whose clock our certificate has expired."""
        pki = certificates.Certificates(self.path("old"))
        pki.make("server", "server", dates=('activation_date = "2020-01-01 00:00:00"',
                                            'expiration_date = "2021-01-01 00:00:00"'))
        self.qmp.execute("object-del", {"id": "tls0"})
        self.qmp.execute("object-add", {"qom-type": "tls-creds-x509", "id": "tls0", "endpoint": "server",
                                        "dir": pki.path, "sanity-check": False})
        try:
            context = ssl.create_default_context(cafile=pki.file("ca-cert.pem"))
            self.line(lambda: self.try_with(context), r"refused our certificate: .*expired \(TLS alert 45\)")
        finally:
            self.qmp.execute("object-del", {"id": "tls0"})
            self.qmp.execute("object-add", {"qom-type": "tls-creds-x509", "id": "tls0", "endpoint": "server",
                                            "dir": self.pki.path})

    def test_nobody(self):
        """A client that leaves in the middle has refused nobody, and nobody it."""
        def leave():
            connection = self.acknowledged()
            connection.send(b"\x16\x03\x01\x02")
            connection.close()
            raise OSError("gone")
        self.assertNotIn("refused", self.line(leave, "has gone before TLS was agreed on"))

    def test_us(self):
        """Whom we do not let in was refused by us: without a certificate, and with algorithms that are not accepted."""
        bare = ssl.create_default_context(cafile=self.pki.file("ca-cert.pem"))
        self.line(lambda: self.try_with(bare), "refused: identity '', rule: tls-creds: Verify failed: No certificate")
        old = self.context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        old.set_ciphers("ECDHE-ECDSA-AES256-SHA:AES256-SHA")
        self.line(lambda: self.try_with(old), "refused: .*rule: tls-creds: TLS handshake failed: .*'priority'")


class RefusedClientTest(unittest.TestCase):
    """A monitor that calls a server which does not want its certificate."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        self.pki = certificates.make(os.path.join(self.workdir, "pki"))

    def refuse(self, listener, context):
        """Accepts a connection and refuses its certificate."""
        accepted, _ = listener.accept()
        with accepted.dup() as connection:
            try:
                with context.wrap_socket(accepted, server_side=True) as secured:
                    secured.recv(1)
            except (ssl.SSLError, OSError):
                pass
            # A reset could overtake the alert.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass

    @settings.unlike_qemu("it does not say so")
    def test_server_refuses_us(self):
        """The log says that the peer refused us, and why; under TLS 1.3 the alert comes after the handshake."""
        strangers = certificates.make(os.path.join(self.workdir, "strangers"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pki.file("server-cert.pem"), self.pki.file("server-key.pem"))
        context.load_verify_locations(strangers.file("ca-cert.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
            context.minimum_version = context.maximum_version = version
            with self.subTest(version=version), socket.create_server(("127.0.0.1", 0)) as listener:
                listener.settimeout(settings.seconds(10))
                peer = threading.Thread(target=self.refuse, args=(listener, context))
                peer.start()
                self.addCleanup(peer.join)
                self.call(listener.getsockname()[1])

    def call(self, port):
        """A server with a monitor that calls this port."""
        server = daemon.Daemon(self.workdir, ["--chardev", f"socket,id=calling,host=127.0.0.1,port={port},ipv6=off,"
                                              "tls-creds=us", "--monitor", "chardev=calling"], nbd_server=None,
                               objects=[f"tls-creds-x509,id=us,endpoint=client,dir={self.pki.path}"])
        self.addCleanup(server.kill)
        server.start()
        wait.until(lambda: b"refused our certificate" in server.stderr(), 10, "the line in the log")
        said = server.stderr().decode()
        self.assertRegex(said, r"chardev 'calling': peer \S+ refused our certificate: .*TLS alert")
        self.assertNotIn("refused: ", said)
        server.stop()


if __name__ == "__main__":
    unittest.main()
