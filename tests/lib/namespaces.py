"""Servers in a mount namespace of their own, in which a test provides sockets at paths that belong to the system."""

import functools
import os
import shutil
import subprocess


@functools.cache
def unshare():
    """The command that enters a mount namespace, or None where the system permits none."""
    if shutil.which("unshare") is None:
        return None
    command = ["unshare", "-m"] if os.getuid() == 0 else ["unshare", "-rm"]
    probe = subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True, timeout=60,
                           check=False)
    return command if probe.returncode == 0 else None


def prefix(script):
    """A command that becomes the one behind it, after a shell script has mounted things that it alone sees."""
    return [*unshare(), "/bin/sh", "-ec", script + '\nexec "$@"', "sh"]


def with_journal(directory):
    """/run/systemd/journal is this directory."""
    return prefix("mount -t tmpfs tmpfs /run\nmkdir -p /run/systemd/journal\n"
                  f"mount --bind {directory} /run/systemd/journal")


def with_syslog(directory):
    """/dev/log is the socket `log` in this directory; of the devices only a few are there."""
    return prefix("mount -t tmpfs tmpfs /mnt\nmkdir /mnt/dev\nmount --rbind /dev /mnt/dev\n"
                  "mount -t tmpfs tmpfs /dev\nfor name in null zero full random urandom; do\n"
                  "touch /dev/$name; mount --bind /mnt/dev/$name /dev/$name\ndone\n"
                  f"mkdir /dev/shm\nmount --rbind /mnt/dev/shm /dev/shm\nln -s {directory}/log /dev/log")
