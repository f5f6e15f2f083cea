"""`blockexport image info` and `map` beside those of qemu-img: equal JSON, also for chains and data files."""

import json
import os
import unittest

from lib import images, qcow2, tools
from lib.client_tool import ToolTest


class ImageCase(ToolTest):
    """Both programs."""

    def theirs(self, verb, *arguments):
        """The JSON that qemu-img prints."""
        return json.loads(tools.run("qemu-img", verb, "--output=json", *arguments, cwd=self.workdir))

    def ours(self, verb, *arguments):
        """The same of this tool."""
        return json.loads(self.tool("image", verb, "--output=json", *arguments)[0])

    def chain(self):
        """Three images on one another, each larger than the one below."""
        images.make_sparse(self.path("base.raw"), 2 * images.MIB, [(0, 64 * images.KIB), (images.MIB, 4096)])
        for name, below, kind, size in (("middle", "base.raw", "raw", "3M"), ("top", "middle", "qcow2", "4M")):
            tools.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", kind, name, size, cwd=self.workdir)
        tools.run("qemu-io", "-f", "qcow2", "-c", "write -P 1 256k 128k", "-c", "write -z 0 64k", "middle",
                  cwd=self.workdir)
        tools.run("qemu-io", "-f", "qcow2", "-c", "write -P 2 320k 64k", "-c", "write -P 3 3584k 64k", "top",
                  cwd=self.workdir)


class InfoTest(ImageCase):
    """The verb info."""

    def test_every_kind(self):
        for kind in qcow2.KINDS:
            with self.subTest(kind=kind):
                qcow2.make(self.path(kind), kind)
                ours, theirs = self.ours("info", kind), self.theirs("info", kind)
                if kind == "data-file":
                    # qemu-img does not count the data file.
                    self.assertGreater(ours.pop("actual-size"), theirs.pop("actual-size"))
                self.assertEqual(ours, theirs)

    def test_chain(self):
        self.chain()
        for arguments in (["top"], ["--backing-chain", "top"], ["-f", "raw", "top"], ["base.raw"]):
            self.assertEqual(self.ours("info", *arguments), self.theirs("info", *arguments))

    def test_text(self):
        self.chain()
        for arguments in (["top"], ["--backing-chain", "top"], ["base.raw"]):
            theirs = tools.run("qemu-img", "info", *arguments, cwd=self.workdir)
            self.assertEqual(sorted(self.tool("image", "info", *arguments)[0].splitlines()),
                             sorted(theirs.splitlines()))

    def test_a_loop_and_a_missing_file(self):
        self.chain()
        tools.run("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "top", "-F", "qcow2", "middle", cwd=self.workdir)
        _, errors = self.tool("image", "info", "--backing-chain", "top", expected=1)
        self.assertIn("creates an infinite loop", errors)
        os.remove(self.path("middle"))
        self.tool("image", "info", "top")
        _, errors = self.tool("image", "info", "--backing-chain", "top", expected=1)
        self.assertIn("No such file or directory", errors)


class MapTest(ImageCase):
    """The verb map."""

    def maps(self, *arguments):
        """Both maps; ours without what qemu-img 7.2 does not tell yet."""
        ours = self.ours("map", *arguments)
        for extent in ours:
            extent.pop("compressed")
        return ours, self.theirs("map", *arguments)

    def test_chain(self):
        self.chain()
        for arguments in (["base.raw"], ["middle"], ["top"], ["-f", "raw", "top"],
                          ["--start-offset", "300000", "--max-length", "100000", "top"]):
            with self.subTest(arguments=arguments):
                ours, theirs = self.maps(*arguments)
                self.assertEqual(ours, theirs)
        theirs = tools.run("qemu-img", "map", "top", cwd=self.workdir)
        self.assertEqual(self.tool("image", "map", "top")[0], theirs)

    def test_every_kind(self):
        """Offsets of clusters that are reserved for zeroes are left out, and holes of the file within data are told
        always."""
        for kind in qcow2.KINDS:
            with self.subTest(kind=kind):
                qcow2.make(self.path(kind), kind, snapshots=False)
                ours, theirs = self.maps(kind)
                self.assertEqual(self.places(ours), self.places(theirs))

    @staticmethod
    def places(extents):
        """Runs of data with their places, and runs of others."""
        found = []
        for extent in extents:
            one = {"start": extent["start"], "end": extent["start"] + extent["length"], "depth": extent["depth"],
                   "present": extent["present"], "data": extent["data"]}
            one["place"] = extent["offset"] - extent["start"] if extent["data"] and "offset" in extent else None
            if not extent["data"]:
                one["zero"] = extent["zero"]
            last = found[-1] if found else None
            if last and all(last[name] == one[name] for name in ("depth", "present", "data", "place")):
                last["end"] = one["end"]
            else:
                found.append(one)
        return found

    def test_compressed_clusters_have_no_place(self):
        qcow2.make(self.path("disk"), "default")
        self.assertTrue([one for one in self.ours("map", "disk") if one["compressed"]])
        _, errors = self.tool("image", "map", "disk", expected=1)
        self.assertIn("File contains external, encrypted or compressed clusters.", errors)


if __name__ == "__main__":
    unittest.main()
