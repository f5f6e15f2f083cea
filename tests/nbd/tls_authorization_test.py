"""tls-authz of exports and servers: an export that a client may not use is hidden from it, and no check is skipped."""

import os
import ssl
import time
import unittest

from lib import daemon, images, nbd_raw, settings, tools, wait
from lib.nbd_wire import *
from lib.testcase import DaemonTest, nbd_export, null_node
from lib.tls import TlsTest


class ExportAuthorizationTest(TlsTest):
    """Exports for one client, beside one for all."""

    @classmethod
    def prepare(cls):
        arguments = super().prepare()
        cls.pki.make("guest", "client")
        return [*arguments, *nbd_export("private", "disk", **{"tls-authz": "auth0", "description": "payroll"}),
                *nbd_export("another", "disk", **{"tls-authz": "auth0"})]

    @classmethod
    def objects(cls):
        return ["authz-simple,id=auth0,identity=C=GB,,CN=client", *super().objects()]

    def guest(self):
        """A connection of somebody else."""
        context = ssl.create_default_context(cafile=self.pki.file("ca-cert.pem"))
        context.load_cert_chain(self.pki.file("guest-cert.pem"), self.pki.file("guest-key.pem"))
        return self.starttls(context)

    def refusals(self):
        """How often the log says that the guest may not use the private export."""
        return self.daemon.stderr().count(b"refused: export 'private', identity 'C=GB,CN=guest', rule: ")

    def test_its_owner(self):
        """The one who is meant uses it like any other export, and sees it listed with its description."""
        self.assert_works(export="private")
        tools.run("nbdinfo", "--map", self.tls_uri(export="private"))
        self.assertEqual(self.starttls().list(), [("disk", ""), ("private", "payroll"), ("another", "")])
        shown = tools.run("nbdinfo", "--list", self.tls_uri(export=""))
        self.assertIn("description: payroll", shown)

    def test_list(self):
        """Somebody else sees neither the names nor the descriptions of what he may not use, and nothing is logged."""
        before = self.refusals()
        self.assertEqual(self.guest().list(), [("disk", "")])
        self.assertEqual(self.refusals(), before)

    def test_named(self):
        """Each option that names the export is answered as for a name that does not exist; the log has the reason."""
        before = self.refusals()
        guest = self.guest()
        self.assertEqual(guest.option_result(OPT_STRUCTURED_REPLY), REP_ACK)
        for option, data in ((OPT_GO, nbd_raw.info_bytes), (OPT_INFO, nbd_raw.info_bytes),
                             (OPT_LIST_META_CONTEXT, nbd_raw.meta_bytes),
                             (OPT_SET_META_CONTEXT, lambda name: nbd_raw.meta_bytes(name, ["base:allocation"]))):
            answers = []
            for name in ("private", "nothing"):
                ((kind, text),) = guest.option(option, data(name))
                answers.append((kind, text.replace(name.encode(), b"X")))
            self.assertEqual(answers[0], answers[1])
            self.assertEqual(answers[0], (ERR_UNKNOWN, b"export 'X' not present"))
        self.assertEqual(self.refusals() - before, 4)
        guest.mode = "structured"
        guest.go("disk")
        self.assertEqual(guest.read(0, 512), images.read_range(self.disk, 0, 512))

    def test_export_name(self):
        """EXPORT_NAME, which knows no errors, ends the connection as for a name that does not exist."""
        for name in (b"private", b"nothing"):
            before = self.refusals()
            guest = self.guest()
            guest.send_option(OPT_EXPORT_NAME, name)
            self.assertTrue(guest.at_end())
            if name == b"private":
                wait.until(lambda: self.refusals() == before + 1, 10, "the line in the log")

    def test_while_it_is_gone(self):
        """While the object is gone nobody sees or uses the export; the same connection does when it is back."""
        self.qmp.execute("object-del", {"id": "auth0"})
        connection = self.starttls()
        self.assertEqual(connection.option_result(OPT_INFO, nbd_raw.info_bytes("private")), ERR_UNKNOWN)
        self.assertEqual(connection.list(), [("disk", "")])
        self.assertIn(b"Cannot find QAuthZ object ID auth0", self.daemon.stderr())
        self.qmp.execute("object-add", {"qom-type": "authz-simple", "id": "auth0", "identity": "C=GB,CN=client"})
        self.assertEqual(len(connection.list()), 3)
        connection.go("private")

    def test_change_between_two_lists(self):
        """Each LIST goes by what the authorization object says then."""
        connection = self.starttls()
        self.assertEqual(len(connection.list()), 3)
        self.qmp.execute("object-del", {"id": "auth0"})
        self.qmp.execute("object-add", {"qom-type": "authz-simple", "id": "auth0", "identity": "C=GB,CN=nobody"})
        self.assertEqual(len(connection.list()), 1)
        self.qmp.execute("object-del", {"id": "auth0"})
        self.qmp.execute("object-add", {"qom-type": "authz-simple", "id": "auth0", "identity": "C=GB,CN=client"})
        self.assertEqual(len(connection.list()), 3)


class ManyRestrictedExportsTest(TlsTest):
    """Many exports that a client may not use, beside as many that it may."""

    @classmethod
    def objects(cls):
        return ["authz-simple,id=nobody,identity=CN=nobody", "authz-simple,id=client,identity=C=GB,,CN=client",
                *super().objects()]

    def test_list(self):
        """They are left out of a list, which is whole and there in good time."""
        for number in range(100):
            for identity in ("nobody", "client"):
                self.qmp.execute("block-export-add", {"type": "nbd", "id": f"{identity}{number}", "node-name": "disk",
                                                      "name": f"{identity}{number}", "tls-authz": identity})
        connection = self.starttls()
        began = time.monotonic()
        names = [name for name, _ in connection.list()]
        self.assertLess(time.monotonic() - began, settings.seconds(5))
        self.assertEqual(len(names), 101)


class ServerWithoutTlsTest(DaemonTest):
    """A server whose clients prove nothing: nobody can be checked, so nothing that asks for a check is accepted."""

    SERVER = "'tls-authz' option requires 'tls-creds' option"
    EXPORT = "Export 'e' has 'tls-authz', which requires an NBD server with 'tls-creds'"

    @classmethod
    def prepare(cls):
        return null_node("n", 1 << 20)

    @classmethod
    def objects(cls):
        return ["authz-list,id=z,policy=deny"]

    def restarted(self, **options):
        """nbd-server-start, after a stop; why it failed, if it did."""
        self.qmp.command("nbd-server-stop")
        answer = self.qmp.command("nbd-server-start", {
            "addr": {"type": "unix", "data": {"path": self.daemon.nbd_path}}, **options})
        return answer.get("error", {}).get("desc")

    @settings.unlike_qemu("it lets everybody in")
    def test_server(self):
        """nbd-server-start with tls-authz and without tls-creds fails, and leaves no socket; without both it starts."""
        for authorizer in ("z", "missing"):
            self.assertEqual(self.restarted(**{"tls-authz": authorizer}), self.SERVER)
            self.assertFalse(os.path.exists(self.daemon.nbd_path))
        self.assertIsNone(self.restarted())

    @settings.unlike_qemu("it does not know the option")
    def test_export(self):
        """block-export-add with tls-authz fails, and the export does not exist; without it it does."""
        self.assertIsNone(self.restarted())
        options = {"type": "nbd", "id": "e", "node-name": "n"}
        for authorizer in ("z", "missing"):
            self.assertEqual(self.qmp.failure("block-export-add", {**options, "tls-authz": authorizer})[1],
                             self.EXPORT)
        self.assertEqual(self.qmp.execute("query-block-exports"), [])
        self.add_export("e", "n")

    @settings.unlike_qemu("it lets everybody in")
    def test_command_line(self):
        """The same on the command line, with the address in either option, and in JSON."""
        port = daemon.free_port()
        inet = f"addr.type=inet,addr.host=127.0.0.1,addr.port={port}"
        listen = ["--listen", "type=inet,host=127.0.0.1,port=0"]
        export = "type=nbd,id=e,node-name=n"
        plain = ["--nbd-server", inet]
        json = ('{"addr": {"type": "inet", "host": "127.0.0.1", "port": "%d"}, "tls-authz": "z"}' % port)
        for options, text in ((["--nbd-server", inet + ",tls-authz=z", "--export", export], self.SERVER),
                              (["--nbd-server", inet + ",tls-authz=missing"], self.SERVER),
                              (["--nbd-server", json], self.SERVER),
                              (["--nbd-server", inet + ",tls-authz=z", *listen], self.SERVER),
                              ([*plain, "--export", export + ",tls-authz=z"], self.EXPORT),
                              ([*plain, *listen, "--export", export + ",tls-authz=missing"], self.EXPORT)):
            result = tools.finish(settings.program(), "--object", "authz-list,id=z,policy=deny", "--blockdev",
                                  "driver=null-co,node-name=n,size=1048576", *options)
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertIn(text, result.stderr)

    @settings.unlike_qemu("it does not say so")
    def test_missing_object_is_told(self):
        """With TLS, an authorization object that is not there yet denies everybody, which is said at the start."""
        self.qmp.execute("object-add", {"qom-type": "tls-creds-anon", "id": "anon", "endpoint": "server"})
        self.addCleanup(self.qmp.command, "object-del", {"id": "anon"})
        self.assertIsNone(self.restarted(**{"tls-creds": "anon", "tls-authz": "later"}))
        self.assertIn(b"tls-authz 'later' denies everybody until there is such an authorization object: "
                      b"Cannot find QAuthZ object ID later", self.daemon.stderr())
        self.add_export("e", "n", **{"tls-authz": "anon"})
        self.assertIn(b"tls-authz 'anon' denies everybody", self.daemon.stderr())


if __name__ == "__main__":
    unittest.main()
