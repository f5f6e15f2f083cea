"""Completion of `blockexport` for bash, zsh and fish, from the tree that `blockexport __describe` prints.

Values are completed by kind: files, directories, fixed words, or exports, nodes and clients, for which the shell runs
`blockexport __complete KIND` with the --monitor of the line.
"""

from __future__ import annotations

from collections.abc import Iterator

# Of values that are no words of a fixed list: what they name. Others are numbers or free text.
_KINDS = {
    "file": ("--monitor", "FILE", "IMAGE", "IMAGES", "TARGET", "FIRST", "SECOND", "--backing-file", "--source-file",
             "--output", "--ca-key", "--certificate"),
    "directory": ("DIR", "DIRECTORY", "--into", "--tls", "--scratch-directory"),
    "exports": ("EXPORT", "--export"),
    "nodes": ("--disk",),
    "clients": ("CLIENT",),
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}
LIVE_KINDS = ("exports", "nodes", "clients")


def kind_of(entry: dict) -> str:
    """What the value of an option or of an argument is: a kind above, "words", or "" when nothing is known."""
    if "choices" in entry:
        return "words"
    names = entry.get("names") or [entry["name"]]
    return next((_KIND_OF[name] for name in names if name in _KIND_OF), "")


def commands(tree: dict, path: tuple[str, ...] = ()) -> Iterator[tuple[str, dict]]:
    """Each command, and the program itself, with its words."""
    yield " ".join(path), tree
    for command in tree["commands"]:
        yield from commands(command, (*path, command["name"]))


def valued(command: dict) -> list[tuple[str, dict]]:
    """The names of options with a value."""
    return [(name, option) for option in command["options"] if "value" in option for name in option["names"]]


def quoted(text: str) -> str:
    """For sh and its like."""
    return "'" + text.replace("'", "'\\''") + "'"


def _value(entry: dict) -> str:
    kind = kind_of(entry)
    return f"words {' '.join(entry['choices'])}" if kind == "words" else kind


def _tables(tree: dict) -> str:
    """Functions for bash and zsh: the words below a command, its options, and what its values are."""
    below, options, with_value, values, arguments = [], [], [], [], []
    for path, command in commands(tree):
        case = f"    {quoted(path)})"
        if command["commands"]:
            below.append(f"{case} echo {quoted(' '.join(one['name'] for one in command['commands']))} ;;")
        names = [name for option in command["options"] for name in option["names"]]
        options.append(f"{case} echo {quoted(' '.join(names))} ;;")
        for name, option in valued(command):
            with_value.append(quoted(f"{path} {name}"))
            if _value(option):
                values.append(f"    {quoted(f'{path} {name}')}) echo {quoted(_value(option))} ;;")
        for number, argument in enumerate(command["arguments"], 1):
            if not _value(argument):
                continue
            pattern = f"{quoted(path + ' ')}*" if argument["repeatable"] else quoted(f"{path} {number}")
            arguments.append(f"    {pattern}) echo {quoted(_value(argument))} ;;")
    return f"""\
_blockexport_commands() {{
  case "$1" in
{chr(10).join(below)}
  esac
}}

_blockexport_options() {{
  case "$1" in
{chr(10).join(options)}
  esac
}}

_blockexport_takes_value() {{
  case "$1 $2" in
    {'|'.join(with_value)}) return 0 ;;
  esac
  return 1
}}

_blockexport_value() {{
  case "$1 $2" in
{chr(10).join(values)}
  esac
}}

_blockexport_argument() {{
  case "$1 $2" in
{chr(10).join(arguments)}
  esac
}}
"""


_BASH = r"""
# Sets reply_path (the command), reply_kind (what the present word is) and reply_monitor.
_blockexport_parse() {
  local word known skips="" number=1
  reply_path="" reply_monitor="" reply_kind=""
  while (($# > 1)); do
    word=$1
    shift
    if [[ -n $skips ]]; then
      [[ $skips == --monitor ]] && reply_monitor=$word
      skips=""
    elif [[ $word == --monitor=* ]]; then
      reply_monitor=${word#*=}
    elif [[ $word == -* ]]; then
      _blockexport_takes_value "$reply_path" "$word" && skips=$word
    else
      known=" $(_blockexport_commands "$reply_path") "
      if [[ $known == *" $word "* ]]; then
        reply_path="${reply_path:+$reply_path }$word"
      else
        number=$((number + 1))
      fi
    fi
  done
  if [[ -n $skips ]]; then
    reply_kind=$(_blockexport_value "$reply_path" "$skips")
    [[ -n $reply_kind ]] || reply_kind=nothing
  elif [[ $1 == --*=* ]]; then
    reply_kind=$(_blockexport_value "$reply_path" "${1%%=*}")
    [[ -n $reply_kind ]] || reply_kind=nothing
  elif [[ $1 == -* ]]; then
    reply_kind="words $(_blockexport_options "$reply_path")"
  else
    known=$(_blockexport_commands "$reply_path")
    if [[ -n $known ]]; then
      reply_kind="words $known"
    else
      reply_kind=$(_blockexport_argument "$reply_path" "$number")
    fi
  fi
}

# Prints the words of a kind that a running daemon knows, a line each.
_blockexport_live() {
  command blockexport __complete ${reply_monitor:+"--monitor=$reply_monitor"} "$1" 2>/dev/null
}
"""


def bash(tree: dict) -> str:
    """The script for bash."""
    return f"""# Completion of blockexport for bash. It is made by tools/manual.
{_tables(tree)}{_BASH}
_blockexport() {{
  local IFS=$' \\t\\n' reply_path reply_kind reply_monitor present word words=() line
  COMPREPLY=()
  # Bash makes words of their own of the signs in COMP_WORDBREAKS, such as '=': they are joined again.
  line=${{COMP_LINE:0:COMP_POINT}}
  read -r -a words <<<"$line"
  if [[ -z $line || $line == *[[:space:]] ]]; then words+=(""); fi
  _blockexport_parse "${{words[@]:1}}"
  present=${{words[${{#words[@]}} - 1]}}
  if [[ $present == --*=* ]]; then present=${{present#*=}}; fi
  case $reply_kind in
    words\\ *) mapfile -t COMPREPLY < <(compgen -W "${{reply_kind#words }}" -- "$present") ;;
    file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$present") ;;
    directory) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$present") ;;
    exports | nodes | clients)
      while IFS= read -r word; do
        if [[ $word == "$present"* ]]; then COMPREPLY+=("$(printf '%q' "$word")"); fi
      done < <(_blockexport_live "$reply_kind")
      ;;
  esac
}}

complete -F _blockexport blockexport
"""


def zsh(tree: dict) -> str:
    """The script for zsh."""
    summaries = "\n".join(f"    {quoted(path)}) echo {quoted(command['description'])} ;;"
                          for path, command in commands(tree) if path)
    parse = _BASH.replace("(($# > 1))", "(( $# > 1 ))")
    return f"""#compdef blockexport
# Completion of blockexport for zsh. It is made by tools/manual.
{_tables(tree)}
_blockexport_summary() {{
  case "$1" in
{summaries}
  esac
}}
{parse}
_blockexport() {{
  local reply_path reply_kind reply_monitor word summary
  local -a found shown
  _blockexport_parse "${{(@)words[2,CURRENT]}}"
  if [[ $words[CURRENT] == --*=* ]]; then compset -P '*='; fi
  case $reply_kind in
    words\\ *)
      found=(${{=reply_kind#words }})
      for word in $found; do
        summary=$(_blockexport_summary "${{reply_path:+$reply_path }}$word")
        shown+=("$word${{summary:+  $summary}}")
      done
      compadd -l -d shown -a found
      ;;
    file) _files ;;
    directory) _files -/ ;;
    exports | nodes | clients)
      found=("${{(@f)$(_blockexport_live $reply_kind)}}")
      found=(${{found:#}})
      compadd -a found
      ;;
  esac
}}

if [[ $funcstack[1] == _blockexport ]]; then _blockexport "$@"; else compdef _blockexport blockexport; fi
"""


_FISH = r"""
# The words of the command on the line, and whether the present word is an argument of it with this number.
function __blockexport_path
    set -l tokens (commandline -opc)
    set -l path
    for word in $tokens[2..-1]
        if string match -q -- '-*' $word
            continue
        end
        if contains -- $word (__blockexport_commands "$path")
            set -a path $word
        end
    end
    echo "$path"
end

function __blockexport_at
    test (__blockexport_path) = "$argv[1]"
end

# Prints the number of the argument that is being typed.
function __blockexport_number
    set -l tokens (commandline -opc)
    set -l path
    set -l number 1
    set -l skips no
    for word in $tokens[2..-1]
        if test $skips = yes
            set skips no
        else if string match -q -- '-*' $word
            __blockexport_takes_value "$path" $word; and set skips yes
        else if contains -- $word (__blockexport_commands "$path")
            set -a path $word
        else
            set number (math $number + 1)
        end
    end
    echo $number
end

function __blockexport_argument
    __blockexport_at "$argv[1]"; and test (__blockexport_number) -ge $argv[2] -a (__blockexport_number) -le $argv[3]
end

# Prints the words of a kind that a running daemon knows.
function __blockexport_live
    set -l tokens (commandline -opc)
    set -l monitor
    set -l place (contains -i -- --monitor $tokens); and set monitor --monitor $tokens[(math $place + 1)]
    set -l joined (string replace -f -r -- '^--monitor=' '' $tokens); and set monitor --monitor $joined[1]
    command blockexport __complete $monitor $argv[1] 2>/dev/null
end

complete -c blockexport -f
"""


def fish_quoted(text: str) -> str:
    """For fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_value(entry: dict) -> str:
    kind = kind_of(entry)
    if kind == "words":
        return f"-xa {fish_quoted(' '.join(entry['choices']))}"
    if kind in LIVE_KINDS:
        return f"-xa {fish_quoted(f'(__blockexport_live {kind})')}"
    return {"file": "-rF", "directory": "-xa '(__fish_complete_directories)'"}.get(kind, "-x")


def fish(tree: dict) -> str:
    """The script for fish."""
    below = []
    for path, command in commands(tree):
        if command["commands"]:
            names = " ".join(one["name"] for one in command["commands"])
            below.append(f"        case {fish_quoted(path)}\n            printf '%s\\n' {names}")
    with_value = [fish_quoted(f"{path} {name}") for path, command in commands(tree) for name, _ in valued(command)]
    lines = []
    for path, command in commands(tree):
        at = fish_quoted(f'__blockexport_at "{path}"')
        for one in command["commands"]:
            lines.append(f"complete -c blockexport -n {at} -a {one['name']} -d {fish_quoted(one['description'])}")
        for option in command["options"]:
            names = " ".join(f"-{'l' if name.startswith('--') else 's'} {name.lstrip('-')}" for name in option["names"])
            value = f" {_fish_value(option)}" if "value" in option else ""
            lines.append(f"complete -c blockexport -n {at} {names}{value} -d {fish_quoted(option['description'])}")
        for number, argument in enumerate(command["arguments"], 1):
            if kind_of(argument):
                last = 100000 if argument["repeatable"] else number
                when = fish_quoted(f'__blockexport_argument "{path}" {number} {last}')
                # An argument is none of an option's: then -r would make fish wait for one.
                value = _fish_value(argument).replace("-xa", "-a").replace("-rF", "-F")
                lines.append(f"complete -c blockexport -n {when} {value}")
    return f"""# Completion of blockexport for fish. It is made by tools/manual.
function __blockexport_commands
    switch "$argv[1]"
{chr(10).join(below)}
    end
end

function __blockexport_takes_value
    contains -- "$argv[1] $argv[2]" {' '.join(with_value)}
end
{_FISH}
{chr(10).join(lines)}
"""
