"""A test that asserts nothing is not a test. An assertion counts where it is written and in what the test calls."""

import ast
import re

from . import cpp

ASSERTION = re.compile(r"\b(\w*(?:EXPECT|ASSERT)_\w+|ADD_FAILURE\w*|CO_ASSERT|FAIL|static_assert)\s*\(")
CALL = re.compile(r"\b(\w+)\s*(?:<[^<>;]*>)?\s*\(")
CPP_TEST = re.compile(cpp.TEST.pattern + r"\(")
PYTHON_ASSERTION = re.compile(r"_*(assert|expect|check|verify|fail)", re.IGNORECASE)


def spread(bodies, asserting):
    """Adds to `asserting` the names whose bodies call one of them, again and again; bodies: name -> names it calls."""
    grown = True
    while grown:
        grown = False
        for name, called in bodies.items():
            if name not in asserting and called & asserting:
                asserting.add(name)
                grown = True
    return asserting


def check_cpp(files):
    entries = [(file, entry) for file in files if file.is_cpp for entry in cpp.functions(file.code)]
    bodies = {}
    asserting = set()
    for file, entry in entries:
        if CPP_TEST.match(entry.name) or not (file.is_test or file.source_folder is None):
            continue
        name = entry.name.split("::")[-1]
        bodies.setdefault(name, set()).update(CALL.findall(entry.body))
        if ASSERTION.search(entry.body):
            asserting.add(name)
    spread(bodies, asserting)
    return [
        f"{file.path}:{entry.first_line}: {entry.name} asserts nothing"
        for file, entry in entries
        if CPP_TEST.match(entry.name)
        and not ASSERTION.search(entry.body)
        and not asserting & set(CALL.findall(entry.body))
    ]


def calls(function):
    """The last words of what a function calls: {"assertEqual"} of self.assertEqual(...)."""
    called = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "") for node in called}


def asserts_itself(function):
    return any(isinstance(node, ast.Assert) for node in ast.walk(function)) or any(
        PYTHON_ASSERTION.match(name) for name in calls(function)
    )


FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def check_python(files):
    """Names are followed over all files; a class that asserts in tearDown does so for each of its tests."""
    modules = {}
    for file in files:
        if file.is_python:
            try:
                modules[file.path] = ast.parse(file.text)
            except SyntaxError:
                continue
    functions = [node for module in modules.values() for node in ast.walk(module) if isinstance(node, FUNCTION)]
    classes = [node for module in modules.values() for node in ast.walk(module) if isinstance(node, ast.ClassDef)]
    plain = [node for node in functions if node.name not in ("tearDown", "setUp", "__init__", "run")]
    bodies = {}
    for node in plain:
        bodies.setdefault(node.name, set()).update(calls(node))
    asserting = spread(bodies, {node.name for node in plain if asserts_itself(node)})

    def asserts(function):
        return asserts_itself(function) or bool(calls(function) & asserting)

    covered = {
        entry.name
        for entry in classes
        for node in entry.body
        if isinstance(node, FUNCTION) and node.name == "tearDown" and asserts(node)
    }
    bases = {entry.name: {getattr(base, "id", getattr(base, "attr", "")) for base in entry.bases} for entry in classes}
    spread(bases, covered)
    excused = {node for entry in classes if entry.name in covered for node in ast.walk(entry)}
    return [
        f"{path}:{node.lineno}: {node.name} asserts nothing"
        for path, module in modules.items()
        for node in ast.walk(module)
        if isinstance(node, FUNCTION) and node.name.startswith("test_") and node not in excused and not asserts(node)
    ]


def check(files, settings):
    del settings
    return check_cpp(files) + check_python(files)
