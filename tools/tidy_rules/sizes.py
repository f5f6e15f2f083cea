"""Files and functions stay small. What is over the limit may be excused in tools/layers.toml, and then only shrink."""

import ast

from . import cpp


def check(files, settings):
    limits = settings["limits"]
    file_lengths = {}
    function_lengths = {}
    for file in files:
        if not (file.is_cpp or file.is_python or file.is_shell):
            continue
        file_lengths[file.path] = (len(file.text.splitlines()), 1)
        for name, line, length in functions_of(file):
            key = f"{file.path}:{name}"
            if length > function_lengths.get(key, (0, 0))[0]:
                function_lengths[key] = (length, line)
    return judge(file_lengths, limits["file_lines"], settings.get("excused_files", {}), "file") + judge(
        function_lengths, limits["function_lines"], settings.get("excused_functions", {}), "function"
    )


def functions_of(file):
    """(name, first line, number of lines) of each function of a C++ or Python file."""
    if file.is_cpp:
        return [(entry.name, entry.first_line, entry.line_count) for entry in cpp.functions(file.code)]
    if not file.is_python:
        return []
    try:
        module = ast.parse(file.text)
    except SyntaxError:
        return []
    return [
        (node.name, node.lineno, node.end_lineno - node.lineno + 1)
        for node in ast.walk(module)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


def judge(lengths, limit, excused, what):
    findings = []
    for key, (length, line) in lengths.items():
        allowed = excused.get(key, limit)
        path = key.split(":")[0]
        name = key.partition(":")[2] or "file"
        if length > allowed:
            findings.append(f"{path}:{line}: {name} has {length} lines (limit {allowed})")
        elif key in excused and length < allowed:
            advice = f"lower its excuse to {length}" if length > limit else "remove its excuse"
            findings.append(f"{path}:{line}: {name} shrank to {length} lines: {advice} in tools/layers.toml")
    for key in excused.keys() - lengths.keys():
        findings.append(f"tools/layers.toml:1: the excused {what} {key} is gone: remove its excuse")
    return findings
