"""`blockexport tls check` and `tls show`: each kind of fault of TLS credentials has its own reason."""

import os
import re

from lib import tools
from lib.client_tool import ToolTest

SERVER = 'cn = "server"\ntls_www_server\nsigning_key\ndns_name = "localhost"\n'
CLIENT = 'cn = "client"\ntls_www_client\nsigning_key\n'


class FineTest(ToolTest):
    """What is fine is said to be, and tried."""

    def test_certificates(self):
        """Both sides, and a handshake between them."""
        self.init()
        out = self.check(fault=False)
        self.assertRegex(out, r"ok +handshake +\(TLS1\.3\).*AES-256-GCM.*the server knows the client as 'CN=client'")
        self.assertNotRegex(out, "(?m)^(fault|warning)")

    def test_shared_key(self):
        """The user is named, and a handshake tried."""
        self.init("psk", "--psk", "--client", "anna")
        self.assertRegex(self.check("psk", fault=False),
                         r"ok +handshake +\(TLS1\.3\).*the server knows the client as 'anna'")

    def test_a_servers_directory(self):
        """Without the client's files it is tried with a client that has none, and that is said."""
        self.init()
        for name in ("client-cert.pem", "client-key.pem", "ca-key.pem"):
            os.unlink(self.path("pki", name))
        self.assertIn("a client without a certificate", self.check(fault=False))

    def test_a_clients_directory(self):
        """Without the server's files there is nothing to try, and no fault."""
        self.init()
        for name in ("server-cert.pem", "server-key.pem", "ca-key.pem"):
            os.unlink(self.path("pki", name))
        out = self.check(fault=False)
        self.assertIn("ok       client-key.pem   belongs to client-cert.pem", out)
        self.assertNotIn("handshake", out)

    def test_host(self):
        """Names and addresses of the server's certificate are accepted, others are not."""
        self.init("pki", "--host", "disks.example", "--host", "192.0.2.7")
        self.check("pki", "--host", "disks.example", fault=False)
        self.check("pki", "--host", "192.0.2.7", fault=False)
        for host in ("localhost", "192.0.2.8"):
            self.assertRegex(self.check("pki", "--host", host, fault=True),
                             "fault +handshake +the client refuses the server: .*does not match")


class CertificatesTest(ToolTest):
    """Faults of certificates and keys."""

    def setUp(self):
        super().setUp()
        self.init()

    def sign_server(self, template):
        """Another certificate of the server."""
        self.sign(template, "pki/server-cert.pem", "pki/server-key.pem")

    def test_open_key(self):
        """Other users may read the key: the printed command corrects that."""
        for side in ("server", "client", "ca"):
            key = self.path("pki", f"{side}-key.pem")
            os.chmod(key, 0o644)
            out = self.check(fault=True)
            self.assertIn(f"{side}-key.pem".ljust(17) + "has mode 0644, which lets other users access the secret; "
                          f"fix it with: chmod 600 pki/{side}-key.pem", out)
            tools.run(*re.search(r"fix it with: (chmod .*)", out).group(1).split(), cwd=self.workdir)
            self.check(fault=False)

    def test_a_key_that_its_group_may_read(self):
        """That is how services are given a key."""
        os.chmod(self.path("pki", "server-key.pem"), 0o640)
        self.check(fault=False)

    def test_expired(self):
        """With its date."""
        self.sign_server(SERVER + 'activation_date = "2020-01-01"\nexpiration_date = "2021-01-02"\n')
        out = self.check(fault=True)
        self.assertIn("fault    server-cert.pem  CN=server has expired on 2021-01-02", out)
        self.assertIn("is refused by peers that trust ca-cert.pem", out)

    def test_not_yet_valid(self):
        """With its date."""
        self.sign_server(SERVER + 'activation_date = "2090-01-01"\nexpiration_date = "2091-01-01"\n')
        self.assertIn("CN=server is not valid before 2090-01-01", self.check(fault=True))

    def test_soon_to_expire(self):
        """A warning, no fault."""
        self.sign_server(SERVER + "expiration_days = 9\n")
        self.assertRegex(self.check(fault=False), "warning +server-cert.pem +CN=server expires on .*, in [89] days")

    def test_of_another_ca(self):
        """No peer that trusts this CA accepts it."""
        self.init("other")
        for name in ("client-cert.pem", "client-key.pem"):
            os.replace(self.path("other", name), self.path("pki", name))
        self.assertRegex(self.check(fault=True),
                         "fault +client-cert.pem +is refused by peers that trust ca-cert.pem: .*issuer")

    def test_key_of_another(self):
        """Certificate and key do not belong together."""
        os.replace(self.path("pki", "client-key.pem"), self.path("pki", "server-key.pem"))
        out = self.check(fault=True)
        self.assertIn("fault    server-key.pem   is not the key of server-cert.pem", out)

    def test_wrong_purpose(self):
        """A client's certificate in the server's place is warned about: it is not critical there."""
        self.sign_server(CLIENT + 'dns_name = "localhost"\n')
        self.assertIn("is not meant for a TLS server (extended key usage)", self.check(fault=False))

    def test_a_ca_that_is_none(self):
        """The certificate of a server does not make others trusted."""
        os.replace(self.path("pki", "server-cert.pem"), self.path("pki", "ca-cert.pem"))
        self.init("second")
        os.replace(self.path("second", "server-cert.pem"), self.path("pki", "server-cert.pem"))
        self.assertIn("is not the certificate of a CA (basic constraints)", self.check(fault=True))

    def test_a_ca_as_a_server(self):
        """No peer accepts it."""
        for what in ("cert", "key"):
            os.replace(self.path("pki", f"ca-{what}.pem"), self.path("pki", f"server-{what}.pem"))
        self.tool("tls", "init", "second")
        os.replace(self.path("second", "ca-cert.pem"), self.path("pki", "ca-cert.pem"))
        self.assertIn("is the certificate of a CA, which no peer accepts", self.check(fault=True))

    def test_no_names(self):
        """A server that clients can call by no name."""
        self.sign_server('cn = "localhost"\ntls_www_server\nsigning_key\n')
        self.assertIn("has no alternative names", self.check(fault=False))

    def test_missing_files(self):
        """Each file that a side needs is missed."""
        for name in ("ca-cert.pem", "server-cert.pem", "server-key.pem", "client-cert.pem", "client-key.pem"):
            os.rename(self.path("pki", name), self.path("kept"))
            self.assertIn(f"fault    {name.ljust(16)} is missing", self.check(fault=True))
            os.rename(self.path("kept"), self.path("pki", name))

    def test_files_that_are_none(self):
        """Rubbish, a pipe, a directory: a reason each, and none is waited for."""
        for name in ("ca-cert.pem", "server-cert.pem", "server-key.pem", "client-cert.pem", "ca-crl.pem"):
            path = self.path("pki", name)
            kept = os.path.exists(path)
            if kept:
                os.rename(path, self.path("kept"))
            self.write("rubbish", "pki", name)
            self.assertRegex(self.check(fault=True), f"fault +{name} +is no ")
            os.unlink(path)
            os.mkfifo(path)
            self.assertIn("is not a regular file", self.check(fault=True))
            os.unlink(path)
            if kept:
                os.rename(self.path("kept"), path)

    def test_encrypted_key(self):
        """Its content is not checked, and a warning says so."""
        plain = self.path("pki", "server-key.pem")
        tools.run("certtool", "--to-p8", "--load-privkey", plain, "--password", "canary-password",
                  "--outfile", self.path("encrypted"))
        os.replace(self.path("encrypted"), plain)
        os.chmod(plain, 0o600)
        self.assertRegex(self.check(fault=False), "warning +server-key.pem +is encrypted: .*passwordid")


class RevocationsTest(ToolTest):
    """ca-crl.pem."""

    def setUp(self):
        super().setUp()
        self.init()

    def revoke(self, template, *certificates):
        """A list of revoked certificates, signed by the CA."""
        self.write(template, "template")
        load = ["--load-certificate", self.path("pki", *certificates)] if certificates else []
        tools.run("certtool", "--generate-crl", "--load-ca-certificate", self.path("pki", "ca-cert.pem"),
                  "--load-ca-privkey", self.path("pki", "ca-key.pem"), *load, "--template", self.path("template"),
                  "--outfile", self.path("pki", "ca-crl.pem"))

    def test_revoked(self):
        """The certificate on the list is refused."""
        self.revoke("crl_number = 1\ncrl_next_update = 30\n", "client-cert.pem")
        out = self.check(fault=True)
        self.assertIn("ok       ca-crl.pem       1 revoked", out)
        self.assertRegex(out, "fault +client-cert.pem +is refused by peers that trust ca-cert.pem: .*revoked")

    def test_nobody_revoked(self):
        """An empty list is fine."""
        self.revoke("crl_number = 1\ncrl_next_update = 30\n")
        self.assertIn("ok       ca-crl.pem       0 revoked", self.check(fault=False))

    def test_outdated(self):
        """An outdated revocation list refuses every peer."""
        self.revoke('crl_number = 1\ncrl_this_update_date = "2020-01-01"\ncrl_next_update_date = "2020-02-01"\n')
        self.assertIn("should have been replaced on 2020-02-01: every peer is refused", self.check(fault=True))


class SharedKeysTest(ToolTest):
    """keys.psk."""

    def keys(self, text, fault):
        """What is said about a file."""
        os.makedirs(self.path("psk"), exist_ok=True)
        self.write(text, "psk", "keys.psk")
        return self.check("psk", fault=fault)

    def test_comments_and_several_users(self):
        """They are fine."""
        out = self.keys(f"# ours\nanna:{'ab' * 32}\n\nbob:{'cd' * 32}\n", fault=False)
        self.assertIn("user 'anna'", out)
        self.assertIn("user 'bob'", out)

    def test_lines_that_are_none(self):
        """The line is named by its number; its content is not shown."""
        for line in ("canary", ":" + "ab" * 16, "anna:", "anna:abc", "anna:canary", "anna:x:" + "ab" * 16):
            out = self.keys(f"bob:{'cd' * 32}\n{line}\n", fault=True)
            self.assertIn("line 2 is not USER:HEXKEY", out)
            self.assertNotIn("canary", out)

    def test_a_user_in_hexadecimal(self):
        """A server takes it for the user that the digits spell, who is there twice then."""
        self.assertIn("user 'anna' is there twice",
                      self.keys(f"anna:{'ab' * 32}\n#616e6e61:{'cd' * 32}\n", fault=True))

    def test_a_user_twice(self):
        """One of them would not get in."""
        self.assertIn("user 'anna' is there twice", self.keys(f"anna:{'ab' * 32}\nanna:{'cd' * 32}\n", fault=True))

    def test_a_short_key(self):
        """A warning."""
        self.assertIn("the key of 'anna' has 8 bytes; 16 are safe", self.keys(f"anna:{'ab' * 8}\n", fault=False))

    def test_nobody(self):
        """A file without a user."""
        self.assertIn("has no user in it", self.keys("# nobody\n", fault=True))

    def test_open_file(self):
        """Others may read the keys."""
        self.init("psk", "--psk")
        os.chmod(self.path("psk", "keys.psk"), 0o604)
        self.assertIn("fix it with: chmod 600 psk/keys.psk", self.check("psk", fault=True))


class ShowTest(ToolTest):
    """The output of tls show, which holds no secret."""

    def test_certificates(self):
        """Subject, names and the same fingerprint as certtool."""
        self.init()
        out, _ = self.tool("tls", "show", "pki")
        told = tools.run("certtool", "--fingerprint", "--hash", "sha256",
                         "--infile", self.path("pki", "server-cert.pem"))
        self.assertIn(told.strip().replace(":", "").upper(), out.replace(":", ""))
        self.assertIn("names        DNS:localhost, IP:127.0.0.1, IP:::1", out)

    def test_no_secrets(self):
        """Neither show nor check prints a key, in whatever form."""
        self.init("psk", "--psk", "--client", "anna")
        self.init()
        secrets = [self.read("psk", "keys.psk").split(":")[1].strip()]
        secrets += self.read("pki", "server-key.pem").split("\n")[1:-2]
        for directory in ("pki", "psk"):
            for verb in ("show", "check"):
                text = "".join(self.tool("tls", verb, directory))
                self.assertTrue(text)
                for secret in secrets:
                    self.assertNotIn(secret, text)
        self.assertIn("user 'anna', key of 32 bytes", self.tool("tls", "show", "psk")[0])

    def test_nothing_there(self):
        """An error that says how to make some."""
        for verb in ("show", "check"):
            _, error = self.tool("tls", verb, "nowhere", expected=1)
            self.assertIn("there are no TLS credentials in 'nowhere'", error)
            self.assertIn("Make some with: blockexport tls init nowhere", error)
