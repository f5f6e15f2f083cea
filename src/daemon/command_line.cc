#include "daemon/command_line.h"

#include <fmt/format.h>
#include <getopt.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string_view>

#include "aio/threads/reactor_pool.h"
#include "base/print.h"
#include "base/similar_text.h"
#include "control/core/version.h"
#include "control/objects/secret_option.h"

namespace blockexport::daemon {
namespace {

enum Code {
  kHelp = 'h',
  kVersion = 'V',
  kTrace = 'T',
  kBlockdev = 256,
  kChardev,
  kDaemonize,
  kExport,
  kMonitor,
  kNbdServer,
  kListen,
  kMetrics,
  kObject,
  kPidfile,
  kLogFile,
  kLogFormat,
  kLogLevel,
  kAioBackend,
  kReactors,
  kPolling,
  kShutdownGrace,
  kImageReferences,
  kConfig,
  kCheckConfig,
  kDeep,
  kSandbox,
  kUser,
};

constexpr option kOptions[] = {{"aio-backend", required_argument, nullptr, kAioBackend},
                               {"blockdev", required_argument, nullptr, kBlockdev},
                               {"chardev", required_argument, nullptr, kChardev},
                               {"check-config", no_argument, nullptr, kCheckConfig},
                               {"config", required_argument, nullptr, kConfig},
                               {"deep", no_argument, nullptr, kDeep},
                               {"daemonize", no_argument, nullptr, kDaemonize},
                               {"export", required_argument, nullptr, kExport},
                               {"help", no_argument, nullptr, kHelp},
                               {"image-references", required_argument, nullptr, kImageReferences},
                               {"monitor", required_argument, nullptr, kMonitor},
                               {"log-file", required_argument, nullptr, kLogFile},
                               {"log-format", required_argument, nullptr, kLogFormat},
                               {"log-level", required_argument, nullptr, kLogLevel},
                               {"listen", required_argument, nullptr, kListen},
                               {"metrics", required_argument, nullptr, kMetrics},
                               {"nbd-server", required_argument, nullptr, kNbdServer},
                               {"object", required_argument, nullptr, kObject},
                               {"pidfile", required_argument, nullptr, kPidfile},
                               {"polling", required_argument, nullptr, kPolling},
                               {"reactors", required_argument, nullptr, kReactors},
                               {"sandbox", required_argument, nullptr, kSandbox},
                               {"shutdown-grace-seconds", required_argument, nullptr, kShutdownGrace},
                               {"trace", required_argument, nullptr, kTrace},
                               {"user", required_argument, nullptr, kUser},
                               {"version", no_argument, nullptr, kVersion},
                               {nullptr, 0, nullptr, 0}};

constexpr char kHelpText[] = R"(Usage: {0} [options]
Exports disk images as network block devices, driven by these options and by QMP.

  -h, --help             show this help and exit
  -V, --version          show the version and exit
  -T, --trace [enable=]PATTERN[,events=FILE][,file=FILE]
                         switch on trace events ('--trace help' lists them)

  --blockdev [driver=]DRIVER,node-name=NAME[,...]
                         make a block node: file, host_device, raw, qcow2, luks, throttle, copy-before-write,
                         snapshot-access, copy-on-read, compress, preallocate, quorum, blkverify, blklogwrites,
                         null-co, null-aio, blkdebug; for reading: vdi, vpc, vmdk, vhdx, parallels

  --export [type=]nbd,id=ID,node-name=NODE[,name=NAME][,writable=on|off][,description=TEXT]
           [,allocation-depth=on|off][,writethrough=on|off][,iothread=ID][,tls-authz=ID]
                         offer a node to NBD clients; needs --nbd-server before it

  --nbd-server addr.type=inet,addr.host=HOST,addr.port=PORT[,max-connections=N][,handshake-max-seconds=N]
               [,tls-creds=ID][,tls-authz=ID]
  --nbd-server addr.type=unix,addr.path=PATH[,...]
  --nbd-server addr.type=fd,addr.str=FD[,...]
                         start the NBD server
  --listen [type=]inet|unix|vsock|fd,...
                         one more address for the NBD server; may be given several times

  --metrics [listen=]unix:PATH|HOST:PORT[,host=NAME][,per-client=on|off][,latency=on|off]
                         serve counters to Prometheus over HTTP (/metrics, /healthz, /readyz); may be given several
                         times

  --chardev BACKEND,id=ID[,...]
                         make a character device: socket, stdio, file, null
  --monitor [chardev=]ID[,mode=control][,pretty=on|off]
                         answer QMP on a character device
  --object TYPE,id=ID[,...]
                         make an object: secret, tls-creds-x509, tls-creds-psk, tls-creds-anon, authz-list,
                         authz-list-file, authz-pam, authz-simple, throttle-group, iothread, monitor-qmp

  --config FILE          make what a configuration file says, and the files in conf.d and exports.d beside it, after
                         the other options; SIGHUP then reads them again
  --check-config [--deep]
                         check the files of --config, print every error and exit with 0 or 2; with --deep also open
                         the images, read-only, and the credentials
  --daemonize            go to the background once everything is set up; standard error stays open for the log
                         unless it is a terminal or a pipe: then syslog gets the log
  --pidfile PATH         write the process ID to a file
  --log-file FILE        append the log to a file instead of writing it to standard error
  --log-level error|warning|info|debug
                         write lines up to this level; with 'info' and 'debug' also a line for each client that
                         comes, is refused or leaves (default: info; without --config, without lines about single
                         clients)
  --log-format auto|text|json|journal
                         write text, a JSON object per line, or records for systemd's journal (default: auto, the
                         journal where standard error is its stream, else text)
  --aio-backend auto|io_uring|epoll
                         how to wait for input and output (default: auto)
  --reactors auto|N      serve clients of exports without an iothread on up to N threads, started as they are
                         needed (default: auto, as many as there are processors)
  --polling auto|off     poll for a client's next request for a short time before a thread sleeps, while that pays
                         (default: auto). Threads of iothread objects follow their own options
  --image-references allow|deny|DIRECTORY
                         open the backing and data files that images name: any of them, none, or files beneath a
                         directory; several directories may be given (default: allow). Nodes that --blockdev or
                         QMP defines may use all files
  --sandbox off|seccomp|full[,images=PATH][,credentials=PATH][,state=PATH][,sockets=PATH]
                         give up capabilities and the system calls that the daemon does not use (seccomp), and also
                         all files that are not beneath these paths (full); each may be given several times
                         (default: off)
  --user NAME[:GROUP]    become this user before anything but the log file is opened
  --shutdown-grace-seconds N
                         when the daemon ends, give clients N seconds to receive the replies to their requests
                         (default: 1; 0 to 3600). A second SIGTERM or SIGINT ends it at once

An option with 'help' as its argument lists what there is: --blockdev help, --export help, --object help,
--chardev help; with a type before it the options of that type: --blockdev file,help, --object secret,help.

Example, an image for every program on this machine:
  {0} --blockdev file,node-name=disk,filename=disk.img \
      --nbd-server addr.type=unix,addr.path=/tmp/disk.sock \
      --export nbd,id=disk,node-name=disk,writable=on
  nbdinfo 'nbd+unix:///disk?socket=/tmp/disk.sock'
)";

// The manual page is made from the help, so that an option that has an entry here has one there, too.
consteval bool help_has_every_option() {
  constexpr std::string_view help = kHelpText;
  for (const option& one : kOptions) {
    if (one.name == nullptr) break;
    const std::string_view name = one.name;
    bool is_there = false;
    for (std::size_t at = help.find(name); at != std::string_view::npos && !is_there; at = help.find(name, at + 1)) {
      is_there = at >= 2 && help.substr(at - 2, 2) == "--" && std::string_view(" \n").contains(help[at + name.size()]);
    }
    if (!is_there) return false;
  }
  return true;
}
static_assert(help_has_every_option());

std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

void print_version(std::string_view program) {
  print(stdout, "{} version {} (interface of qemu-storage-daemon {}.{})\n", program, control::kProgramVersion,
        control::kCompatibleMajor, control::kCompatibleMinor);
}

Result<> take_backend(CommandLine& line, std::string_view name) {
  if (name == "auto") {
    line.backend = aio::BackendKind::kAuto;
  } else if (name == "io_uring") {
    line.backend = aio::BackendKind::kIoUring;
  } else if (name == "epoll") {
    line.backend = aio::BackendKind::kEpoll;
  } else {
    return fail("must be 'auto', 'io_uring' or 'epoll'");
  }
  return {};
}

// Parses a number from `least` to `most`; nothing if it is none.
std::optional<std::uint32_t> number_in(std::string_view text, std::uint32_t least, std::uint32_t most) {
  std::uint32_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < least || number > most) return std::nullopt;
  return number;
}

Result<> take_reactors(CommandLine& line, std::string_view text) {
  line.reactors = number_in(text, 1, aio::kDataReactorsMax);
  if (line.reactors || text == "auto") return {};
  return fail(fmt::format("must be 'auto' or a number from 1 to {}", aio::kDataReactorsMax));
}

// Sets line.polling. Error: `text` is no such word.
Result<> take_polling(CommandLine& line, std::string_view text) {
  if (text != "auto" && text != "off") return fail("must be 'auto' or 'off'");
  line.polling = text == "off" ? Polling::kOff : Polling::kAuto;
  return {};
}

Result<> take_shutdown_grace(CommandLine& line, std::string_view text) {
  const auto seconds = number_in(text, 0, kShutdownGraceSecondsMax);
  if (!seconds) return fail(fmt::format("must be a number from 0 to {}", kShutdownGraceSecondsMax));
  line.shutdown_grace_seconds = *seconds;
  return {};
}

Result<> take_sandbox(CommandLine& line, std::string_view argument) {
  TRY_ASSIGN(line.sandbox, parse_sandbox(argument));
  return {};
}

// Adds to line.image_references. Error: the values contradict each other.
Result<> take_image_references(CommandLine& line, std::string_view value) {
  ImageReferenceOptions& references = line.image_references;
  const bool is_word = value == "allow" || value == "deny";
  const bool contradicts = is_word ? !references.directories.empty() || (references.rule && references.rule != value)
                                   : references.rule.has_value();
  if (contradicts) return fail("'allow' and 'deny' exclude each other, and directories");
  if (is_word) {
    references.rule = value;
  } else {
    references.directories.emplace_back(value);
  }
  return {};
}

// The kind of an option of the second pass.
std::optional<OptionKind> kind_of(int code) {
  switch (code) {
    case kBlockdev:
      return OptionKind::kBlockdev;
    case kChardev:
      return OptionKind::kChardev;
    case kExport:
      return OptionKind::kExport;
    case kMonitor:
      return OptionKind::kMonitor;
    case kNbdServer:
      return OptionKind::kNbdServer;
    case kListen:
      return OptionKind::kListen;
    case kMetrics:
      return OptionKind::kMetrics;
    case kObject:
      return OptionKind::kObject;
    case kTrace:
      return OptionKind::kTrace;
    default:
      return std::nullopt;
  }
}

// The name of the same option in the section daemon of a configuration; empty when there is none.
std::string_view name_in_configuration(int code) {
  switch (code) {
    case kAioBackend:
      return "aio-backend";
    case kImageReferences:
      return "image-references";
    case kLogFile:
      return "log.file";
    case kLogFormat:
      return "log.format";
    case kLogLevel:
      return "log.level";
    case kMetrics:
      return "metrics";
    case kPidfile:
      return "pidfile";
    case kPolling:
      return "polling";
    case kReactors:
      return "reactors";
    case kSandbox:
      return "sandbox";
    case kShutdownGrace:
      return "shutdown-grace-seconds";
    case kUser:
      return "user";
    default:
      return {};
  }
}

// The arguments of one option, joined with blanks.
std::string as_typed(char** argv, int first, int last) {
  std::string text;
  for (int i = first; i < last; ++i) {
    if (i > first) text += ' ';
    text += argv[i];
  }
  return text;
}

// Overwrites the secret in argv, so that messages do not repeat it and the list of processes does not show it any
// longer.
void hide_secret(char* argument) {
  const std::string_view secret = control::secret_in_object_option(argument);
  std::fill_n(argument + (secret.data() - argument), secret.size(), '*');
}

// Makes the option of the second pass that begins at argv[first].
StartOption start_option(OptionKind kind, char** argv, int first) {
  WipedText argument{std::string_view(optarg)};
  if (kind == OptionKind::kObject) hide_secret(optarg);
  return {.kind = kind, .argument = std::move(argument), .as_typed = as_typed(argv, first, optind)};
}

// Prints a similar option for one that getopt_long() has refused, if there is one.
void suggest_option(std::string_view typed) {
  if (!typed.starts_with("--")) return;
  const std::string_view name = typed.substr(0, typed.find('=')).substr(2);
  std::vector<std::string_view> known;
  for (const option& one : kOptions) {
    if (one.name == nullptr) break;
    // The name is valid or ambiguous: getopt_long() has printed the error.
    if (std::string_view(one.name).starts_with(name)) return;
    known.emplace_back(one.name);
  }
  const std::string hint = suggest_similar(name, known, "--");
  if (!hint.empty()) print(stderr, "{}\n", hint);
}

// Prints the error of a value that an option does not take.
void check_value(CommandLine& line, std::string_view program, std::string_view option, const Result<>& taken) {
  if (taken) return;
  print(stderr, "{}: {} {}: {}\n", program, option, optarg, taken.error().message());
  line.exit_code = 1;
}

// Handles one option of the first pass; sets exit_code when the program shall end after it. `typed`: the argument as
// typed.
void take_option(CommandLine& line, int code, std::string_view program, std::string_view typed) {
  switch (code) {
    case kHelp:
      print(stdout, kHelpText, program);
      line.exit_code = 0;
      break;
    case kVersion:
      print_version(program);
      line.exit_code = 0;
      break;
    case kDaemonize:
      line.daemonize = true;
      break;
    case kConfig:
      line.config = optarg;
      break;
    case kCheckConfig:
      line.check_config = true;
      break;
    case kDeep:
      line.deep = true;
      break;
    case kPidfile:
      line.pidfile = optarg;
      break;
    case kLogFile:
      line.log.file = optarg;
      break;
    case kLogFormat:
      check_value(line, program, "--log-format", take_log_format(line.log, optarg));
      break;
    case kLogLevel:
      check_value(line, program, "--log-level", take_log_level(line.log, optarg));
      break;
    case kAioBackend:
      check_value(line, program, "--aio-backend", take_backend(line, optarg));
      break;
    case kReactors:
      check_value(line, program, "--reactors", take_reactors(line, optarg));
      break;
    case kPolling:
      check_value(line, program, "--polling", take_polling(line, optarg));
      break;
    case kImageReferences:
      check_value(line, program, "--image-references", take_image_references(line, optarg));
      break;
    case kSandbox:
      check_value(line, program, "--sandbox", take_sandbox(line, optarg));
      break;
    case kUser:
      line.user = optarg;
      break;
    case kShutdownGrace:
      check_value(line, program, "--shutdown-grace-seconds", take_shutdown_grace(line, optarg));
      break;
    default:
      // getopt_long() has printed the error.
      suggest_option(typed);
      line.exit_code = 1;
      break;
  }
}

// Reports options that need another one.
void check_combination(CommandLine& line, std::string_view program) {
  if (line.deep && !line.check_config) {
    print(stderr, "{}: --deep: needs --check-config\n", program);
    line.exit_code = 1;
  }
  if (line.check_config && !line.config) {
    print(stderr, "{}: --check-config: needs --config FILE\n", program);
    line.exit_code = 1;
  }
}

}  // namespace

CommandLine parse_command_line(int argc, char** argv) {
  CommandLine line;
  const std::string_view program = base_name(argv[0]);
  // "-": arguments that are no options are reported in their order.
  for (;;) {
    int first = optind;
    int code = getopt_long(argc, argv, "-hT:V", kOptions, nullptr);
    if (code == -1) break;
    if (const std::string_view name = name_in_configuration(code); !name.empty()) line.given.emplace(name);
    if (code == 1) {
      print(stderr, "{}: {}: Unexpected argument\n", argv[0], optarg);
      line.exit_code = 1;
    } else if (std::optional<OptionKind> kind = kind_of(code)) {
      line.options.push_back(start_option(*kind, argv, first));
    } else {
      take_option(line, code, program, argv[std::min(first, argc - 1)]);
    }
    if (line.exit_code) return line;
  }
  if (optind < argc) {
    print(stderr, "{}: {}: Unexpected argument\n", argv[0], argv[optind]);
    line.exit_code = 1;
  }
  check_combination(line, program);
  return line;
}

}  // namespace blockexport::daemon
