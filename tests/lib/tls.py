"""Base class of tests of a server with TLS."""

import os
import ssl
import unittest

from lib import certificates, daemon, images, tools, wait
from lib.nbd_wire import OPT_STARTTLS, REP_ACK
from lib.testcase import DaemonTest, file_node, nbd_export

try:
    from nbd import NBD  # without libnbd's module the name would be that of the folder tests/nbd
except ImportError:
    raise unittest.SkipTest("python3-libnbd is not installed") from None

SIZE = 8 << 20


class TlsTest(DaemonTest):
    """A writable file behind a server with TLS on a unix socket and on TCP; `pki` is the server's directory."""

    kind = "x509"
    credentials = ""  # further properties of the server's credentials
    nbd_server = "tls-creds=tls0"

    @classmethod
    def make_files(cls):
        """The server's certificates or keys."""
        cls.pki = certificates.make(cls.path("pki"))

    @classmethod
    def objects(cls):
        return [f"tls-creds-{cls.kind},id=tls0,endpoint=server,dir={cls.path('pki')}{cls.credentials}"]

    @classmethod
    def prepare(cls):
        cls.make_files()
        cls.disk = cls.path("disk.img")
        images.make_random(cls.disk, SIZE, 7)
        cls.port = daemon.free_port()
        return [*file_node("disk", cls.disk), *nbd_export("disk", writable="on"),
                "--listen", f"type=inet,host=127.0.0.1,port={cls.port}"]

    @classmethod
    def tls_uri(cls, pki=None, export="disk", tcp=False, user=""):
        """A URI for libnbd and its tools."""
        directory = (pki or cls.pki).path
        files = f"tls-certificates={directory}" if cls.kind == "x509" else f"tls-psk-file={directory}/keys.psk"
        user = f"{user}@" if user else ""
        if tcp:
            return f"nbds://{user}127.0.0.1:{cls.port}/{export}?{files}"
        return f"nbds+unix://{user}/{export}?socket={cls.daemon.nbd_path}&{files}&tls-hostname=localhost"

    def connect(self, pki=None, **options):
        """libnbd's handle over TLS."""
        handle = NBD()
        handle.set_uri_allow_local_file(True)
        handle.connect_uri(self.tls_uri(pki, **options))
        self.addCleanup(handle.shutdown)
        return handle

    def assert_works(self, pki=None, **options):
        """A client with these files reads what the disk holds."""
        handle = self.connect(pki, **options)
        self.assertEqual(handle.pread(100_000, 12345), images.read_range(self.disk, 12345, 100_000))

    def assert_refused(self, reason, pki=None, **options):
        """A client with these files does not get in, and the log says why in one line; what the client says."""
        before = self.daemon.stderr().count(b"\n")
        result = tools.finish("nbdinfo", self.tls_uri(pki, **options))
        self.assertNotEqual(result.returncode, 0, result.stdout)
        lines = wait.until(lambda: [line for line in self.daemon.stderr().decode().splitlines()[before:]
                                    if "refused" in line], 5, "a line in the log")
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(reason, lines[0])
        return result.stderr

    def context(self, pki=None):
        """For Python's own TLS: a client with a certificate."""
        pki = pki or self.pki
        context = ssl.create_default_context(cafile=pki.file("ca-cert.pem"))
        if os.path.exists(pki.file("client-cert.pem")):
            context.load_cert_chain(pki.file("client-cert.pem"), pki.file("client-key.pem"))
        return context

    def client(self, **options):
        return super().client(tls_required=True, **options)

    def acknowledged(self):
        """A raw connection whose STARTTLS was acknowledged, and that has not begun with it."""
        connection = self.client()
        self.assertEqual(connection.option_result(OPT_STARTTLS), REP_ACK)
        return connection

    def starttls(self, context=None):
        """A raw connection over TLS."""
        return self.begin_tls(self.acknowledged(), context)

    def begin_tls(self, connection, context=None):
        """The TLS handshake of an acknowledged connection."""
        connection.socket = (context or self.context()).wrap_socket(connection.socket, server_hostname="localhost")
        connection.tls_required = False
        return connection
