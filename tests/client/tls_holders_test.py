"""`blockexport tls add`, `renew`, `revoke` and `bundle`: their changes of a directory, and no other ones."""

import fcntl
import os
import re
import stat
import subprocess
import tarfile

from lib import processes, settings, tools
from lib.client_tool import ToolTest, program


class HolderTest(ToolTest):
    """A directory that init made."""

    def setUp(self):
        super().setUp()
        self.init()

    def tls(self, verb, *arguments, directory="pki"):
        """What the command says; it must succeed."""
        return self.tool("tls", verb, directory, *arguments)[0]

    def refused(self, verb, *arguments, directory="pki"):
        """What the command says when it fails; nothing may have changed."""
        before = self.files()
        _, said = self.tool("tls", verb, directory, *arguments, expected=1)
        self.assertEqual(self.files(), before)
        return said

    def files(self):
        """All files below the private directory, with their modes and contents."""
        found = {}
        for place, _, names in os.walk(self.workdir):
            for name in names:
                path = os.path.join(place, name)
                with open(path, "rb") as file:
                    found[os.path.relpath(path, self.workdir)] = (os.stat(path).st_mode, file.read())
        return found

    def certificate(self, *names):
        """What certtool says of a certificate."""
        return tools.run("certtool", "--certificate-info", "--infile", self.path(*names))


class AddTest(HolderTest):
    """Further clients and servers."""

    def test_client(self):
        """It has a directory with all that it needs, signed by the CA, and can be checked there."""
        said = self.tls("add", "--client", "anna", "--days", "90")
        self.assertIn("made pki/clients/anna: the certificate of client 'anna', valid for 90 days", said)
        self.assertEqual(sorted(os.listdir(self.path("pki", "clients", "anna"))),
                         ["ca-cert.pem", "client-cert.pem", "client-key.pem"])
        for name, mode in (("client-key.pem", 0o600), ("client-cert.pem", 0o644), ("ca-cert.pem", 0o644)):
            self.assertEqual(stat.S_IMODE(os.stat(self.path("pki", "clients", "anna", name)).st_mode), mode)
        self.assertIn("Subject: CN=anna", self.certificate("pki", "clients", "anna", "client-cert.pem"))
        self.assertIn("TLS WWW Client", self.certificate("pki", "clients", "anna", "client-cert.pem"))
        self.check("pki/clients/anna", fault=False)
        self.assertIn("clients/anna/client-cert.pem CN=anna, valid until", self.check(fault=False))
        self.assertIn("clients/anna/client-cert.pem\n  subject      CN=anna\n", self.tls("show"))

    def test_server(self):
        """It is for the hosts that are named, or for its name."""
        self.tls("add", "--server", "disks2.example")
        self.assertIn("DNSname: disks2.example", self.certificate("pki", "servers", "disks2.example",
                                                                  "server-cert.pem"))
        self.tls("add", "--server", "third", "--host", "192.0.2.9", "--host", "third.example")
        told = self.certificate("pki", "servers", "third", "server-cert.pem")
        self.assertIn("IPAddress: 192.0.2.9", told)
        self.assertIn("DNSname: third.example", told)
        self.check("pki/servers/third", "--host", "third.example", fault=False)

    def test_name_that_is_taken(self):
        """Nothing is overwritten, neither of added ones nor of the first ones."""
        self.tls("add", "--client", "anna")
        self.assertIn("there is a client 'anna' already, in 'pki/clients/anna'",
                      self.refused("add", "--client", "anna"))
        self.assertIn("there is a client 'client' already", self.refused("add", "--client", "client"))
        self.tls("add", "--server", "anna")

    def test_names_that_cannot_be(self):
        """Neither leaves the directory nor means something to somebody."""
        for name in ("../x", "a/b", ".hidden", "a b", "a=b", "a,b", "x" * 65):
            self.assertIn("cannot be a client's name", self.refused("add", "--client", name))
        self.assertIn("no name was given", self.refused("add"))
        self.assertIn("one at a time", self.refused("add", "--client", "a", "--server", "b"))
        self.assertIn("--host is for", self.refused("add", "--client", "a", "--host", "h"))

    def test_key_of_the_ca_elsewhere(self):
        """It is named when it was moved; without it, or with another one, nothing is made."""
        os.rename(self.path("pki", "ca-key.pem"), self.path("kept.pem"))
        said = self.refused("add", "--client", "anna")
        self.assertIn("the key of the CA is not there: 'pki/ca-key.pem'", said)
        self.assertIn("--ca-key FILE", said)
        self.assertIn("is not that of 'pki/ca-cert.pem'",
                      self.refused("add", "--client", "anna", "--ca-key", "pki/server-key.pem"))
        self.tls("add", "--client", "anna", "--ca-key", "kept.pem")

    def test_not_longer_than_the_ca(self):
        """A certificate ends with its CA at the latest; an expired CA signs nothing."""
        ca = 'cn = "short"\nca\ncert_signing_key\ncrl_signing_key\n'
        for dates, days in (("expiration_days = 9\n", 8), ('activation_date = "2020-01-01"\n'
                                                          'expiration_date = "2021-01-01"\n', None)):
            self.write(ca + dates, "template")
            tools.run("certtool", "--generate-self-signed", "--load-privkey", self.path("pki", "ca-key.pem"),
                      "--template", self.path("template"), "--outfile", self.path("pki", "ca-cert.pem"))
            if days is None:
                self.assertIn("has expired on 2021-01-01", self.refused("add", "--client", "late"))
            else:
                self.assertRegex(self.tls("add", "--client", "short"), f"valid for ({days}|{days + 1}) days")

    def test_by_a_ca_of_certtool(self):
        """A CA that others made, with RSA or Ed25519, signs as well."""
        for kind in ("rsa", "ed25519"):
            os.makedirs(self.path(kind))
            self.write('cn = "Theirs"\nca\ncert_signing_key\ncrl_signing_key\nexpiration_days = 50\n', "template")
            tools.run("certtool", "--generate-privkey", "--key-type", kind, "--outfile", self.path(kind, "ca-key.pem"))
            tools.run("certtool", "--generate-self-signed", "--load-privkey", self.path(kind, "ca-key.pem"),
                      "--template", self.path("template"), "--outfile", self.path(kind, "ca-cert.pem"))
            self.tls("add", "--client", "anna", directory=kind)
            self.check(f"{kind}/clients/anna", fault=False)
            self.tls("revoke", "--client", "anna", directory=kind)
            self.assertIn("was revoked", self.check(kind, fault=False))

    def test_at_the_same_time(self):
        """While another one changes the directory it is refused."""
        with open(self.path("pki", "ca-cert.pem"), "rb"):
            lock = os.open(self.path("pki"), os.O_RDONLY)
            self.addCleanup(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
            for verb in ("add", "renew", "revoke"):
                self.assertIn("is being changed by another blockexport tls", self.refused(verb, "--client", "client"))

    def test_user_of_a_shared_key(self):
        """A further line of keys.psk, for a user who has none."""
        self.init("psk", "--psk", "--client", "anna")
        before = self.read("psk", "keys.psk")
        self.tls("add", "--client", "bob", directory="psk")
        self.assertTrue(self.read("psk", "keys.psk").startswith(before))
        self.assertRegex(self.read("psk", "keys.psk"), "\nbob:[0-9a-f]{64}\n$")
        self.assertIn("user 'bob' has a key already", self.refused("add", "--client", "bob", directory="psk"))
        self.assertIn("belongs to a client", self.refused("add", "--server", "s", directory="psk"))
        self.check("psk", fault=False)


class RenewTest(HolderTest):
    """New dates for what is there."""

    def test_all(self):
        """All that the CA signed, with the names, keys and purposes that they had, and other serial numbers."""
        self.tls("add", "--client", "anna")
        self.tls("add", "--server", "two.example")
        shown = self.tls("show")
        before = self.files()
        said = self.tls("renew", "--days", "20")
        for path in ("pki/server-cert.pem", "pki/client-cert.pem", "pki/clients/anna/client-cert.pem",
                     "pki/servers/two.example/server-cert.pem"):
            self.assertIn(f"renewed {path}: ", said)
            self.assertNotEqual(self.files()[path], before[path])
            self.assertEqual(self.files()[path][0], before[path][0])
        for path, (mode, content) in before.items():
            if path.endswith("-key.pem") or path.endswith("ca-cert.pem"):
                self.assertEqual(self.files()[path], (mode, content), path)
        same = lambda text: [line for line in text.splitlines() if not re.search("^  (valid|SHA-256)", line)]
        self.assertEqual(same(self.tls("show")), same(shown))
        self.assertRegex(self.check(fault=False),
                         "warning +server-cert.pem +CN=localhost expires on .*, in (19|20) days")

    def test_one_with_a_new_key(self):
        """The others stay as they are; key and certificate belong together."""
        self.tls("add", "--client", "anna")
        before = self.files()
        self.assertIn("with a new key", self.tls("renew", "--client", "anna", "--new-key"))
        changed = {path for path, content in self.files().items() if before[path] != content}
        self.assertEqual(changed, {"pki/clients/anna/client-cert.pem", "pki/clients/anna/client-key.pem"})
        self.check("pki/clients/anna", fault=False)
        self.check(fault=False)

    def test_subject_as_it_was(self):
        """Of a certificate that certtool made: authorization rules still match it."""
        self.sign('country = GB\norganization = "Ops, Ltd"\ncn = "client"\ntls_www_client\nsigning_key\n'
                  "expiration_days = 5\n", "pki/client-cert.pem", "pki/client-key.pem")
        before = re.search("Subject: .*", self.certificate("pki", "client-cert.pem")).group()
        self.tls("renew", "--client", "client")
        self.assertIn(before, self.certificate("pki", "client-cert.pem"))
        self.check(fault=False)

    def test_of_another_ca(self):
        """It is named, and nothing is renewed."""
        self.init("other")
        os.replace(self.path("other", "client-cert.pem"), self.path("pki", "client-cert.pem"))
        self.assertIn("'pki/client-cert.pem' was signed by another CA", self.refused("renew"))

    def test_revoked(self):
        """It is left out, and refused when it is named."""
        self.tls("add", "--client", "anna")
        self.tls("revoke", "--client", "anna")
        said = self.tls("renew")
        self.assertIn("left out: client 'anna' was revoked", said)
        self.assertIn("renewed pki/client-cert.pem", said)
        self.assertIn("client 'anna' was revoked", self.refused("renew", "--client", "anna"))

    def test_nobody_of_that_name(self):
        """The names that there are stand in the hint."""
        self.tls("add", "--client", "anna")
        said = self.refused("renew", "--client", "bob")
        self.assertIn("there is no client 'bob' in 'pki'", said)
        self.assertIn("There is 'client', 'anna'.", said)

    def test_user_of_a_shared_key(self):
        """A new key, in the place of the old one."""
        self.init("psk", "--psk", "--client", "anna")
        self.tls("add", "--client", "bob", directory="psk")
        keys = dict(line.split(":") for line in self.read("psk", "keys.psk").splitlines())
        self.tls("renew", "--client", "anna", directory="psk")
        renewed = dict(line.split(":") for line in self.read("psk", "keys.psk").splitlines())
        self.assertEqual(renewed["bob"], keys["bob"])
        self.assertNotEqual(renewed["anna"], keys["anna"])


class RevokeTest(HolderTest):
    """Who is not to come in any longer."""

    def serials(self):
        """The serial numbers in ca-crl.pem, as certtool reads it."""
        told = tools.run("certtool", "--crl-info", "--infile", self.path("pki", "ca-crl.pem"))
        return re.findall("Serial Number .*: (.*)", told)

    def test_one_after_the_other(self):
        """The list grows, certtool reads it, and it is in each directory that has the CA."""
        for name in ("anna", "bob"):
            self.tls("add", "--client", name)
        self.tls("add", "--server", "two.example")
        self.tls("revoke", "--client", "anna")
        first = self.serials()
        self.assertEqual(len(first), 1)
        self.tls("revoke", "--client", "bob")
        self.assertEqual(len(self.serials()), 2)
        self.assertEqual(self.serials()[0], first[0])
        for place in ("clients/anna", "clients/bob", "servers/two.example"):
            self.assertEqual(self.read("pki", place, "ca-crl.pem"), self.read("pki", "ca-crl.pem"))
        self.tls("add", "--client", "carl")
        self.assertEqual(self.read("pki", "clients/carl/ca-crl.pem"), self.read("pki", "ca-crl.pem"))
        self.assertIn("was revoked before", self.refused("revoke", "--client", "anna"))

    def test_check_and_show(self):
        """Both say who was revoked; that is no fault of the directory."""
        self.tls("add", "--client", "anna")
        self.tls("revoke", "--client", "anna")
        self.assertIn("warning  clients/anna/client-cert.pem was revoked: nobody accepts it", self.check(fault=False))
        self.assertIn("revoked      by ca-crl.pem", self.tls("show"))

    def test_a_certificate_by_its_file(self):
        """Of one that has no name here; of another CA it is refused."""
        self.sign('cn = "far away"\ntls_www_client\nsigning_key\n', "far.pem", "far-key.pem")
        self.assertIn("revoked the certificate of 'CN=far away'", self.tls("revoke", "--certificate", "far.pem"))
        self.init("other")
        self.assertIn("was signed by another CA", self.refused("revoke", "--certificate", "other/client-cert.pem"))
        self.assertIn("--certificate is for", self.refused("revoke", "--client", "client", "--certificate", "far.pem"))

    def test_a_list_of_certtool(self):
        """What others revoked before stays revoked."""
        self.tls("add", "--client", "anna")
        self.write("expiration_days = 10\ncrl_next_update = 10\ncrl_number = 1\n", "template")
        tools.run("certtool", "--generate-crl", "--load-ca-certificate", self.path("pki", "ca-cert.pem"),
                  "--load-ca-privkey", self.path("pki", "ca-key.pem"), "--load-certificate",
                  self.path("pki", "client-cert.pem"), "--template", self.path("template"), "--outfile",
                  self.path("pki", "ca-crl.pem"))
        first = self.serials()
        self.tls("revoke", "--client", "anna")
        self.assertEqual(self.serials()[:1], first)
        self.assertEqual(len(self.serials()), 2)

    def test_user_of_a_shared_key(self):
        """Is taken out of keys.psk; the others and remarks stay."""
        self.init("psk", "--psk", "--client", "anna")
        self.write("# a remark\n" + self.read("psk", "keys.psk") + f"bob:{'ab' * 32}", "psk", "keys.psk")
        self.tls("revoke", "--client", "anna", directory="psk")
        self.assertEqual(self.read("psk", "keys.psk"), f"# a remark\nbob:{'ab' * 32}\n")
        self.assertIn("user 'anna' has no key", self.refused("revoke", "--client", "anna", directory="psk"))


class BundleTest(HolderTest):
    """What goes to another host."""

    def archive(self, path):
        """Name to (mode, content) of the files in an archive."""
        with tarfile.open(self.path(path)) as archive:
            return {member.name: (member.mode, archive.extractfile(member).read() if member.isfile() else None)
                    for member in archive}

    def test_client(self):
        """Its certificate and key, what the CA is trusted by, and nothing else; the first client too."""
        self.tls("add", "--client", "anna")
        self.tls("add", "--client", "bob")
        self.tls("revoke", "--client", "bob")
        self.assertIn("made anna.tar: ca-cert.pem client-cert.pem client-key.pem ca-crl.pem",
                      self.tls("bundle", "--client", "anna"))
        files = self.archive("anna.tar")
        self.assertEqual(set(files), {"anna", "anna/ca-cert.pem", "anna/client-cert.pem", "anna/client-key.pem",
                                      "anna/ca-crl.pem"})
        self.assertEqual(files["anna/client-key.pem"],
                         (0o600, self.read("pki/clients/anna/client-key.pem").encode()))
        self.assertEqual(stat.S_IMODE(os.stat(self.path("anna.tar")).st_mode), 0o600)
        self.tls("bundle", "--client", "client", "--output", "first.tar")
        self.assertEqual(self.archive("first.tar")["client/client-key.pem"][1],
                         self.read("pki/client-key.pem").encode())
        self.assertIn("client 'bob' was revoked", self.refused("bundle", "--client", "bob"))

    def test_server(self):
        """Never the key of the CA."""
        self.tls("add", "--server", "two.example")
        self.tls("bundle", "--server", "two.example")
        self.assertEqual(set(self.archive("two.example.tar")),
                         {f"two.example{name}" for name in ("", "/ca-cert.pem", "/server-cert.pem",
                                                            "/server-key.pem")})

    def test_pipe(self):
        """Through a pipe to tar, whose directory is fine for a check."""
        self.tls("add", "--client", "anna")
        os.makedirs(self.path("host"))
        with processes.running([program(), "tls", "bundle", "pki", "--client", "anna", "--output", "-"],
                               cwd=self.workdir, stdout=subprocess.PIPE) as bundle:
            subprocess.run(["tar", "x"], cwd=self.path("host"), stdin=bundle.stdout, check=True,
                           timeout=settings.seconds(30))
            self.assertEqual(bundle.wait(settings.seconds(30)), 0)
        self.check("host/anna", fault=False)

    def test_nothing_is_overwritten(self):
        """An archive that is there stays."""
        self.write("x", "client.tar")
        self.assertIn("is there already", self.refused("bundle", "--client", "client"))

    def test_user_of_a_shared_key(self):
        """The line of that user alone."""
        self.init("psk", "--psk", "--client", "anna")
        self.tls("add", "--client", "bob", directory="psk")
        self.tls("bundle", "--client", "bob", directory="psk")
        self.assertRegex(self.archive("bob.tar")["bob/keys.psk"][1].decode(), "^bob:[0-9a-f]{64}\n$")


class SecretsTest(HolderTest):
    """What is printed is for everybody's eyes."""

    def test_no_key_is_printed(self):
        """By none of the commands."""
        self.init("psk", "--psk", "--client", "anna")
        said = "".join([self.tls("add", "--client", "bob"), self.tls("renew", "--new-key"),
                        self.tls("revoke", "--client", "bob"), self.tls("add", "--client", "bob", directory="psk"),
                        self.tls("renew", "--client", "anna", directory="psk"),
                        self.tls("bundle", "--client", "bob", directory="psk")])
        secrets = re.findall("[0-9a-f]{64}", self.read("psk", "keys.psk"))
        for name in ("pki/server-key.pem", "pki/clients/bob/client-key.pem"):
            secrets += self.read(name).split("\n")[1:-2]
        self.assertGreater(len(secrets), 4)
        for secret in secrets:
            self.assertNotIn(secret, said)
