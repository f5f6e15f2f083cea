"""The packaged NBD clients against the server: what they see and what they copy, proved by checksum and by map."""

import json
import os

from lib import daemon, images, tools
from lib.testcase import DaemonTest, file_node, nbd_export
from lib.images import KIB, MIB

DATA = [(0, 64 * KIB), (1 * MIB, 256 * KIB), (5 * MIB + 128 * KIB, 64 * KIB), (15 * MIB, 1 * MIB)]
SIZE = 16 * MIB


class ClientsTest(DaemonTest):
    """A sparse disk for reading, and one for writing made anew by each test that needs it."""

    @classmethod
    def prepare(cls):
        cls.source = images.make_sparse(cls.path("source.img"), SIZE, DATA)
        return [*file_node("disk", cls.source, **{"read-only": "on"}), *nbd_export("disk", description="a small disk"),
                *file_node("again", cls.source, **{"read-only": "on"}), *nbd_export("again")]

    def writable(self, size=SIZE):
        """Exports an empty file as `target`; returns its path."""
        path = images.make_empty(self.path(f"{self.id().rsplit('.', 1)[-1]}.img"), size)
        self.add_node("target", driver="file", filename=path, discard="unmap")
        self.add_export("target", writable=True)
        return path

    def check_copy(self, path):
        """The file has the content of the source, and what was a hole there is one here."""
        self.assertEqual(images.sha256(path), images.sha256(self.source))
        self.assertEqual(images.data_ranges(path), images.data_ranges(self.source))


class NbdinfoTest(ClientsTest):
    """nbdinfo."""

    def test_size(self):
        """nbdinfo --size prints the size of the export."""
        self.assertEqual(tools.run("nbdinfo", "--size", self.uri("disk")).strip(), str(SIZE))

    def test_json(self):
        """nbdinfo --json tells protocol, size, flags, contexts and description."""
        info = json.loads(tools.run("nbdinfo", "--json", self.uri("disk")))
        self.assertEqual(info["protocol"], "newstyle-fixed")
        self.assertFalse(info["TLS"])
        export = info["exports"][0]
        self.assertEqual(export["export-size"], SIZE)
        self.assertEqual(export["export-name"], "disk")
        self.assertEqual(export["description"], "a small disk")
        self.assertTrue(export["is_read_only"])
        self.assertTrue(export["can_multi_conn"])
        self.assertTrue(export["can_df"])
        self.assertTrue(export["can_cache"])
        self.assertIn("base:allocation", export["contexts"])
        self.assertEqual(export["block_size_minimum"], 1)
        self.assertEqual(export["block_size_maximum"], 32 * MIB)

    def test_json_of_a_writable_export(self):
        """A writable export offers trim, write zeroes, fast zero, flush and FUA."""
        self.writable()
        export = json.loads(tools.run("nbdinfo", "--json", self.uri("target")))["exports"][0]
        for flag in ("can_trim", "can_zero", "can_fast_zero", "can_flush", "can_fua", "can_multi_conn"):
            self.assertTrue(export[flag], flag)
        self.assertFalse(export["is_read_only"])

    def test_list(self):
        """nbdinfo --list shows every export with its description."""
        exports = json.loads(tools.run("nbdinfo", "--list", "--json", self.uri()))["exports"]
        self.assertEqual({export["export-name"] for export in exports}, {"disk", "again"})

    def test_map(self):
        """nbdinfo --map is the map of the file."""
        extents = json.loads(tools.run("nbdinfo", "--map", "--json", self.uri("disk")))
        data = [(extent["offset"], extent["length"]) for extent in extents if extent["type"] == 0]
        self.assertEqual(data, images.data_ranges(self.source))
        self.assertEqual(sum(extent["length"] for extent in extents), SIZE)
        self.assertEqual({extent["type"] for extent in extents}, {0, 3})

    def test_map_totals(self):
        """nbdinfo --map --totals adds up to the size."""
        totals = json.loads(tools.run("nbdinfo", "--map", "--totals", "--json", self.uri("disk")))
        self.assertEqual(sum(row["size"] for row in totals), SIZE)

    def test_unknown_export(self):
        """nbdinfo of a name that is not there says so."""
        result = tools.finish("nbdinfo", self.uri("nowhere"))
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("No such file or directory", result.stderr)


class NbdcopyTest(ClientsTest):
    """nbdcopy in both directions."""

    def download(self, *options):
        """Copies the export to a file and compares."""
        path = self.path("copy.img")
        tools.run("nbdcopy", *options, self.uri("disk"), path)
        self.addCleanup(os.unlink, path)
        self.check_copy(path)

    def upload(self, *options):
        """Copies the file to a writable export and compares."""
        path = self.writable()
        tools.run("nbdcopy", "--flush", *options, self.source, self.uri("target"))
        self.check_copy(path)

    def test_download_with_one_connection(self):
        """nbdcopy NBD -> file, --connections=1."""
        self.download("--connections=1")

    def test_download_with_four_connections(self):
        """nbdcopy NBD -> file, --connections=4."""
        self.download("--connections=4", "--threads=2")

    def test_download_synchronous(self):
        """nbdcopy --synchronous, one request at a time."""
        self.download("--synchronous")

    def test_upload_with_one_connection(self):
        """nbdcopy file -> NBD, --connections=1."""
        self.upload("--connections=1")

    def test_upload_with_four_connections(self):
        """nbdcopy file -> NBD, --connections=4."""
        self.upload("--connections=4", "--threads=2")

    def test_upload_many_small_requests(self):
        """nbdcopy with 64 requests of 4 KiB in flight on each of 4 connections."""
        self.upload("--connections=4", "--requests=64", "--request-size=4096")

    def test_copy_from_export_to_export(self):
        """nbdcopy NBD -> NBD, both on the same server, 4 connections each."""
        path = self.writable()
        tools.run("nbdcopy", "--flush", "--connections=4", self.uri("disk"), self.uri("target"))
        self.check_copy(path)

    def test_upload_to_an_export_full_of_data(self):
        """Zeroes of the source overwrite what the destination had."""
        path = self.writable()
        with open(path, "r+b") as file:
            file.write(images.random_bytes(SIZE, 7))
        tools.run("nbdcopy", "--flush", self.source, self.uri("target"))
        self.assertEqual(images.sha256(path), images.sha256(self.source))


class QemuTest(ClientsTest):
    """qemu-img and qemu-io."""

    def test_info(self):
        """qemu-img info tells the virtual size."""
        info = json.loads(tools.run("qemu-img", "info", "--output=json", "-f", "raw", self.uri("disk")))
        self.assertEqual(info["virtual-size"], SIZE)

    def test_convert_from_the_export(self):
        """qemu-img convert NBD -> raw file."""
        path = self.path("convert.img")
        tools.run("qemu-img", "convert", "-f", "raw", "-O", "raw", self.uri("disk"), path)
        self.assertEqual(images.sha256(path), images.sha256(self.source))

    def test_convert_to_qcow2_and_compare(self):
        """qemu-img convert NBD -> qcow2, and compare with the export."""
        path = self.path("convert.qcow2")
        tools.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.uri("disk"), path)
        tools.run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", path, self.uri("disk"))

    def test_convert_to_the_export(self):
        """qemu-img convert raw file -> NBD, and its map afterwards."""
        path = self.writable()
        tools.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", self.source, self.uri("target"))
        self.check_copy(path)
        tools.run("qemu-img", "compare", "-f", "raw", "-F", "raw", self.source, self.uri("target"))

    def test_compare_finds_a_difference(self):
        """qemu-img compare ends with 1 when a byte differs."""
        path = self.writable()
        tools.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", self.source, self.uri("target"))
        with open(path, "r+b") as file:
            file.seek(1 * MIB)
            file.write(b"other")
        tools.run("qemu-img", "compare", "-f", "raw", "-F", "raw", self.source, self.uri("target"), expected=1)

    def test_map(self):
        """qemu-img map is the map of the file."""
        extents = json.loads(tools.run("qemu-img", "map", "--output=json", "-f", "raw", self.uri("disk")))
        data = [(extent["start"], extent["length"]) for extent in extents if extent["data"]]
        self.assertEqual(data, images.data_ranges(self.source))
        self.assertTrue(all(extent["zero"] for extent in extents if not extent["data"]))

    def test_qemu_io_writes_and_reads(self):
        """qemu-io: patterns, write zeroes, discard, FUA, flush, read back."""
        path = self.writable()
        script = ["write -P 0x41 0 64k", "write -f -P 0x42 1M 4k", "write -z 8k 4k", "write -z -u 32k 16k",
                  "write -P 0x43 1234 567", "flush", "read -P 0x41 0 1234", "read -P 0x43 1234 567", "read -P 0 8k 4k",
                  "read -P 0 32k 16k", "read -P 0x42 1M 4k", "discard 1M 4k", "aio_write -P 0x44 2M 1M",
                  "aio_flush", "read -P 0x44 2M 1M"]
        commands = [part for line in script for part in ("-c", line)]
        output = tools.run("qemu-io", "-f", "raw", *commands, self.uri("target"))
        self.assertNotIn("verification failed", output)
        self.assertEqual(images.read_range(path, 1234, 567), b"\x43" * 567)
        self.assertEqual(images.read_range(path, 2 * MIB, MIB), b"\x44" * MIB)

    def test_qemu_io_status(self):
        """qemu-io's map of the export, which asks for the status of all of it, is the one of the file."""
        ours = tools.run("qemu-io", "-r", "-f", "raw", "-c", "map", self.uri("disk"))
        self.assertEqual(ours, tools.run("qemu-io", "-r", "-f", "raw", "-c", "map", self.source))
        self.assertIn("16 MiB (0x1000000) bytes     allocated at offset 0 bytes", ours)

    def test_qemu_io_read_only(self):
        """A write through qemu-io to a read-only export is refused, and nothing changes."""
        before = images.sha256(self.source)
        tools.run("qemu-io", "-f", "raw", "-c", "write 0 4k", self.uri("disk"), expected=1)
        self.assertEqual(images.sha256(self.source), before)


class OtherClientsTest(ClientsTest):
    """nbd-client and fio."""

    @classmethod
    def prepare(cls):
        arguments = super().prepare()
        cls.port = daemon.free_port()
        cls.nbd_server = None
        return ["--nbd-server", f"addr.type=inet,addr.host=127.0.0.1,addr.port={cls.port}", *arguments]

    def test_nbd_client_list(self):
        """nbd-client -l prints the names, over TCP."""
        output = tools.run("nbd-client", "-l", "127.0.0.1", str(self.port), expected=None)
        self.assertIn("disk", output)
        self.assertIn("again", output)

    def test_nbdinfo_over_tcp(self):
        """nbdinfo nbd://127.0.0.1:PORT."""
        self.assertEqual(tools.run("nbdinfo", "--size", f"nbd://127.0.0.1:{self.port}/disk").strip(), str(SIZE))

    def test_nbdcopy_over_tcp(self):
        """nbdcopy from nbd://127.0.0.1:PORT with 4 connections."""
        path = self.path("tcp.img")
        tools.run("nbdcopy", "--connections=4", f"nbd://127.0.0.1:{self.port}/disk", path)
        self.check_copy(path)

    def fio(self, pattern, *options, counted="read"):
        """Writes and verifies through fio's nbd engine."""
        self.writable()
        job = ["[global]", "ioengine=nbd", f"uri=nbd://127.0.0.1:{self.port}/target", "verify=crc32c", "do_verify=1",
               "verify_fatal=1", "iodepth=16", "randseed=7", "[job]", f"rw={pattern}", "bs=16k", "size=4m", *options]
        with open(self.path("job.fio"), "w", encoding="ascii") as file:
            file.write("\n".join(job) + "\n")
        output = tools.run("fio", "--output-format=json", self.path("job.fio"), cwd=self.workdir)
        for result in json.loads(output[output.index("{"):])["jobs"]:
            self.assertEqual(result["error"], 0)
            self.assertGreater(result[counted]["io_bytes"], 0)

    def test_fio_random_writes(self):
        """fio nbd engine, random writes with verify."""
        self.fio("randwrite")

    def test_fio_sequential_writes(self):
        """fio nbd engine, sequential writes with verify."""
        self.fio("write")

    def test_fio_four_jobs(self):
        """fio nbd engine, four connections that write and verify their own quarter."""
        self.fio("randwrite", "numjobs=4", "offset_increment=4m")

    def test_fio_with_trims(self):
        """fio nbd engine, each block trimmed and then written."""
        self.fio("trimwrite", "verify=0", counted="trim")
