"""The guide prometheus: its commands, its files and its dashboard, used as written."""

import json
import os
import re
import shutil
import unittest

from lib import daemon, metrics, settings, tools
from lib.guide import GuideCase

DOCS = os.path.join(settings.ROOT, "docs")


def documented():
    """The series of docs/metrics.md; of a histogram also those of its parts."""
    with open(os.path.join(DOCS, "metrics.md"), encoding="utf-8") as file:
        rows = re.findall(r"^\| `(blockexport_\w+)` \| (\w+) \|", file.read(), re.M)
    return {name + part for name, kind in rows
            for part in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))}


class PrometheusGuideTest(GuideCase):
    """The server of the guide, on another port."""

    guide = "prometheus.md"
    export = "disk"

    def setUp(self):
        super().setUp()
        self.port = daemon.free_port()

    def script(self, title, number=0):
        return super().script(title, number).replace("9809", str(self.port))

    def files(self):
        """Writes the files of the guide: each name in backquotes with a colon or a comma, and the block behind it."""
        found = re.findall(r"^`([\w-]+\.yml)`[^\n]*\n\n```yaml\n(.*?)^```", self.section("Let Prometheus collect it"),
                           re.S | re.M)
        self.assertEqual([name for name, _ in found], ["prometheus.yml", "blockexport-rules.yml"])
        for name, text in found:
            with open(self.path(name), "w", encoding="utf-8") as file:
                file.write(text)
        return "".join(text for _, text in found)

    def test_commands(self):
        """The server of the guide answers the commands of the guide, and its page is well-formed."""
        if shutil.which("curl", path=tools.PATH) is None:
            self.skipTest("curl is not installed")
        self.shell(self.script("Serve the metrics"))
        shown = self.shell(self.script("Look at the page"))
        self.assertEqual(shown.splitlines(),
                         [str(64 << 20), "ready", 'blockexport_server_accepted_total{server="default"} 1'])
        page = metrics.scrape(("127.0.0.1", self.port))
        self.assertEqual(page.value("export_clients", export="disk"), 0)

    def test_promtool(self):
        """promtool accepts the configuration and the rules."""
        self.files()
        if shutil.which("promtool", path=tools.PATH) is None:
            self.skipTest("promtool is not installed")
        self.assertIn("SUCCESS", self.shell(self.script("Let Prometheus collect it")))

    def test_rules_use_metrics_that_there_are(self):
        """Each metric of the rules and of the dashboard is documented."""
        with open(os.path.join(DOCS, "dashboards", "blockexport-dashboard.json"), encoding="utf-8") as file:
            dashboard = json.load(file)
        expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        queries = [one["definition"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
        used = set(re.findall(r"blockexport_\w+", " ".join([self.files(), *expressions, *queries])))
        self.assertGreater(len(used), 10)
        self.assertEqual(used - documented(), set())

    def test_dashboard(self):
        """The panels of the dashboard have numbers and places of their own."""
        with open(os.path.join(DOCS, "dashboards", "blockexport-dashboard.json"), encoding="utf-8") as file:
            panels = json.load(file)["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
        self.assertEqual(len(places), len(panels))


if __name__ == "__main__":
    unittest.main()
