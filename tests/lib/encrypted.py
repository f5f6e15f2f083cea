"""Encrypted images by QEMU's tools, and QEMU's requests to them."""

import unittest

from lib import tools

SECRET = "open sesame"

# Ways to encrypt that QEMU's packaged tools and we have: cipher, mode, generator of initialization vectors.
WAYS = [(cipher, mode, generator)
        for cipher in ("aes-128", "aes-192", "aes-256", "serpent-128", "serpent-192", "serpent-256", "twofish-128",
                       "twofish-192", "twofish-256")
        for mode in ("xts", "cbc", "ecb")
        for generator in ("plain", "plain64", "essiv")
        # QEMU ends with an assertion where the key material is no whole number of sectors.
        if not (cipher.endswith("-192") and mode != "xts")]


def secret(name="sec0", content=SECRET):
    """The option of QEMU's tools that makes a secret."""
    return ["--object", f"secret,id={name},data={content}"]


def make(path, image_format, size, *options):
    """An image that the secret `sec0` opens, by qemu-img. SkipTest if it knows no such encryption."""
    prefix = "encrypt." if image_format == "qcow2" else ""
    words = [f"{prefix}key-secret=sec0", f"{prefix}iter-time=10", *options]
    if image_format == "qcow2":
        words.insert(0, "encrypt.format=luks")
    # Some versions measure too short a time to be sure, and fail.
    for _ in range(20):
        result = tools.finish("qemu-img", "create", "-q", "-f", image_format, *secret(), "-o", ",".join(words), path,
                              str(size))
        if result.returncode == 0:
            return path
        if "accurate CPU usage" not in result.stderr:
            raise unittest.SkipTest(result.stderr.strip())
    raise unittest.SkipTest("qemu-img cannot measure the processor's time")


def image_options(path, image_format, name="sec0"):
    """An encrypted image as QEMU's tools open it, after --image-opts."""
    key = "encrypt.format=luks,encrypt.key-secret" if image_format == "qcow2" else "key-secret"
    return f"driver={image_format},{key}={name},file.driver=file,file.filename={path}"


def qemu_io(path, image_format, *commands, content=SECRET):
    """Runs commands of qemu-io, each of which must succeed."""
    words = [word for command in commands for word in ("-c", command)]
    return tools.run("qemu-io", *secret(content=content), "--image-opts", image_options(path, image_format), *words)


def opens(path, image_format, content):
    """Whether QEMU opens the image with that passphrase."""
    return tools.finish("qemu-io", *secret(content=content), "--image-opts", image_options(path, image_format), "-c",
                        "read 0 512").returncode == 0
