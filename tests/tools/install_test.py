"""make install and make uninstall: the same files, none left, and documentation without broken links."""

import re
import subprocess

from tool_case import ROOT, ToolCase


class InstallTest(ToolCase):
    def setUp(self):
        super().setUp()
        self.build = self.place / "build"
        self.build.mkdir()
        for name in ("blockexportd", "blockexport"):
            (self.build / name).write_text("#!/bin/sh\n", encoding="utf-8")
        self.root = self.place / "root"
        self.documents = self.root / "opt/x/share/doc/blockexportd"

    def do(self, action):
        result = self.run_tool("tools/install.sh", action, str(self.root), "/opt/x", BUILD=str(self.build))
        self.assertEqual(result.returncode, 0, result.stderr)

    def files(self):
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}

    def test_programs_and_guides(self):
        """Both programs can be run, and every page of docs/ is there."""
        self.do("install")
        for name in ("blockexportd", "blockexport"):
            self.assertEqual((self.root / "opt/x/bin" / name).stat().st_mode & 0o777, 0o755)
        pages = {path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md")}
        self.assertTrue(any(page.parent.name == "guides" for page in pages))
        for page in pages:
            self.assertEqual((self.documents / page).read_bytes(), (ROOT / page).read_bytes())

    def test_links(self):
        """Each relative link of what is installed leads to something that is installed."""
        self.do("install")
        links = 0
        for page in self.documents.rglob("*.md"):
            for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
                links += 1
                self.assertTrue((page.parent / target).exists(), f"{page.name}: {target}")
        self.assertGreater(links, 10)

    def test_uninstall(self):
        """What was installed goes, with its folders; what others put there stays."""
        (self.root / "opt/x/bin").mkdir(parents=True)
        (self.root / "opt/x/bin/other").write_text("", encoding="utf-8")
        before = self.files()
        self.do("install")
        self.assertGreater(len(self.files()), len(before))
        self.do("uninstall")
        self.assertEqual(self.files(), before)
        self.assertFalse(self.documents.exists())
        self.do("uninstall")

    def test_manual(self):
        """Pages and completion that were made are where man and the shells look, and go again."""
        (self.build / "manual").mkdir()
        made = [path.stem for path in (ROOT / "docs/manual").glob("*.scd")]
        self.assertIn("blockexportd.8", made)
        for name in (*made, "blockexport.bash", "_blockexport", "blockexport.fish"):
            (self.build / "manual" / name).write_text(name, encoding="utf-8")
        self.do("install")
        for name in ("share/man/man8/blockexportd.8", "share/man/man1/blockexport.1",
                     "share/man/man7/blockexport-qmp.7",
                     "share/bash-completion/completions/blockexport", "share/zsh/site-functions/_blockexport",
                     "share/fish/vendor_completions.d/blockexport.fish"):
            self.assertTrue((self.root / "opt/x" / name).is_file(), name)
        self.do("uninstall")
        self.assertEqual(self.files(), set())

    def test_a_page_of_somebody_else(self):
        """A folder that is not empty is left."""
        self.do("install")
        (self.documents / "docs/guides/own.md").write_text("", encoding="utf-8")
        self.do("uninstall")
        self.assertEqual(self.files(), {"opt/x/share/doc/blockexportd/docs/guides/own.md"})

    def test_what_make_says(self):
        """The targets pass DESTDIR and PREFIX on; uninstall builds nothing."""
        for action in ("install", "uninstall"):
            shown = subprocess.run(["make", "--dry-run", action, "DESTDIR=/d", "PREFIX=/p"], cwd=ROOT, text=True,
                                   capture_output=True, timeout=60, check=True).stdout
            self.assertIn(f"tools/install.sh {action} '/d' '/p'", shown)
        self.assertNotIn("cmake", shown)
