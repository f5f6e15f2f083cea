"""Errors of the command line: the hint after the message, and the help of options."""

import os
import re
import socket
import subprocess
import unittest

from lib import daemon, images, settings

NODE = ("--blockdev", "null-co,node-name=n0")


class WordsTest(unittest.TestCase):
    """Servers that do not start, in a private directory."""

    @settings.unlike_qemu("hints are ours")
    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)

    def path(self, *names):
        """A path in the private directory."""
        return os.path.join(self.workdir, *names)

    def run_server(self, *arguments, expected=1):
        """What the server says, on the stream that fits its exit code; lines."""
        result = subprocess.run([settings.program(), *arguments], cwd=self.workdir, stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=settings.seconds(15), check=False)
        self.assertEqual(result.returncode, expected, result.stderr)
        return (result.stdout if expected == 0 else result.stderr).splitlines()

    def assert_hint(self, message, hint, *arguments):
        """The start fails with that message, and with that hint in a line of its own."""
        lines = self.run_server(*arguments)
        self.assertTrue(lines[0].endswith(": " + message), lines)
        self.assertEqual(lines[1:], [hint] if hint else [])


class SlipTest(WordsTest):
    """A word that is like one that is known."""

    def test_of_an_option(self):
        """The option that was meant, where the wrong one is too much."""
        self.assert_hint("Parameter 'discrad' is unexpected", "Did you mean 'discard' instead of 'discrad'?",
                         "--blockdev", "null-co,node-name=n0,discrad=unmap")
        self.assert_hint("Parameter 'cache.dirct' is unexpected",
                         "Did you mean 'cache.direct' instead of 'cache.dirct'?",
                         "--blockdev", "file,node-name=n0,filename=/dev/null,cache.dirct=on")
        self.assert_hint("Parameter 'writeable' is unexpected", "Did you mean 'writable' instead of 'writeable'?",
                         "--export", "nbd,id=e,node-name=n0,writeable=on")
        self.assert_hint("Parameter 'max-conections' is unexpected",
                         "Did you mean 'max-connections' instead of 'max-conections'?",
                         "--nbd-server", "addr.type=unix,addr.path=x,max-conections=1")
        self.assert_hint("Parameter 'pritty' is unexpected", "Did you mean 'pretty' instead of 'pritty'?",
                         "--monitor", "c0,pritty=on")
        self.assert_hint("Parameter 'flie' is unexpected", "Did you mean 'file' instead of 'flie'?",
                         "--object", "secret,id=s,data=x,flie=y")
        self.assert_hint("Invalid parameter 'pth'", "Did you mean 'path' instead of 'pth'?",
                         "--chardev", "socket,id=c,pth=x")

    def test_of_an_option_that_is_missing(self):
        """The wrong option is named where the error is about the right one."""
        self.assert_hint("Parameter 'filename' is missing", "Did you mean 'filename' instead of 'filenam'?",
                         "--blockdev", "file,node-name=n0,filenam=x")
        self.assert_hint("Parameter 'node-name' is missing", "Did you mean 'node-name' instead of 'node'?",
                         "--export", "nbd,id=e,node=n0")
        self.assert_hint("Parameter 'addr.host' is missing", "Did you mean 'addr.host' instead of 'addr.hst'?",
                         "--nbd-server", "addr.type=inet,addr.hst=x,addr.port=1")
        self.assert_hint("Parameter 'addr' is missing", "Did you mean 'addr' instead of 'adr'?",
                         "--nbd-server", "adr.type=inet")
        self.assert_hint("Parameter 'port' is missing", "Did you mean 'port' instead of 'prot'?",
                         "--listen", "type=inet,host=x,prot=1")
        self.assert_hint("Parameter 'path' is missing", "", "--listen", "type=unix,other=1")

    def test_in_json(self):
        """The same for options that are JSON."""
        self.assert_hint("Parameter 'filename' is missing", "Did you mean 'filename' instead of 'filenam'?",
                         "--blockdev", '{"driver": "file", "node-name": "n0", "filenam": "x"}')

    def test_of_an_option_of_the_line(self):
        """The option itself."""
        for typed, meant in (("--blockdv", "--blockdev"), ("--nbd-sever=x", "--nbd-server"),
                             ("--monitr", "--monitor"), ("--pid-file", "--pidfile")):
            lines = self.run_server(typed)
            self.assertIn("unrecognized option", lines[0])
            self.assertEqual(lines[1:], [f"Did you mean '{meant}' instead of '{typed.partition('=')[0]}'?"])
        self.assertEqual(len(self.run_server("--quite-another")), 1)

    def test_of_a_trace_event(self):
        """A pattern without '*' that names no event, and a parameter of --trace."""
        lines = self.run_server("--trace", "qmp_comand_end", "--blockdev", "x")
        self.assertEqual(lines[1], "Did you mean 'qmp_command_end' instead of 'qmp_comand_end'?")
        self.assert_hint("Invalid parameter 'fil'", "Did you mean 'file' instead of 'fil'?",
                         "--trace", "enable=x,fil=y")


class AcceptedTest(WordsTest):
    """What could stand there."""

    def test_values(self):
        """An unknown value: which one was meant, and all that are accepted."""
        self.assert_hint("Parameter 'discard' does not accept value 'umap'",
                         "Did you mean 'unmap' instead of 'umap'? 'discard' accepts: ignore, unmap.",
                         "--blockdev", "null-co,node-name=n0,discard=umap")
        self.assert_hint("Parameter 'type' does not accept value 'tcp'", "'addr.type' accepts: inet, unix, vsock, fd.",
                         "--nbd-server", "addr.type=tcp")
        self.assert_hint("Parameter 'mode' does not accept value 'x'", "'mode' accepts: readline, control.",
                         "--monitor", "c0,mode=x")
        for option, argument, known in (("--blockdev", "rw,node-name=n0", "null-co"), ("--export", "nfs,id=e", "nbd"),
                                        ("--object", "secrt,id=s", "tls-creds-x509"),
                                        ("--chardev", "sockt,id=c", "stdio"), ("--listen", "type=tcp", "vsock")):
            hint = self.run_server(option, argument)[1]
            self.assertRegex(hint, rf" accepts: (.*, )?{known}[,.]")

    def test_options(self):
        """Where no option is like the one that was written, all are listed."""
        hint = self.run_server("--blockdev", "null-co,node-name=n0,quite-another=1")[1]
        self.assertRegex(hint, r"^Accepted options: driver, .*\blatency-ns\b")


class NotBuiltTest(WordsTest):
    """Words that qemu-storage-daemon has are no slips."""

    def test_what_is_not_built_here(self):
        """A driver, a type of export, object and character device, and an option."""
        for word, option, argument in (("bochs", "--blockdev", "bochs,node-name=n0,file=n1"),
                                       ("rbd", "--blockdev", "driver=rbd,node-name=n0"),
                                       ("fuse", "--export", "fuse,id=e,node-name=n0"),
                                       ("secret_keyring", "--object", "secret_keyring,id=t"),
                                       ("pty", "--chardev", "pty,id=c"), ("mux", "--chardev", "mux,id=c"),
                                       ("pr-manager", "--blockdev", "file,node-name=n,filename=x,pr-manager=y"),
                                       ("active", "--blockdev", "null-co,node-name=n,active=off")):
            hint = self.run_server(option, argument)[1]
            self.assertRegex(hint, rf"^'{word}' is known to qemu-storage-daemon 11\.\d+, and is not built here yet\.")
            self.assertNotIn("Did you mean", hint)

    def test_commands(self):
        """QMP's answer has no place for a hint; the trace of commands has it."""
        server = daemon.Daemon(self.workdir, ["--trace", "qmp_command_end"], nbd_server=None)
        self.addCleanup(server.kill)
        server.start()
        hints = {"block-stream": "'block-stream' is known to qemu-storage-daemon",
                 "query-comands": "Did you mean 'query-commands' instead of 'query-comands'?"}
        for command in hints:
            self.assertEqual(server.qmp.failure(command),
                             ("CommandNotFound", f"The command {command} has not been found"))
        server.stop()
        for command, hint in hints.items():
            self.assertRegex(server.stderr().decode(), rf"qmp_command_end {command} .* Hint: {re.escape(hint)}")


class PlaceTest(WordsTest):
    """Where a path ends, and which address is taken."""

    def test_a_directory_that_is_missing(self):
        """The first one, of any path in any option."""
        hint = f"There is no directory '{self.path('no')}'."
        place = self.path("no", "such", "place")
        for arguments in (("--blockdev", f"file,node-name=n0,filename={place}"),
                          ("--blockdev", f'{{"driver": "file", "node-name": "n0", "filename": "{place}"}}'),
                          ("--blockdev", f"raw,node-name=n0,file.driver=file,file.filename={place}"),
                          ("--nbd-server", f"addr.type=unix,addr.path={place}"),
                          ("--chardev", f"socket,id=c,path={place},server=on,wait=off"),
                          ("--chardev", f"file,id=c,path={place}"), ("--object", f"secret,id=s,file={place}"),
                          ("--object", f"tls-creds-x509,id=t,endpoint=server,dir={place}"),
                          ("--trace", f"file={place}"), ("--pidfile", place)):
            lines = self.run_server(*arguments)
            self.assertIn("No such file or directory", lines[0], arguments)
            self.assertEqual(lines[1:], [hint], arguments)

    def test_a_file_that_is_missing(self):
        """The message names it: nothing more to say."""
        self.assertEqual(len(self.run_server("--blockdev", f"file,node-name=n0,filename={self.path('disk')}")), 1)

    def test_a_file_in_place_of_a_directory(self):
        """It is named."""
        images.make_empty(self.path("file"), 512)
        lines = self.run_server("--blockdev", f"file,node-name=n0,filename={self.path('file', 'disk')}")
        self.assertEqual(lines[1:], [f"'{self.path('file')}' is not a directory."])

    def test_a_relative_path(self):
        """The directory in which it begins is named."""
        lines = self.run_server("--blockdev", "file,node-name=n0,filename=no/disk")
        self.assertEqual(lines[1:], [f"There is no directory 'no' in {os.path.realpath(self.workdir)}."])

    def test_an_address_that_is_taken(self):
        """Host and port."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            for option in (("--nbd-server", f"addr.type=inet,addr.host=127.0.0.1,addr.port={port}"),
                           ("--chardev", f"socket,id=c,host=127.0.0.1,port={port},server=on,wait=off")):
                self.assert_hint("Failed to find an available port: Address already in use",
                                 f"Another socket has the address 127.0.0.1:{port}.", *option)


class HelpTest(WordsTest):
    """What an option takes."""

    def test_types(self):
        """A list of drivers, of types of exports and addresses."""
        self.assertEqual(self.run_server("--blockdev", "help", expected=0),
                         ["List of block drivers:", "  blkdebug", "  blklogwrites", "  blkverify", "  compress",
                          "  copy-before-write", "  copy-on-read", "  file", "  host_device", "  luks", "  null-aio",
                          "  null-co", "  parallels", "  preallocate", "  qcow2", "  quorum", "  raw",
                          "  snapshot-access", "  throttle", "  vdi", "  vhdx", "  vmdk", "  vpc"])
        self.assertEqual(self.run_server("--export", "?", expected=0), ["List of export types:", "  nbd"])
        self.assertEqual(self.run_server("--listen", "help", expected=0)[0], "List of address types:")
        self.assertEqual(self.run_server("--blockdev", "nonsense,help", expected=0)[0], "List of block drivers:")

    def test_options(self):
        """Of one type, with what each takes."""
        for argument in ("file,help", "driver=file,help", "help,driver=file", "driver=file,filename=x,?"):
            lines = self.run_server("--blockdev", argument, expected=0)
            self.assertEqual(lines[0], "file options:")
            for line in ("  filename=<string>  - required", "  aio=<threads|native|io_uring>", "  cache.direct=<bool>",
                         "  locking=<auto|on|off>"):
                self.assertIn(line, lines)
            names = [line.partition("=")[0] for line in lines[1:]]
            self.assertEqual(names, sorted(names))
        self.assertIn("  file=<BlockdevRef>  - required", self.run_server("--blockdev", "raw,help", expected=0))
        self.assertIn("  writable=<bool>", self.run_server("--export", "nbd,help", expected=0))
        self.assertIn("  addr.path=<string>  - required",
                      self.run_server("--nbd-server", "addr.type=unix,help", expected=0))
        self.assertIn("  host=<string>  - required", self.run_server("--listen", "inet,help", expected=0))
        self.assertIn("  chardev=<string>  - required", self.run_server("--monitor", "help", expected=0))

    def test_every_driver_has_options(self):
        """Each of those that are listed."""
        for driver in self.run_server("--blockdev", "help", expected=0)[1:]:
            lines = self.run_server("--blockdev", f"{driver.strip()},help", expected=0)
            self.assertEqual(lines[0], f"{driver.strip()} options:")
            for line in lines[1:]:
                self.assertTrue(re.fullmatch(r"  [a-z0-9._-]+=<[^<>]+>(  - required)?", line), line)

    def test_nothing_is_made(self):
        """What stands before it is carried out, and then the process ends."""
        self.assertEqual(self.run_server(*NODE, "--export", "help", expected=0)[0], "List of export types:")


if __name__ == "__main__":
    unittest.main()
