"""A server with a directory of `blockexport tls`: changes by renew and revoke apply to new connections."""

import unittest

from lib import daemon, settings, tools, wait
from lib.client_tool import ToolTest
from lib.testcase import nbd_export, null_node


class RevocationTest(ToolTest):
    """Clients of a server come and go while its files change."""

    def start(self, objects):
        """A server with these credentials, called tls0."""
        server = daemon.Daemon(self.workdir, [*null_node("n", 1 << 20), *nbd_export("n")],
                               nbd_server="tls-creds=tls0", objects=objects)
        self.addCleanup(server.kill)
        self.server = server.start()
        self.addCleanup(server.stop)

    def nbdinfo(self, user="", **files):
        """nbdinfo with these files; what came of it."""
        parameters = "&".join(f"{key.replace('_', '-')}={self.path(value)}" for key, value in files.items())
        return tools.finish("nbdinfo", "--size", f"nbds+unix://{user}/n?socket={self.server.nbd_path}&{parameters}"
                                                 "&tls-hostname=localhost")

    def enters(self, name):
        """Whether a client of pki/clients gets in."""
        return self.nbdinfo(tls_certificates=f"pki/clients/{name}").returncode == 0

    def log(self):
        """What the server has said."""
        return self.server.stderr().decode()

    @settings.unlike_qemu("it reads the files once")
    def test_revoked_client(self):
        """Of two clients one is revoked: its next handshake is refused with the reason, the other one gets in."""
        self.init()
        for name in ("anna", "bob"):
            self.tool("tls", "add", "pki", "--client", name)
        self.start([f"tls-creds-x509,id=tls0,endpoint=server,dir={self.path('pki')}"])
        for name in ("anna", "bob"):
            self.assertTrue(self.enters(name))
        self.assertNotIn("refused", self.log())
        self.tool("tls", "revoke", "pki", "--client", "anna")
        wait.until(lambda: not self.enters("anna"), 10, "the server to know of it")
        lines = wait.until(lambda: [line for line in self.log().splitlines() if "refused" in line], 10, "the reason")
        self.assertIn("Verify failed: The certificate has been revoked", lines[0])
        for _ in range(3):
            self.assertFalse(self.enters("anna"))
            self.assertTrue(self.enters("bob"))
        # Renewing the others does not bring it back, and neither does a new start.
        self.tool("tls", "renew", "pki")
        wait.until(lambda: self.log().count("were loaded") >= 2, 10, "the renewed certificates")
        self.assertFalse(self.enters("anna"))
        self.assertTrue(self.enters("bob"))

    @settings.unlike_qemu("it reads the files once")
    def test_renewed_certificate(self):
        """The server shows its new certificate, also with a new key, to the next client."""
        self.init()
        self.tool("tls", "add", "pki", "--client", "anna")
        self.start([f"tls-creds-x509,id=tls0,endpoint=server,dir={self.path('pki')}",
                    f"tls-creds-x509,id=other,endpoint=server,dir={self.path('pki')}"])
        for turn, arguments in ((1, ()), (2, ("--new-key",))):
            self.tool("tls", "renew", "pki", "--server", "localhost", "--days", "20", *arguments)
            wait.until(lambda: self.log().count("'tls0': its files have changed and were loaded") >= turn, 10,
                       "the new certificate")
            self.assertTrue(self.enters("anna"))
        self.assertIn("server-cert.pem expires in less than 30 days", self.log())
        self.assertNotIn("refused", self.log())

    @settings.unlike_qemu("it reads the files once")
    def test_user_who_is_taken_out(self):
        """Of two users one loses its key, the other gets a new one, and a third comes."""
        self.init("psk", "--psk", "--client", "anna")
        self.tool("tls", "add", "psk", "--client", "bob")
        self.start([f"tls-creds-psk,id=tls0,endpoint=server,dir={self.path('psk')}"])
        for name in ("anna", "bob"):
            self.tool("tls", "bundle", "psk", "--client", name)
            tools.run("tar", "xf", f"{name}.tar", cwd=self.workdir)
            self.assertEqual(self.nbdinfo(f"{name}@", tls_psk_file=f"{name}/keys.psk").returncode, 0)
        self.tool("tls", "revoke", "psk", "--client", "anna")
        wait.until(lambda: self.nbdinfo("anna@", tls_psk_file="anna/keys.psk").returncode != 0, 10,
                   "the server to know of it")
        self.assertEqual(self.nbdinfo("bob@", tls_psk_file="bob/keys.psk").returncode, 0)
        self.tool("tls", "add", "psk", "--client", "carl")
        wait.until(lambda: self.nbdinfo("carl@", tls_psk_file="psk/keys.psk").returncode == 0, 10, "carl to get in")


if __name__ == "__main__":
    unittest.main()
