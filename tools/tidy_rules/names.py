"""Names are whole words. The banned ones, each with what to write instead; STYLE.md shows the same table."""

import ast
import re

BANNED = {
    "arr": "array, or what it holds",
    "buf": "buffer, bytes",
    "cb": "callback, done",
    "cfg": "options",
    "cmd": "command",
    "cnt": "count",
    "conn": "connection",
    "ctx": "context, or what it is",
    "desc": "description, descriptor",
    "dst": "target, destination",
    "elem": "element, or what it is",
    "err": "error",
    "hdr": "header",
    "helper": "what it does",
    "helpers": "what they do",
    "idx": "index",
    "impl": "what it is",
    "len": "length",
    "manager": "what it does",
    "mgr": "what it does",
    "misc": "what it is",
    "msg": "message",
    "num": "count, number",
    "opt": "option",
    "opts": "options",
    "param": "parameter",
    "params": "parameters",
    "pkt": "packet, request, reply",
    "pos": "position, offset",
    "prev": "previous",
    "ptr": "pointer, or what it points at",
    "req": "request",
    "res": "result",
    "resp": "reply",
    "ret": "result",
    "src": "source",
    "stmt": "statement",
    "str": "text",
    "sz": "size, bytes",
    "tmp": "temporary, or what it is",
    "util": "what it does",
    "utils": "what they do",
    "val": "value",
}

# Whole identifiers that others named: the standard library, the kernel, the wire.
FOREIGN = {
    "GetParam", "ai_addrlen", "c_str", "cmsg_len", "exception_ptr", "from_chars_result", "intptr_t", "iov_len", "l_len",
    "mmsghdr",
    "msg_control", "msg_controllen", "msg_flags", "msg_hdr", "msg_iov", "msg_iovlen", "msg_len", "msg_name",
    "msg_namelen", "msg_style", "msghdr", "nullptr", "nullptr_t", "opt_discard", "opt_mode", "opt_write_zero",
    "hmac_ripemd160_ctx", "ptrdiff_t", "ripemd160_ctx", "sched_param", "set_opt_mode",
    "shared_ptr", "to_chars_result", "uintptr_t", "unique_ptr", "weak_ptr",
}
FOREIGN_PREFIX = re.compile(r"(io_uring_|nbd_|gnutls_|pthread_|posix_|ZSTD_|__)")
# Words of the field: NBD calls it CAN_MULTI_CONN, and everybody says multi-conn.
# Generated types carry the schema's names, and its alternates of a name and something else are called so: FooOrStr.
DOMAIN = re.compile(r"multi_conn|MultiConn|multiconn|(?<=[a-z])OrStr$")
# The text before the name tells its owner: a library's, or a member whose name the kernel or the schema chose.
CPP_IDENTIFIER = re.compile(
    r"(?P<foreign>\b(?:std|fmt|testing|ranges|chrono|filesystem)::|\bdata\.(?=ptr\b)|[.>](?=(?:str|res|param|len)\b))?"
    r"\b(?P<name>[A-Za-z_]\w*)\b"
)
PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def parts(identifier):
    """["reply", "length"] of replyLength, reply_length or kReplyLength."""
    return [part.lower() for part in PART.findall(identifier)]


def banned_part(identifier):
    if identifier in FOREIGN or FOREIGN_PREFIX.match(identifier) or identifier.isupper():
        return None
    for part in parts(DOMAIN.sub("", identifier)):
        if part in BANNED:
            return part
    return None


def finding(path, line, identifier, part):
    return f"{path}:{line}: {identifier}: write {BANNED[part]} instead of '{part}'"


def check_cpp(file):
    findings = []
    for number, line in enumerate(file.code.split("\n"), start=1):
        if line.lstrip().startswith("#"):
            continue
        for match in CPP_IDENTIFIER.finditer(line):
            part = banned_part(match.group("name"))
            if part and not match.group("foreign"):
                findings.append(finding(file.path, number, match.group("name"), part))
    return findings


class PythonNames(ast.NodeVisitor):
    """Collects the names that a module itself chooses: what it defines, assigns and takes as parameters."""

    def __init__(self):
        self.found = []

    def visit_FunctionDef(self, node):
        self.found.append((node.lineno, node.name))
        self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_ClassDef = visit_FunctionDef

    def visit_arg(self, node):
        self.found.append((node.lineno, node.arg))
        self.generic_visit(node)

    def visit_Name(self, node):
        if isinstance(node.ctx, ast.Store):
            self.found.append((node.lineno, node.id))

    def visit_Attribute(self, node):
        if isinstance(node.ctx, ast.Store):
            self.found.append((node.lineno, node.attr))
        self.generic_visit(node)


def check_python(file):
    try:
        module = ast.parse(file.text)
    except SyntaxError as problem:
        return [f"{file.path}:{problem.lineno}: does not parse: {problem.msg}"]
    collector = PythonNames()
    collector.visit(module)
    return [finding(file.path, line, name, part) for line, name in collector.found if (part := banned_part(name))]


def check_path(file):
    stem = file.name.split(".")[0]
    part = banned_part(stem)
    return [finding(file.path, 1, stem, part)] if part else []


def check(files, settings):
    del settings
    findings = []
    for file in files:
        if file.is_cpp:
            findings += check_cpp(file) + check_path(file)
        elif file.is_python:
            findings += check_python(file) + check_path(file)
    return findings
