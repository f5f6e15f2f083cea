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
#include "daemon/secret_option.h"

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
  kObject,
  kPidfile,
  kLogFile,
  kAioBackend,
  kReactors,
  kShutdownGrace,
  kImageReferences,
};

constexpr option kOptions[] = {{"aio-backend", required_argument, nullptr, kAioBackend},
                               {"blockdev", required_argument, nullptr, kBlockdev},
                               {"chardev", required_argument, nullptr, kChardev},
                               {"daemonize", no_argument, nullptr, kDaemonize},
                               {"export", required_argument, nullptr, kExport},
                               {"help", no_argument, nullptr, kHelp},
                               {"image-references", required_argument, nullptr, kImageReferences},
                               {"monitor", required_argument, nullptr, kMonitor},
                               {"log-file", required_argument, nullptr, kLogFile},
                               {"listen", required_argument, nullptr, kListen},
                               {"nbd-server", required_argument, nullptr, kNbdServer},
                               {"object", required_argument, nullptr, kObject},
                               {"pidfile", required_argument, nullptr, kPidfile},
                               {"reactors", required_argument, nullptr, kReactors},
                               {"shutdown-grace-seconds", required_argument, nullptr, kShutdownGrace},
                               {"trace", required_argument, nullptr, kTrace},
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

  --chardev BACKEND,id=ID[,...]
                         make a character device: socket, stdio, file, null
  --monitor [chardev=]ID[,mode=control][,pretty=on|off]
                         answer QMP on a character device
  --object TYPE,id=ID[,...]
                         make an object: secret, tls-creds-x509, tls-creds-psk, tls-creds-anon, authz-list,
                         authz-list-file, authz-pam, authz-simple, throttle-group, iothread, monitor-qmp

  --daemonize            go to the background once everything is set up; standard error stays open for the log
                         unless it is a terminal or a pipe
  --pidfile PATH         write the process ID to a file
  --log-file FILE        append the log to a file instead of writing it to standard error
  --aio-backend auto|io_uring|epoll
                         how to wait for input and output (default: auto)
  --reactors auto|N      serve clients of exports without an iothread on up to N threads, started as they are
                         needed (default: auto, as many as there are processors)
  --image-references allow|deny|DIRECTORY
                         open the backing and data files that images name: any of them, none, or files beneath a
                         directory; several directories may be given (default: allow). Nodes that --blockdev or
                         QMP defines may use all files
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

std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

void print_version(std::string_view program) {
  print(stdout, "{} version {} (interface of qemu-storage-daemon {}.{})\n", program, control::kProgramVersion,
        control::kCompatibleMajor, control::kCompatibleMinor);
}

std::optional<aio::BackendKind> backend_of(std::string_view name) {
  if (name == "auto") return aio::BackendKind::kAuto;
  if (name == "io_uring") return aio::BackendKind::kIoUring;
  if (name == "epoll") return aio::BackendKind::kEpoll;
  return std::nullopt;
}

// Parses a number from `least` to `most`; nothing if it is none.
std::optional<std::uint32_t> number_in(std::string_view text, std::uint32_t least, std::uint32_t most) {
  std::uint32_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < least || number > most) return std::nullopt;
  return number;
}

// Sets line.reactors; false when `text` is neither "auto" nor a number in the range.
bool take_reactors(CommandLine& line, std::string_view text) {
  line.reactors = number_in(text, 1, aio::kDataReactorsMax);
  return line.reactors || text == "auto";
}

// Adds to line.image_references; false when the values contradict each other.
bool take_image_references(CommandLine& line, std::string_view value) {
  ImageReferenceOptions& references = line.image_references;
  if (value != "allow" && value != "deny") {
    references.directories.emplace_back(value);
    return !references.rule;
  }
  if (!references.directories.empty() || (references.rule && references.rule != value)) return false;
  references.rule = value;
  return true;
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
    case kObject:
      return OptionKind::kObject;
    case kTrace:
      return OptionKind::kTrace;
    default:
      return std::nullopt;
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
  const std::string_view secret = secret_in_object_option(argument);
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
    case kPidfile:
      line.pidfile = optarg;
      break;
    case kLogFile:
      line.log_file = optarg;
      break;
    case kAioBackend:
      if (auto backend = backend_of(optarg)) {
        line.backend = *backend;
      } else {
        print(stderr, "{}: --aio-backend {}: must be 'auto', 'io_uring' or 'epoll'\n", program, optarg);
        line.exit_code = 1;
      }
      break;
    case kReactors:
      if (take_reactors(line, optarg)) break;
      print(stderr, "{}: --reactors {}: must be 'auto' or a number from 1 to {}\n", program, optarg,
            aio::kDataReactorsMax);
      line.exit_code = 1;
      break;
    case kImageReferences:
      if (take_image_references(line, optarg)) break;
      print(stderr, "{}: --image-references {}: 'allow' and 'deny' exclude each other, and directories\n", program,
            optarg);
      line.exit_code = 1;
      break;
    case kShutdownGrace:
      if (auto seconds = number_in(optarg, 0, kShutdownGraceSecondsMax)) {
        line.shutdown_grace_seconds = *seconds;
      } else {
        print(stderr, "{}: --shutdown-grace-seconds {}: must be a number from 0 to {}\n", program, optarg,
              kShutdownGraceSecondsMax);
        line.exit_code = 1;
      }
      break;
    default:
      // getopt_long() has printed the error.
      suggest_option(typed);
      line.exit_code = 1;
      break;
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
  return line;
}

}  // namespace blockexport::daemon
