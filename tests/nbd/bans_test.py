"""Banned clients: ban-seconds of export-client-disconnect."""

import os
import unittest

from lib import metrics, nbd_raw, settings, tools, wait
from lib.images import MIB
from lib.nbd_raw import info_bytes
from lib.nbd_wire import *
from lib.testcase import DaemonTest, nbd_export, null_node
from lib.tls import TlsTest

BAN_SECONDS = 6


@unittest.skipIf(settings.is_qemu(), "qemu-storage-daemon has no commands about clients")
class BanTest(DaemonTest):
    """Clients without an identity, which are banned by their user."""

    @classmethod
    def prepare(cls):
        return [*null_node("disk", MIB), *nbd_export("disk"), "--metrics", f"unix:{cls.path('metrics.sock')}"]

    def is_let_in(self):
        """True if a client can choose the export."""
        client = self.client()
        try:
            return isinstance(client.information(OPT_GO, "disk"), nbd_raw.Info)
        finally:
            client.close()

    def test_ban(self):
        """A banned client gets a reply that says so, on a connection that began before, too; other options are refused
        as well; afterwards it is let in."""
        session = self.session("disk")
        early = self.client()
        self.addCleanup(wait.until, self.is_let_in, 3 * BAN_SECONDS, "the end of the ban")
        result = self.qmp.execute("export-client-disconnect", {"export": "disk", "ban-seconds": BAN_SECONDS})
        self.assertEqual(result, {"disconnected": 1, "banned": 1})
        self.assertTrue(session.at_end())
        late = self.client()
        for client in (early, late):
            replies = client.option(OPT_GO, info_bytes("disk"))
            self.assertEqual(replies[-1][0], ERR_POLICY)
            self.assertRegex(replies[-1][1].decode(), r"^an administrator has banned this client for another \d s$")
            self.assertEqual(client.option_result(OPT_LIST), ERR_POLICY)
            self.assertEqual(client.option_result(OPT_ABORT), REP_ACK)
        old = self.client()
        old.send_option(OPT_EXPORT_NAME, b"disk")
        self.assertTrue(old.at_end())
        refused = {"server": "default", "reason": "refused"}
        path = self.path("metrics.sock")
        wait.until(lambda: metrics.scrape(path).value("handshake_failures_total", **refused) == 3)
        told = f"NBD clients of user {os.getuid()} are banned for {BAN_SECONDS} s"
        self.assertIn(told, self.daemon.stderr().decode())
        wait.until(self.is_let_in, 3 * BAN_SECONDS, "the end of the ban")

    def test_range(self):
        """A time that is zero or too long is refused, and nobody is disconnected."""
        session = self.session("disk")
        for seconds in (0, 604801):
            answer = self.qmp.command("export-client-disconnect", {"export": "disk", "ban-seconds": seconds})
            self.assertEqual(answer["error"]["desc"], "Parameter 'ban-seconds' expects a number from 1 to 604800")
        self.assertEqual(len(session.read(0, 512)), 512)

    def test_nobody(self):
        """Without a matching client nobody is banned, except an identity that was named."""
        result = self.qmp.execute("export-client-disconnect", {"client": 12345, "ban-seconds": 60})
        self.assertEqual(result, {"disconnected": 0, "banned": 0})
        result = self.qmp.execute("export-client-disconnect", {"identity": "CN=nobody", "ban-seconds": 60})
        self.assertEqual(result, {"disconnected": 0, "banned": 1})
        self.assertTrue(self.is_let_in())


@unittest.skipIf(settings.is_qemu(), "qemu-storage-daemon has no commands about clients")
class IdentityBanTest(TlsTest):
    """Clients that have proven an identity are banned by it."""

    def test_identity(self):
        """The identity is refused, whatever its address; the log names it."""
        handle = self.connect()
        handle.pread(512, 0)
        client = self.qmp.execute("query-export-clients")[0]
        arguments = {"client": client["client"], "ban-seconds": 3600}
        self.assertEqual(self.qmp.execute("export-client-disconnect", arguments), {"disconnected": 1, "banned": 1})
        failed = tools.finish("nbdinfo", self.tls_uri())
        self.assertNotEqual(failed.returncode, 0)
        # libnbd has no other words for the reply.
        self.assertIn("Operation not supported", failed.stderr)
        told = f"NBD clients with the identity {client['identity']} are banned for 3600 s"
        self.assertIn(told, self.daemon.stderr().decode())
