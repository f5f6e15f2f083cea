"""The table of states and verbs of jobs: each cell that a client can reach, against src/jobs/job_verbs.txt.

With qemu-storage-daemon as the server under test it is this program that the table is compared with: its mirror and
backup jobs reach nearly all states. Ours has jobs that create files.
"""

import os
import unittest

from lib import settings
from lib.images import MIB
from lib.testcase import DaemonTest, null_node
from lib.wait import until

TABLE = os.path.join(settings.ROOT, "src", "jobs", "job_verbs.txt")
# States that a client never sees: a job of a server runs as soon as it is made, and aborts within one turn.
UNSEEN = ("created", "aborting")


def table():
    """{(state, verb): accepted} of the file."""
    cells, states = {}, []
    with open(TABLE, encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if not words or line.startswith("#"):
                continue
            if words[0] == "verb":
                states = words[1:]
                continue
            cells.update({(state, words[0]): word == "yes" for state, word in zip(states, words[1:], strict=True)})
    return cells


class VerbsTest(DaemonTest):
    """Against one server."""

    @classmethod
    def prepare(cls):
        return [*null_node("from", 64 * MIB), *null_node("small", MIB), *null_node("to", 64 * MIB),
                *null_node("small-to", MIB)]

    def setUp(self):
        self.number = 0

    def status(self, job):
        """The state of the job; empty when there is none."""
        return next((one["status"] for one in self.qmp.execute("query-jobs") if one["id"] == job), "")

    def reach(self, job, state):
        """Waits until the job has that state."""
        until(lambda: self.status(job) == state, what=f"job {job} to be {state}")

    def begin(self, state):
        """Makes a job of that state and returns its ID."""
        self.number += 1
        job = f"{state}{self.number}"
        (self.begin_qemu if settings.is_qemu() else self.begin_ours)(job, state)
        self.reach(job, state)
        return job

    def begin_ours(self, job, state):
        """Jobs of our server create files."""
        options = {"driver": "file", "filename": self.path("new.img"), "size": 1 << 40, "preallocation": "full"}
        if state == "concluded":
            options = {"driver": "file", "filename": self.path("new.img"), "size": MIB}
        self.qmp.execute("blockdev-create", {"job-id": job, "options": options})
        if state == "paused":
            self.qmp.execute("job-pause", {"id": job})

    def begin_qemu(self, job, state):
        """Jobs of qemu-storage-daemon copy nodes without bytes, fast or slowly."""
        slow = {"job-id": job, "device": "from", "target": "to", "sync": "full", "auto-dismiss": False, "speed": 65536}
        fast = {**slow, "device": "small", "target": "small-to", "speed": 0}
        if state in ("running", "paused"):
            self.qmp.execute("blockdev-mirror", slow)
            if state == "paused":
                self.qmp.execute("job-pause", {"id": job})
        elif state in ("ready", "standby"):
            self.qmp.execute("blockdev-mirror", fast)
            self.reach(job, "ready")
            if state == "standby":
                self.qmp.execute("job-pause", {"id": job})
        elif state == "waiting":
            self.qmp.execute("transaction", {
                "actions": [{"type": "blockdev-backup", "data": one} for one in
                            (fast, {**slow, "job-id": job + "-slow"})],
                "properties": {"completion-mode": "grouped"}})
        else:
            self.qmp.execute("blockdev-backup", {**fast, "auto-finalize": state != "pending"})

    def give(self, verb, job):
        """Gives the job a verb and returns the answer."""
        if verb == "set-speed":
            return self.qmp.command("block-job-set-speed", {"device": job, "speed": 65536})
        if verb == "change":
            return self.qmp.command("block-job-change", {"id": job, "type": "mirror", "copy-mode": "background"})
        return self.qmp.command("job-" + verb, {"id": job})

    def end(self):
        """Takes all jobs away."""
        for job in [one["id"] for one in self.qmp.execute("query-jobs")]:
            self.qmp.command("job-cancel", {"id": job})
            if self.status(job):
                self.reach(job, "concluded")
                self.qmp.execute("job-dismiss", {"id": job})

    def check(self, state, verb, accepted):
        """One cell."""
        job = self.begin(state)
        answer = self.give(verb, job)
        text = answer.get("error", {}).get("desc", "")
        if answer.get("error", {}).get("class") == "CommandNotFound":
            return  # an older version
        if verb == "resume" and state not in ("paused", "standby"):
            self.assertEqual(text, "Can't resume a job that was not paused")
        elif verb == "pause" and state in ("paused", "standby"):
            self.assertEqual(text, "Job is already paused")
        elif verb in ("set-speed", "change") and not settings.is_qemu():
            self.assertEqual(answer["error"],
                             {"class": "DeviceNotActive", "desc": f"Block job '{job}' not found"})
        elif accepted:
            self.assertNotIn("cannot accept command verb", text)
            if verb not in ("change", "complete"):
                self.assertEqual(text, "")
        else:
            self.assertEqual(text, f"Job '{job}' in state '{state}' cannot accept command verb '{verb}'")

    def test_each_cell(self):
        """Each verb is accepted or refused as the table says, with the message of the state."""
        states = {"running", "paused", "concluded"}
        if settings.is_qemu():
            states |= {"ready", "standby", "waiting", "pending"}
        cells = [(cell, accepted) for cell, accepted in table().items() if cell[0] in states]
        self.assertEqual(len(cells), 8 * len(states))
        for (state, verb), accepted in cells:
            with self.subTest(state=state, verb=verb):
                self.check(state, verb, accepted)
            self.end()

    def test_the_table_is_whole(self):
        """It has every state that a job can be in, and eight verbs."""
        cells = table()
        states = {state for state, _ in cells}
        self.assertEqual(states, {"running", "paused", "ready", "standby", "waiting", "pending", "concluded", *UNSEEN})
        self.assertEqual(len(cells), 8 * len(states))

    def test_a_second_pause_is_refused(self):
        """A job that the user paused is not paused again, and one that was not is not resumed."""
        job = self.begin("paused")
        self.assertEqual(self.qmp.failure("job-pause", {"id": job})[1], "Job is already paused")
        self.qmp.execute("job-resume", {"id": job})
        self.assertEqual(self.qmp.failure("job-resume", {"id": job})[1], "Can't resume a job that was not paused")
        self.end()


if __name__ == "__main__":
    unittest.main()
