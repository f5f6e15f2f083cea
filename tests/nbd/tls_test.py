"""TLS with certificates and pre-shared keys: independent clients, refusals with their reasons, and STARTTLS."""

import os
import signal
import socket
import ssl
import struct
import threading
import time
import unittest

from lib import certificates, daemon, images, nbd_raw, settings, tools, wait
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.tls import SIZE, TlsTest


class CertificateTest(TlsTest):
    """A server with a certificate, that wants one of its clients."""

    @classmethod
    def make_files(cls):
        super().make_files()
        cls.pki.make("revoked", "client")
        cls.pki.revoke("revoked")

    def others(self, name, **shape):
        """A client's directory that trusts the server's authority, with a certificate of that authority."""
        self.pki.make(name, shape.pop("purpose", "client"), **shape)
        return self.with_certificate(name)

    def with_certificate(self, name):
        """A client's directory with the certificate NAME of the server's authority."""
        pki = certificates.Certificates(self.path(f"{name}-pki"))
        pki.copy(self.pki, {"ca-cert.pem": "ca-cert.pem", f"{name}-cert.pem": "client-cert.pem",
                            f"{name}-key.pem": "client-key.pem"})
        return pki

    def test_nbdinfo(self):
        """nbdinfo tells of the export over TLS, on a unix socket and on TCP."""
        for tcp in (False, True):
            shown = tools.run("nbdinfo", self.tls_uri(tcp=tcp))
            self.assertIn("newstyle-fixed with TLS", shown)
            self.assertIn(f"export-size: {SIZE}", shown)

    def test_nbdinfo_list(self):
        """nbdinfo lists the exports over TLS."""
        self.assertIn('export="disk"', tools.run("nbdinfo", "--list", self.tls_uri(export="")))

    def test_nbdcopy(self):
        """nbdcopy reads all of it and writes it back."""
        copy = self.path("copy.img")
        tools.run("nbdcopy", self.tls_uri(), copy)
        self.assertEqual(images.sha256(copy), images.sha256(self.disk))
        tools.run("nbdcopy", copy, self.tls_uri(tcp=True))
        self.assertEqual(images.sha256(copy), images.sha256(self.disk))

    def test_qemu_clients(self):
        """qemu-img and qemu-io read and write over TLS with the same directory."""
        objects = ["--object", f"tls-creds-x509,id=tls0,dir={self.pki.path},endpoint=client"]
        options = (f"driver=nbd,server.type=inet,server.host=127.0.0.1,server.port={self.port},export=disk,"
                   "tls-creds=tls0")
        copy = self.path("qemu.img")
        tools.run("qemu-img", "convert", *objects, "--image-opts", options, "-O", "raw", copy)
        self.assertEqual(images.sha256(copy), images.sha256(self.disk))
        tools.run("qemu-io", *objects, "--image-opts", options, "-c", "write -P 0x5a 1M 100k", "-c",
                  "read -P 0x5a 1M 100k")
        self.assertEqual(images.read_range(self.disk, MIB, 100 * KIB), b"\x5a" * 100 * KIB)

    def test_libnbd(self):
        """Python's libnbd writes and reads requests of every size over TLS, and sees block status."""
        handle = self.connect()
        self.assertEqual(handle.get_tls_negotiated(), True)
        for length in (1, 511, 4096, 16384, 70_000, 3 * MIB):
            data = images.random_bytes(length, length)
            handle.pwrite(data, 33)
            self.assertEqual(handle.pread(length, 33), data)

    def test_without_tls(self):
        """Who does not begin TLS is told that he has to, and learns nothing."""
        result = tools.finish("nbdinfo", self.uri("disk"))
        self.assertNotEqual(result.returncode, 0)
        connection = self.client()
        for option in (OPT_LIST, OPT_GO, OPT_INFO, OPT_STRUCTURED_REPLY, OPT_LIST_META_CONTEXT,
                       OPT_EXTENDED_HEADERS, 99):
            ((kind, text),) = connection.option(option, b"\0\0\0\4disk\0\0")
            self.assertEqual((kind, text.decode()), (ERR_TLS_REQD, f"Option 0x{option:x} not permitted before TLS"))

    def test_no_certificate(self):
        """A client without a certificate is refused."""
        pki = certificates.Certificates(self.path("bare"))
        pki.copy(self.pki, {"ca-cert.pem": "ca-cert.pem"})
        self.assert_refused("No certificate was found", pki)

    def test_wrong_authority(self):
        """A certificate of another authority is refused."""
        pki = certificates.make(self.path("strangers"))
        pki.copy(self.pki, {"ca-cert.pem": "ca-cert.pem"})
        self.assert_refused("The certificate", pki)

    def test_expired(self):
        """An expired certificate is refused, and its owner told why, as far as TLS has words for it."""
        dates = ('activation_date = "2020-01-01 00:00:00"', 'expiration_date = "2021-01-01 00:00:00"')
        pki = self.others("expired", dates=dates)
        self.assertIn("alert", self.assert_refused("The certificate has expired", pki))
        with self.assertRaisesRegex(ssl.SSLError, "certificate expired"):
            self.starttls(self.context(pki)).option(OPT_LIST)

    def test_revoked(self):
        """A certificate that the list of revoked ones names is refused."""
        self.assert_refused("The certificate has been revoked", self.with_certificate("revoked"))

    def test_wrong_purpose(self):
        """A server's certificate is no client's."""
        self.assert_refused("The certificate is not made for this purpose",
                            self.others("disguised", purpose="server"))

    def test_versions_and_ciphers(self):
        """TLS 1.2 and 1.3 are spoken, ciphers of the old kind and key exchange without forward secrecy are refused."""
        for maximum in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.context()
            context.maximum_version = maximum
            self.assertEqual(self.starttls(context).option_result(OPT_LIST), REP_ACK)
        context = self.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-ECDSA-AES256-SHA:AES256-SHA")
        with self.assertRaises((ssl.SSLError, OSError)):
            self.starttls(context)

    def test_cipher(self):
        """The fastest of the good ciphers is taken, whatever the client prefers."""
        self.assertEqual(self.starttls().socket.cipher()[0], "TLS_AES_128_GCM_SHA256")


class OpenTest(TlsTest):
    """A server with a certificate that lets everybody in, its key encrypted."""

    credentials = ",verify-peer=off,passwordid=sec0"

    @classmethod
    def make_files(cls):
        cls.pki = certificates.Certificates(cls.path("pki"))
        cls.pki.make("server", "server", password="geheim")
        cls.bare = certificates.Certificates(cls.path("bare"))
        cls.bare.copy(cls.pki, {"ca-cert.pem": "ca-cert.pem"})

    @classmethod
    def objects(cls):
        return ["secret,id=sec0,data=geheim", *super().objects()]

    def test_client_without_certificate(self):
        """A client needs nothing but the authority's certificate."""
        self.assert_works(self.bare)
        self.assert_works(self.bare, tcp=True)


class SharedKeyTest(TlsTest):
    """A server with keys for two users."""

    kind = "psk"

    @classmethod
    def make_files(cls):
        cls.pki = certificates.Certificates(cls.path("pki"))
        for user in ("alice", "bob"):
            cls.pki.add_user(user)

    def test_users(self):
        """Both users get in, on the unix socket and on TCP."""
        for user in ("alice", "bob"):
            self.assert_works(user=user)
            self.assert_works(user=user, tcp=True)

    def test_qemu_img(self):
        """qemu-img reads with the same file."""
        options = (f"driver=nbd,server.type=inet,server.host=127.0.0.1,server.port={self.port},export=disk,"
                   "tls-creds=tls0")
        copy = self.path("qemu.img")
        tools.run("qemu-img", "convert", "--object",
                  f"tls-creds-psk,id=tls0,dir={self.pki.path},endpoint=client,username=alice", "--image-opts", options,
                  "-O", "raw", copy)
        self.assertEqual(images.sha256(copy), images.sha256(self.disk))

    def test_stranger(self):
        """A user that the server does not know, and one with another key, fail at the same place."""
        pki = certificates.Certificates(self.path("strangers"))
        for user in ("mallory", "alice"):
            pki.add_user(user)
        said = {self.assert_refused("TLS handshake failed", pki, user=user).replace(user, "X")
                for user in ("mallory", "alice")}
        self.assertEqual(len(said), 1, said)

    def test_new_user(self):
        """A user who is added to the file gets in, without a restart."""
        self.pki.add_user("carol")
        # No attempts until then: the log has a limited number of lines for refusals, and the next test reads them.
        line = b"'tls0': its files have changed and were loaded"
        wait.until(lambda: line in self.daemon.stderr(), 10, "the new file")
        self.assert_works(user="carol")
        self.assert_works(user="alice")


class StarttlsTest(TlsTest):
    """STARTTLS as the specification wants it, by a client that tries what is not allowed."""

    def test_state_is_forgotten(self):
        """R100 R105: what was asked for in clear does not count: replies are simple, and no context is selected."""
        connection = self.client()
        for option in (OPT_STRUCTURED_REPLY, OPT_EXTENDED_HEADERS):
            self.assertEqual(connection.option_result(option), ERR_TLS_REQD)
        self.assertEqual(connection.option_result(OPT_SET_META_CONTEXT, b"\0\0\0\4disk" + struct.pack(">I", 0)),
                         ERR_TLS_REQD)
        self.assertEqual(connection.option_result(OPT_STARTTLS), REP_ACK)
        self.begin_tls(connection).go("disk")
        self.assertEqual(connection.call(CMD_READ, 0, 512).magic, SIMPLE_REPLY_MAGIC)
        self.assertEqual(connection.call(CMD_BLOCK_STATUS, 0, 512).error, EINVAL)
        self.assertEqual(connection.read(0, 512), images.read_range(self.disk, 0, 512))

    def test_injection_behind_the_option(self):
        """Bytes that come with STARTTLS end the connection: nobody can put options into it in clear."""
        connection = self.client()
        connection.send(nbd_raw.option_bytes(OPT_STARTTLS) + nbd_raw.option_bytes(OPT_LIST))
        with self.assertRaises((nbd_raw.Closed, AssertionError)):
            while True:
                kind, _ = connection.read_option_reply(OPT_STARTTLS)
                self.assertEqual(kind, REP_ACK)

    def test_injection_after_the_acknowledgement(self):
        """An option in clear after it is no TLS record."""
        connection = self.acknowledged()
        connection.send(nbd_raw.option_bytes(OPT_LIST))
        connection.socket.settimeout(settings.seconds(5))
        received = b"x"
        while received:
            received = connection.socket.recv(4096)
            self.assertNotIn(struct.pack(">Q", OPTION_REPLY_MAGIC), received)

    def test_twice(self):
        """R99: a second STARTTLS, within TLS, is refused."""
        connection = self.starttls()
        ((kind, text),) = connection.option(OPT_STARTTLS)
        self.assertEqual((kind, text), (ERR_INVALID, b"TLS already enabled"))
        self.assertEqual([name for name, _ in connection.list()], ["disk"])

    def test_with_payload(self):
        """R97: STARTTLS with a payload is refused, and may be tried again."""
        connection = self.client()
        self.assertEqual(connection.option_result(OPT_STARTTLS, b"x"), ERR_INVALID)
        self.assertEqual(connection.option_result(OPT_STARTTLS), REP_ACK)

    def test_export_name_in_clear(self):
        """R101: EXPORT_NAME before TLS ends the connection, without a size."""
        connection = self.client()
        connection.send_option(OPT_EXPORT_NAME, b"disk")
        self.assertTrue(connection.at_end())

    @settings.unlike_qemu("ERR_TLS_REQD")
    def test_abort_in_clear(self):
        """A client may leave before TLS: it is acknowledged, then closed."""
        connection = self.client()
        self.assertEqual(connection.option_result(OPT_ABORT), REP_ACK)
        self.assertTrue(connection.at_end())

    @settings.unlike_qemu("it cuts the connection")
    def test_farewell(self):
        """R108: after DISC, and ABORT, the server ends TLS before it closes: a client knows that nothing is missing."""
        for transmission in (True, False):
            connection = self.acknowledged()
            # Else the end of the stream would do for the farewell.
            connection.socket = self.context().wrap_socket(connection.socket, server_hostname="localhost",
                                                           suppress_ragged_eofs=False)
            connection.tls_required = False
            if transmission:
                connection.go("disk")
                connection.send_request(CMD_DISC)
            else:
                self.assertEqual(connection.option_result(OPT_ABORT), REP_ACK)
            self.assertEqual(connection.socket.recv(1), b"")

    def test_cut_at_every_place(self):
        """A client that leaves at any byte of the handshake costs nothing: the next one gets in."""
        client, server = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = self.context().wrap_bio(server, client, server_hostname="localhost")
        with self.assertRaises(ssl.SSLWantReadError):
            session.do_handshake()
        hello = client.read()
        for length in range(0, len(hello) + 1, 16):
            for close in ("close", "reset"):
                connection = self.acknowledged()
                connection.send(hello[:length])
                getattr(connection, close)()
        self.assert_works()

    def test_garbage(self):
        """R104: garbage instead of a handshake ends that connection alone."""
        for seed in range(20):
            connection = self.acknowledged()
            connection.send(images.random_bytes(500, seed))
            connection.socket.shutdown(socket.SHUT_WR)
            while connection.socket.recv(4096):
                pass
        self.assert_works()

    def test_without_credentials(self):
        """While the object is gone STARTTLS is refused with the reason, and served again when it is back."""
        self.qmp.execute("object-del", {"id": "tls0"})
        connection = self.client()
        ((kind, text),) = connection.option(OPT_STARTTLS)
        self.assertEqual((kind, text), (ERR_POLICY, b"No TLS credentials with id 'tls0'"))
        self.qmp.execute("object-add", {"qom-type": "tls-creds-x509", "id": "tls0", "endpoint": "server",
                                        "dir": self.pki.path})
        self.assertEqual(connection.option_result(OPT_STARTTLS), REP_ACK)
        self.assert_works()


class ChangeTest(TlsTest):
    """Certificates that are changed while clients work."""

    def busy(self, handle, stop, failures):
        """Writes and reads, right bytes, until it is told to stop."""
        turn, unchanged = 0, images.read_range(self.disk, 6 * MIB, 64 * KIB)
        while not stop.is_set():
            turn += 1
            data = images.random_bytes(64 * KIB, turn)
            try:
                handle.pwrite(data, 4 * MIB)
                if handle.pread(64 * KIB, 6 * MIB) != unchanged:
                    failures.append("other bytes than the disk has")
            except Exception as error:  # whatever it is, it is a lost request
                failures.append(error)
                return

    def test_under_load(self):
        """Eight busy connections lose no request while files are broken and replaced, and the object too."""
        stop, failures = threading.Event(), []
        handles = [self.connect() for _ in range(8)]
        threads = [threading.Thread(target=self.busy, args=(handle, stop, failures)) for handle in handles]
        for thread in threads:
            thread.start()
        try:
            others = certificates.make(self.path("next"))
            old = certificates.Certificates(self.path("old"))
            old.copy(self.pki, {name: name for name in ("ca-cert.pem", "client-cert.pem", "client-key.pem")})
            # Invalid: the loaded credentials stay.
            self.pki.write("server-cert.pem", b"garbage\n")
            line = b"the credentials loaded before stay in use"
            wait.until(lambda: line in self.daemon.stderr(), 10, "the line in the log")
            self.assert_works(old)
            # New files: the next clients meet them.
            self.pki.copy(others, {name: name for name in ("ca-cert.pem", "server-cert.pem", "server-key.pem")})
            wait.until(lambda: tools.finish("nbdinfo", self.tls_uri(others)).returncode == 0, 10, "the new certificate")
            # A new object of the same name, with the old files.
            back = certificates.make(self.path("back"))
            self.qmp.execute("object-del", {"id": "tls0"})
            self.qmp.execute("object-add", {"qom-type": "tls-creds-x509", "id": "tls0", "endpoint": "server",
                                            "dir": back.path})
            self.assert_works(back)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])


class AuthorizationTest(TlsTest):
    """tls-authz: who is let in, of those whose certificate is good; looked up at each handshake."""

    nbd_server = "tls-creds=tls0,tls-authz=auth0"
    name = "C=GB,CN=client"

    def authorizer(self, **properties):
        """The object auth0, until the end of the test."""
        self.qmp.execute("object-add", {"id": "auth0", **properties})
        self.addCleanup(self.qmp.command, "object-del", {"id": "auth0"})

    def test_missing(self):
        """While there is no such object, everybody is refused, with the reason in the log."""
        self.assert_refused(f"identity '{self.name}', rule: nothing of tls-authz 'auth0': "
                            "Cannot find QAuthZ object ID auth0")

    def test_of_another_kind(self):
        """An object that is no authorizer lets nobody in."""
        self.authorizer(**{"qom-type": "iothread"})
        self.assert_refused("Object 'auth0' is not a QAuthZ subclass")

    def test_identity(self):
        """The one who is meant gets in, another one does not; the object may change in between."""
        self.authorizer(**{"qom-type": "authz-simple", "identity": self.name})
        self.assert_works()
        self.qmp.execute("object-del", {"id": "auth0"})
        self.authorizer(**{"qom-type": "authz-simple", "identity": "C=GB,CN=somebody else"})
        self.assert_refused(f"identity '{self.name}'")
        with self.assertRaisesRegex(ssl.SSLError, "access denied"):
            self.starttls().option(OPT_LIST)

    def test_rules(self):
        """A list's rule decides, and the log names it."""
        rules = [{"match": "C=GB,CN=client", "policy": "deny"},
                 {"match": "C=GB,*", "policy": "allow", "format": "glob"}]
        self.authorizer(**{"qom-type": "authz-list", "rules": rules, "policy": "deny"})
        self.assert_refused("rule: rules[0] (exact 'C=GB,CN=client') of tls-authz 'auth0'")
        self.qmp.execute("qom-set", {"path": "auth0", "property": "rules", "value": rules[1:]})
        self.assert_works()


class HangingPamTest(TlsTest):
    """A PAM module that never returns: each test ends its server."""

    nbd_server = "tls-creds=tls0,tls-authz=auth0"

    @classmethod
    def setUpClass(cls):
        library = os.environ.get("BLOCKEXPORT_PAM_HANG", "")
        if not os.path.exists(os.path.join(library, "libpam.so.0")):
            raise unittest.SkipTest("the library that hangs is not built (ctest says where it is)")
        cls.environment = {**os.environ, "LD_LIBRARY_PATH": library}
        super().setUpClass()

    @classmethod
    def prepare(cls):
        return [*super().prepare(), "--pidfile", cls.path("pid")]

    @classmethod
    def objects(cls):
        return ["authz-pam,id=auth0,service=nothing", *super().objects()]

    def setUp(self):
        """A server for each test, since none survives it."""
        if not self.daemon.alive():
            self.daemon.qmp.close()
            self.daemon.start()
            type(self).qmp = self.daemon.qmp
        wait.until(lambda: os.path.exists(self.path("pid")), 10, "the file of the process's id")

    def waiting(self, count):
        """That many clients whose module has been asked, or who wait for others to be asked about."""
        clients = [self.starttls() for _ in range(count)]
        for client in clients:
            client.send_option(OPT_LIST)
        self.qmp.wait_for_tasks("pam answer", count)
        return clients

    def end(self):
        """SIGTERM ends the server within the grace, which nobody needs, and its own time, with 0."""
        self.daemon.signal(signal.SIGTERM)
        self.daemon.check_end(self.daemon.wait_exit(5))
        self.assertIn(b"a PAM module does not return", self.daemon.stderr())

    @settings.unlike_qemu("it waits as long as the module does")
    def test_end(self):
        """The server ends in time, in order, says why it did not wait, and leaves no more behind than always."""
        self.waiting(1)
        self.end()
        for name in ("pid", "qmp.sock"):
            self.assertFalse(os.path.exists(self.path(name)), name)

    @settings.unlike_qemu("it waits as long as the module does")
    def test_end_with_more_than_are_asked_about_at_a_time(self):
        """So it does when further clients wait for their turn, and when one of those who wait has left."""
        clients = self.waiting(10)
        clients[0].close()
        clients[-1].close()
        self.end()

    @settings.unlike_qemu("everybody waits as long as the module does")
    def test_others_are_served(self):
        """While modules hang the monitor answers, and new clients are greeted and shake hands."""
        self.waiting(6)
        self.assertEqual(self.qmp.execute("query-block"), [])
        self.starttls()
        self.end()

    def tearDown(self):
        pass

    @classmethod
    def tearDownClass(cls):
        """Each test has ended its server."""


class SharedKeyAuthorizationTest(TlsTest):
    """tls-authz with shared keys: it is asked about the user."""

    kind = "psk"
    nbd_server = "tls-creds=tls0,tls-authz=auth0"

    @classmethod
    def make_files(cls):
        cls.pki = certificates.Certificates(cls.path("pki"))
        for user in ("alice", "bob"):
            cls.pki.add_user(user)

    @classmethod
    def objects(cls):
        return ["authz-simple,id=auth0,identity=alice", *super().objects()]

    def test_users(self):
        """One user is let in, the other is not, though his key is good."""
        self.assert_works(user="alice")
        self.assert_refused("identity 'bob'", user="bob")


class MonitorTest(TlsTest):
    """A monitor over TLS."""

    @classmethod
    def prepare(cls):
        arguments = super().prepare()
        cls.monitor_port = daemon.free_port()
        return [*arguments, "--chardev", f"socket,id=qmp1,host=127.0.0.1,port={cls.monitor_port},server=on,wait=off,"
                "tls-creds=tls0", "--monitor", "chardev=qmp1"]

    def monitor(self, context):
        """A connection to the monitor."""
        plain = socket.create_connection(("127.0.0.1", self.monitor_port), settings.seconds(10))
        self.addCleanup(plain.close)
        return context.wrap_socket(plain, server_hostname="localhost")

    def test_commands(self):
        """Commands are answered over TLS, one client after another, after one without certificate was refused."""
        bare = ssl.create_default_context(cafile=self.pki.file("ca-cert.pem"))
        with self.assertRaises(ssl.SSLError):
            self.monitor(bare).recv(100)
        for _ in range(3):
            connection = self.monitor(self.context())
            lines = connection.makefile("rwb", buffering=0)
            self.addCleanup(lines.close)
            self.assertIn(b'"QMP"', lines.readline())
            lines.write(b'{"execute": "qmp_capabilities"}{"execute": "query-version"}')
            self.assertEqual(lines.readline().strip(), b'{"return": {}}')
            self.assertIn(b'"qemu"', lines.readline())
            lines.close()
            connection.close()

    def test_checks(self):
        """What cannot be is refused with the texts of qemu-storage-daemon."""
        inet = {"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}}
        unix = {"type": "unix", "data": {"path": self.path("x.sock")}}
        for socket_options, text in (
                ({"addr": inet, "tls-authz": "a"}, "'tls_authz' option requires 'tls_creds' option"),
                ({"addr": unix, "tls-creds": "tls0"}, "'tls_creds' option is incompatible with 'unix' address type"),
                ({"addr": inet, "tls-creds": "none"}, "No TLS credentials with id 'none'"),
                ({"addr": inet, "server": False, "tls-creds": "tls0"},
                 "Expected TLS credentials for a client endpoint")):
            _, said = self.qmp.failure("chardev-add", {"id": "c", "backend":
                                                                       {"type": "socket", "data": socket_options}})
            self.assertIn(text, said)


if __name__ == "__main__":
    unittest.main()
