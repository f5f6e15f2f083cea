"""Each rule of the NBD protocol that is cited by number stands on its page, one by one, and some test cites it."""

import re

PAGE = "docs/nbd-rules.md"
LISTED = re.compile(r"^- \*\*R(\d{1,3})\*\* ")
# Also inside the names of tests, as in R8_R9_greeting.
CITED = re.compile(r"(?<![A-Za-z0-9])R(\d{1,3})(?![A-Za-z0-9])")
# Whoever looks for a rule that stands inside of a range does not find it.
RANGE = re.compile(r"(?<![A-Za-z0-9])R\d{1,3}\s?(?:-|\.\.|_to_)\s?R?\d{1,3}(?![A-Za-z0-9])")
# The tests of this rule cite rules that are none.
OWN_TESTS = "tests/tidy/"


def cites(file):
    return file.path.startswith(("src/", "tests/")) and not file.path.startswith(OWN_TESTS)


def is_test(file):
    return file.path.startswith("tests/") or file.is_test


def check(files, settings):
    del settings
    page = next((file for file in files if file.path == PAGE), None)
    if page is None:
        return []
    findings = []
    listed = {}
    for number, line in enumerate(page.lines, start=1):
        match = LISTED.match(line)
        if match and match.group(1) in listed:
            findings.append(f"{PAGE}:{number}: R{match.group(1)} stands here twice")
        elif match:
            listed[match.group(1)] = number
    tested = set()
    for file in filter(cites, files):
        for number, line in enumerate(file.lines, start=1):
            where = f"{file.path}:{number}: "
            rules = CITED.findall(line)
            findings += [where + f"R{rule} is not in {PAGE}" for rule in rules if rule not in listed]
            findings += [where + f"{match.group()} is a range: cite each rule" for match in RANGE.finditer(line)]
            if is_test(file):
                tested.update(rules)
    findings += [f"{PAGE}:{number}: no test cites R{rule}" for rule, number in listed.items() if rule not in tested]
    return findings
