#!/usr/bin/env python3
"""Test of the harness without a server: verdicts, growth, the store and the document, from invented measurements."""

import dataclasses
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import cells, document, front_page, report, store  # noqa: E402
from harness.cell import CPU, Cell, Goal, RATE  # noqa: E402
from harness.growth_cells import GROWTH_CELLS, point_metric  # noqa: E402
from harness.images import Images, layouts  # noqa: E402
from harness.measure import Measurement, Meter, Timing  # noqa: E402
from harness.peers import newest, of_folder  # noqa: E402
from harness.rounds import CellResult  # noqa: E402
from harness.preparations import BY_NAME  # noqa: E402
from harness.servers import Address, BY_KEY, Setting  # noqa: E402
from harness.tools import BenchError, Tools  # noqa: E402
from harness.verdicts import judge  # noqa: E402

NAMED = {cell.name: cell for cell in cells.ALL}


def rounds_of(values: dict[str, dict[str, float]], count: int = 3) -> list[dict[str, Measurement]]:
    return [{key: Measurement(dict(metrics)) for key, metrics in values.items()} for _ in range(count)]


def outcome(goal: Goal, values: dict[str, dict[str, float]], **options) -> tuple[str, str]:
    cell = Cell("made-up", "made up", servers=tuple(values), goals=(goal,), **options)
    verdict = judge(cell, CellResult(cell, rounds_of(values), processors=2))[0]
    return verdict.outcome, verdict.measured


def cpu(**values: float) -> dict[str, dict[str, float]]:
    return {key.replace("_", "-"): {CPU: value} for key, value in values.items()}


def rate(**values: float) -> dict[str, dict[str, float]]:
    return {key.replace("_", "-"): {RATE: value} for key, value in values.items()}


class WhichPeers(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory(prefix="peers-")
        self.addCleanup(place.cleanup)
        self.folder = Path(place.name)

    def command(self, name: str, script: str) -> Path:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    def test_the_newest_are_taken_and_named_and_what_they_lack_is_the_installed_one(self):
        (self.folder / "VERSIONS").write_text("nbdkit 1.48.1-1\nlibnbd-bin 1.24.4-1\n", encoding="utf-8")
        nbdkit = self.command("nbdkit", "exit 0")
        peers = newest(self.command("peer_root", f"echo {self.folder}"))
        self.assertEqual(peers, of_folder(self.folder))
        self.assertEqual(peers.what, "the newest that Debian has: nbdkit 1.48.1-1, libnbd-bin 1.24.4-1")
        self.assertEqual(peers.find("nbdkit", "/usr/bin/nbdkit"), str(nbdkit))
        self.assertEqual(peers.find("nbd-server", "/usr/bin/nbd-server"), "/usr/bin/nbd-server")

    def test_where_they_can_not_be_had_the_installed_ones_are_taken_and_the_reason_is_told(self):
        peers = newest(self.command("peer_root", "echo 'peer_root: no mirror' >&2; exit 3"))
        self.assertEqual(peers.what, "those that are installed (no mirror)")
        self.assertEqual(peers.find("nbdkit", "/usr/bin/nbdkit"), "/usr/bin/nbdkit")
        self.assertEqual(newest(self.folder / "not-there").find("nbdkit", None), None)


class Verdicts(unittest.TestCase):
    def test_a_ratio_within_the_goal_is_met_and_one_beyond_it_is_missed(self):
        self.assertEqual(outcome(Goal("nbdkit", 0.5), cpu(ours=4, nbdkit=10))[0], "met")
        self.assertEqual(outcome(Goal("nbdkit", 0.5), cpu(ours=6, nbdkit=10))[0], "missed")
        self.assertEqual(outcome(Goal("nbdkit", 2, RATE, True), rate(ours=21, nbdkit=10))[0], "met")
        self.assertEqual(outcome(Goal("nbdkit", 2, RATE, True), rate(ours=19, nbdkit=10))[0], "missed")

    def test_a_win_is_not_claimed_where_the_interval_holds_one(self):
        cell = Cell("made-up", "made up", servers=("ours", "qsd"), goals=(Goal("qsd", 0.9),))
        ours = [1, 8, 20]
        rounds = [{"ours": Measurement({CPU: value}), "qsd": Measurement({CPU: 10})} for value in ours]
        self.assertEqual(judge(cell, CellResult(cell, rounds))[0].outcome, "not sure")

    def test_the_best_configuration_of_the_peer_counts(self):
        values = cpu(ours=4, qsd=40, qsd_uring=10)
        self.assertEqual(outcome(Goal("qsd*", 1 / 3), values)[0], "missed")
        self.assertEqual(outcome(Goal("qsd", 1 / 3), values)[0], "met")

    def test_of_several_peers_the_worst_one_is_named(self):
        result = outcome(Goal("peers", 1), cpu(ours=4, qsd=3, nbdkit=2, nbd_server=5, control=1))
        self.assertEqual(result[0], "missed")
        self.assertIn("nbdkit", result[1])

    def test_a_goal_below_the_control_becomes_one_fifth_above_it(self):
        self.assertEqual(outcome(Goal("qsd", 0.1), cpu(ours=2.3, qsd=10, control=2))[0], "met")
        self.assertEqual(outcome(Goal("qsd", 0.1), cpu(ours=2.5, qsd=10, control=2))[0], "missed")
        # The control is below the goal here, so the goal stands.
        self.assertEqual(outcome(Goal("qsd", 0.3), cpu(ours=3.5, qsd=10, control=2.9))[0], "missed")
        self.assertEqual(outcome(Goal("qsd", 3, RATE, True), rate(ours=18, qsd=10, control=20))[0], "met")

    def test_a_control_that_a_peer_beats_is_no_floor(self):
        self.assertEqual(outcome(Goal("qsd", 1, RATE, True), rate(ours=18, qsd=30, control=4))[0], "missed")
        self.assertEqual(outcome(Goal("qsd", 0.5), cpu(ours=2, qsd=3, control=4))[0], "missed")

    def test_a_goal_against_the_control_or_ourselves_is_never_weakened(self):
        self.assertEqual(outcome(Goal("control", 1.1), cpu(ours=2.3, control=2))[0], "missed")
        values = {"ours-2": {RATE: 15}, "ours-1": {RATE: 10}, "control": {RATE: 12}}
        self.assertEqual(outcome(Goal("ours-1", 1.6, RATE, True, subject="ours-2"), values)[0], "missed")

    def test_a_rate_that_shares_its_processors_with_the_client_is_told_its_ceiling(self):
        values = {"ours-2": {RATE: 300_000, CPU: 4, "client_cpu_us": 1}, "ours-1": {RATE: 250_000}}
        result = outcome(Goal("ours-1", 1.6, RATE, True, subject="ours-2"), values, pin=False)
        self.assertEqual(result[0], "missed")
        self.assertIn("at most 1.60 is possible", result[1])

    def test_a_goal_of_another_configuration_is_about_that_one(self):
        goal = Goal("ours", 1.25, subject="ours-epoll")
        self.assertEqual(outcome(goal, cpu(ours=4, ours_epoll=4.8))[0], "met")
        self.assertEqual(outcome(goal, cpu(ours=4, ours_epoll=5.2))[0], "missed")
        self.assertEqual(outcome(goal, cpu(ours=4))[0], "not run")

    def test_without_ours_every_goal_says_why(self):
        cell = NAMED["tls-read-1m"]
        result = CellResult(cell, rounds_of(cpu(qsd=4, nbdkit=4)), skipped={"ours": "no TLS"})
        self.assertEqual({(v.outcome, v.measured) for v in judge(cell, result)}, {("not run", "no TLS")})


class Growth(unittest.TestCase):
    cell = GROWTH_CELLS[0]

    def verdict(self, **values: list[float]):
        points = {key: {point_metric(point): value for point, value in zip(self.cell.points, costs, strict=True)}
                  for key, costs in values.items()}
        return judge(self.cell, CellResult(self.cell, rounds_of(points)))[0]

    def test_cheaper_and_slightly_dearer_points_are_flat(self):
        self.assertEqual(self.verdict(ours=[9, 3, 2.5, 2.6, 3]).outcome, "met")

    def test_growth_is_measured_from_the_cheapest_smaller_point(self):
        verdict = self.verdict(ours=[9, 3, 2, 2.4, 3.2], control=[9, 2, 2, 2, 3])
        self.assertEqual(verdict.outcome, "missed")
        self.assertIn("1.60 [1.60, 1.60] at 10,000", verdict.measured)
        self.assertIn("1.50", verdict.measured)


class Stored(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "document.json"

    def result(self, name: str, cost: float) -> CellResult:
        cell = NAMED[name]
        return CellResult(cell, rounds_of({key: {CPU: cost, RATE: cost, "p99_us": cost} for key in cell.servers}),
                          skipped={"qsd": "died"})

    def test_what_is_saved_comes_back(self):
        first = store.Store()
        first.merge(store.Run("one", "2026-01-01", "abc", "settings", {"kernel": "x"}),
                    {"read-4k-qd32": self.result("read-4k-qd32", 2.123456)})
        store.save(self.path, first)
        again = store.load(self.path)
        self.assertEqual(again.runs, first.runs)
        self.assertEqual(again.results["read-4k-qd32"].median("ours", CPU), 2.1235)
        self.assertEqual(again.results["read-4k-qd32"].skipped, {"qsd": "died"})
        store.save(self.path.with_name("second.json"), again)
        self.assertEqual(self.path.read_text(), self.path.with_name("second.json").read_text())

    def test_a_later_run_replaces_its_cells_alone_and_each_names_its_run(self):
        held = store.Store()
        held.merge(store.Run("one", "d", "aaa", "s"), {name: self.result(name, 2) for name in ("read-1m", "write-1m")})
        held.merge(store.Run("two", "d", "bbb", "s"), {"read-1m": self.result("read-1m", 3)})
        self.assertEqual({name: one.run for name, one in held.results.items()}, {"read-1m": "two", "write-1m": "one"})
        text = report.cells_page(held, layouts(small=False))
        self.assertIn("run of two, commit bbb", text)
        self.assertIn("run of one, commit aaa", text)
        held.merge(store.Run("three", "d", "ccc", "s"), {"write-1m": self.result("write-1m", 3)})
        self.assertEqual(set(held.runs), {"two", "three"})

    def test_a_cell_that_is_gone_is_left_out(self):
        held = store.Store()
        held.merge(store.Run("one", "d", "aaa", "s"), {"read-1m": self.result("read-1m", 2)})
        store.save(self.path, held)
        self.path.write_text(self.path.read_text().replace('"read-1m"', '"no-such-cell"'))
        self.assertEqual(store.load(self.path).results, {})


class FrontPage(unittest.TestCase):
    def held(self) -> store.Store:
        held = store.Store()
        values = {"ours": {CPU: 2}, "qsd": {CPU: 9}, "qsd-uring": {CPU: 8}, "nbdkit": {CPU: 6}, "control": {CPU: 1}}
        machine = {"processor": "P", "kernel": "K", "qemu-storage-daemon": "qemu-storage-daemon version 11.1.3 (D)"}
        for name in ("read-4k-qd32", "read-1m", "sync-16"):
            result = CellResult(NAMED[name], rounds_of(values))
            held.merge(store.Run("one", "2026-01-01", "abc", "s", machine), {name: result})
        return held

    def test_a_main_cell_has_a_row_with_the_best_peers_and_every_cell_a_link(self):
        text = front_page.front_page(self.held())
        self.assertIn("| [4 KiB random reads](benchmarks/cells.md#read-4k-qd32) | CPU µs/op | 2 | 8 | 6 | 1 "
                      "| 0.25 [0.25, 0.25] | 11.1.3 |", text)
        self.assertIn("The newest run is of 2026-01-01 (P, K).", text)
        self.assertIn("- [`sync-16`](benchmarks/cells.md#sync-16): ", text)
        anchors = report.cells_page(self.held(), layouts(small=False))
        for name in ("read-4k-qd32", "read-1m", "sync-16"):
            self.assertIn(f'<a id="{name}"></a>', anchors)

    def test_the_main_cells_exist(self):
        self.assertEqual([name for name, _, _ in front_page.MAIN if name not in NAMED], [])

    def test_the_chart_has_what_was_measured_as_parts_of_the_best(self):
        rows = front_page.chart_rows(front_page.rows_of(self.held()))
        self.assertEqual(rows[0], {"title": "4 KiB random reads", "ours": 0.25, "nbdkit": 0.75, "control": 0.125})
        with tempfile.TemporaryDirectory(prefix="chart-") as place:
            folder = Path(place)
            (folder / front_page.FOLDER).mkdir()
            missing = document.draw_charts(folder, rows)
            if "matplotlib" in missing:
                self.skipTest(missing)
            self.assertEqual(missing, "")
            for name in front_page.CHARTS.values():
                text = (folder / name).read_text(encoding="utf-8")
                self.assertIn("4 KiB random reads", text)
                self.assertIn("nbdkit", text)
                self.assertNotIn(" \n", text)

    def test_the_pages_are_those_of_the_stored_results(self):
        docs = Path(__file__).resolve().parent.parent / "docs"
        held = store.load(docs / "benchmarks.json")
        for name, text in (("benchmarks.md", front_page.front_page(held)),
                           ("benchmarks/goals.md", report.goals_page(held)),
                           ("benchmarks/cells.md", report.cells_page(held, layouts(small=False)))):
            self.assertIn(text, (docs / name).read_text(encoding="utf-8"), f"run bench/run.py --render: {name}")


class Qcow2(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory(prefix="images-")
        self.addCleanup(place.cleanup)
        self.folder = Path(place.name)
        nothing = Tools(*[None] * len(dataclasses.fields(Tools)))
        self.tools = dataclasses.replace(nothing, ours="daemon", qsd="qsd", control="control")
        self.meter = Meter(self.tools, Images(self.tools, self.folder, small=True), self.folder, Timing(1, 1), 2)
        for name in ("dense-pages", "qcow2", "qcow2-chain", "qcow2-1T"):
            (self.folder / f"{name}.img").touch()

    def command(self, cell: str, key: str) -> list[str]:
        return BY_KEY[key].command(self.tools, self.meter.setting(NAMED[cell], BY_KEY[key]))

    def nodes(self, cell: str, key: str) -> list[str]:
        command = self.command(cell, key)
        return [command[at + 1] for at, option in enumerate(command) if option == "--blockdev"]

    def test_the_image_has_its_driver_in_both_daemons(self):
        for key in ("ours", "qsd"):
            self.assertEqual(self.nodes("qcow2-read-4k-qd32", key),
                             [f"file,node-name=file0,filename={self.folder}/qcow2.img",
                              "qcow2,node-name=disk,file=file0"])

    def test_the_raw_path_and_the_control_have_the_raw_image_with_the_same_content(self):
        self.assertEqual(self.nodes("qcow2-read-4k-qd32", "ours-on-raw"),
                         [f"file,node-name=disk,filename={self.folder}/dense-pages.img"])
        self.assertIn(f"--image={self.folder}/dense-pages.img", self.command("qcow2-read-4k-qd32", "control"))

    def test_every_layer_of_a_chain_has_the_configuration_and_the_bottom_comes_first(self):
        nodes = self.nodes("qcow2-chain-4", "qsd-uring")
        top = f"{self.folder}/qcow2-chain.img"
        self.assertEqual(nodes[:2], [f"file,node-name=file3,filename={top}.3,aio=io_uring",
                                     "qcow2,node-name=layer3,file=file3"])
        self.assertEqual(nodes[-2:], [f"file,node-name=file0,filename={top},aio=io_uring",
                                      "qcow2,node-name=disk,file=file0,backing=layer1"])
        self.assertEqual(len(nodes), 8)
        self.assertEqual(len(self.nodes("qcow2-chain-4", "ours-one-layer")), 2)

    def test_an_image_that_is_opened_over_the_monitor_is_not_opened_before(self):
        self.assertEqual(self.nodes("qcow2-open", "ours-monitored"), ["null-co,node-name=disk,size=1048576"])
        self.assertIn("--monitor", self.command("qcow2-open", "ours-monitored"))

    def test_all_files_of_a_chain_are_removed(self):
        for number in (1, 2, 3):
            (self.folder / f"qcow2-chain.img.{number}").touch()
        self.meter.images.remove()
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_without_qemu_img_the_reason_is_told(self):
        with self.assertRaisesRegex(BenchError, "qemu-img is not installed"):
            self.meter.images.path("qcow2-empty")
        self.assertFalse((self.folder / "qcow2-empty.img").exists())

    def test_the_headings_name_both_images(self):
        text = report.conditions(NAMED["qcow2-chain-4"], layouts(small=False))
        self.assertEqual(text, "image: qcow2, 512 MiB, dense, in turn in 4 layers; image: qcow2, 512 MiB, dense; "
                               "all in the page cache")
        self.assertIn("qcow2, 1,048,576 MiB, all clusters allocated, no data",
                      report.conditions(NAMED["qcow2-open"], layouts(small=False)))


class Lists(unittest.TestCase):
    def test_cells_have_names_of_their_own_and_servers_images_and_goals_that_exist(self):
        self.assertEqual(len(NAMED), len(cells.ALL))
        for cell in cells.ALL:
            self.assertTrue(set(cell.servers) <= set(BY_KEY), cell.name)
            images = {*cell.images, *(BY_KEY[key].image for key in cell.servers if BY_KEY[key].image)}
            self.assertTrue(images <= set(layouts(small=False)), cell.name)
            peers = set(cell.servers) | {"qsd*", "peers", "none"}
            self.assertTrue({goal.peer for goal in cell.goals} <= peers, cell.name)
            self.assertTrue({goal.subject for goal in cell.goals} <= {"", *cell.servers}, cell.name)

    def test_a_prepared_server_has_the_nodes_of_its_preparation_and_a_monitor(self):
        tools = Tools(*[None] * len(dataclasses.fields(Tools)))
        tools = dataclasses.replace(tools, ours="daemon")
        setting = Setting(Path("image"), Address(path="socket"), Path("scratch"))
        for key in ("ours", "ours-bitmap", "ours-stored", "ours-frozen", "ours-scattered"):
            server = BY_KEY[key]
            command = server.command(tools, setting)
            nodes = [command[at + 1] for at, option in enumerate(command) if option == "--blockdev"]
            prepared = BY_NAME.get(server.prepared)
            wanted = prepared.nodes if prepared else ("file,node-name=disk,filename={image}",)
            self.assertEqual(nodes, [node.format(image="image", store="scratch/bitmaps") for node in wanted])
            self.assertEqual("--monitor" in command, prepared is not None, key)

    def test_the_missed_goals_are_named(self):
        cell = dataclasses.replace(NAMED["read-1m"], goals=(Goal("qsd", 0.5),))
        text = report.missed_goals({cell.name: CellResult(cell, rounds_of(cpu(ours=2, qsd=2)))})
        self.assertIn("Goals missed: 1 of 1\n  read-1m: server_cpu_us at most 0.5 x qsd: 1.00", text)


if __name__ == "__main__":
    unittest.main()
