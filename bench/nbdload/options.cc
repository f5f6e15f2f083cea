#include "nbdload/options.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <utility>

#include "common/args.h"
#include "common/fatal.h"
#include "common/wire.h"

namespace blockexport::bench {

namespace {

template <typename T, std::size_t N>
using Names = std::array<std::pair<std::string_view, T>, N>;

constexpr Names<Mode, 6> kModes{{{"load", Mode::kLoad},
                                 {"map", Mode::kMap},
                                 {"rate", Mode::kRate},
                                 {"idle", Mode::kIdle},
                                 {"silent", Mode::kSilent},
                                 {"start", Mode::kStart}}};

constexpr Names<Shape, 7> kShapes{{{"randread", Shape::kRandomRead},
                                   {"seqread", Shape::kSequentialRead},
                                   {"randwrite", Shape::kRandomWrite},
                                   {"seqwrite", Shape::kSequentialWrite},
                                   {"mix", Shape::kMix},
                                   {"flushedwrite", Shape::kFlushedWrite},
                                   {"flush", Shape::kFlush}}};

constexpr Names<Replies, 3> kReplies{
    {{"simple", Replies::kSimple}, {"structured", Replies::kStructured}, {"extended", Replies::kExtended}}};

template <typename T, std::size_t N>
T choose(const Names<T, N>& names, std::string_view option, std::string_view given) {
  for (const auto& [name, value] : names) {
    if (name == given) {
      return value;
    }
  }
  fatal("--{}: '{}' is not one of its values", option, given);
}

void read_load_options(Args& args, Options& options) {
  options.shape = choose(kShapes, "workload", args.text("workload", "randread"));
  options.depth = static_cast<unsigned>(args.number("depth", 1));
  options.block_bytes = static_cast<uint32_t>(args.number("block", 4096));
  options.seed = args.number("seed", 1);
  options.span_bytes = args.number("span", 0);
  options.fua = args.flag("fua");
  options.operations = args.number("ops", 0);
  options.duration_ms = args.number("ms", 1000);
  options.warmup_ms = args.number("warmup-ms", 0);
  options.lockstep = args.flag("lockstep");
  options.latency = args.flag("latency");
  options.check_every = static_cast<unsigned>(args.number("check-every", 64));
  options.salt = args.number("salt", 0);
  options.vocabulary = args.number("vocabulary", 0);
  options.allow_zeroes = args.flag("allow-zeroes");
  options.receive_buffer_bytes = args.number("receive-buffer", 256 << 10);
  options.send_buffer_bytes = static_cast<int>(args.number("send-buffer", 0));
  options.passes = static_cast<unsigned>(args.number("passes", 1));
  options.expected_extents = args.number("expect-extents", 0);
  constexpr uint64_t kAnyCpu = 4096;
  uint64_t cpu = args.number("server-cpu", kAnyCpu);
  options.server_cpu = cpu < kAnyCpu ? static_cast<int>(cpu) : -1;
}

// --tls-x509=FOLDER or --tls-psk=FILE, and --tls-priority=STRING.
std::shared_ptr<const TlsCredentials> read_tls(Args& args) {
  std::string folder = args.text("tls-x509", "");
  std::string file = args.text("tls-psk", "");
  std::string priority = args.text("tls-priority", "");
  if (folder.empty() && file.empty()) {
    return nullptr;
  }
  return folder.empty() ? TlsCredentials::load(TlsSide::kClient, TlsKind::kPsk, file, priority)
                        : TlsCredentials::load(TlsSide::kClient, TlsKind::kX509, folder, priority);
}

}  // namespace

Options read_options(int count, char** values) {
  Args args(count, values);
  Options options;
  options.mode = choose(kModes, "mode", args.text("mode", "load"));
  options.address.path = args.text("socket", "");
  options.address.port = static_cast<uint16_t>(args.number("port", 0));
  options.negotiation.export_name = args.text("export", "");
  options.negotiation.replies = choose(kReplies, "replies", args.text("replies", "structured"));
  options.negotiation.context = options.mode == Mode::kMap ? args.text("context", "base:allocation") : "";
  options.negotiation.tls = read_tls(args);
  options.server_pid = static_cast<pid_t>(args.number("server-pid", 0));
  options.server_tree = args.flag("server-tree");
  options.connections = static_cast<unsigned>(args.number("connections", 1));
  read_load_options(args, options);
  options.command = args.rest();
  args.finish();

  constexpr unsigned kMostDepth = 65536;
  if (options.connections == 0 || options.depth == 0 || options.depth > kMostDepth) {
    fatal("--connections and --depth start at 1, --depth ends at {}", kMostDepth);
  }
  if (options.block_bytes == 0 || options.block_bytes > kLargestPayload) {
    fatal("--block is from 1 byte to {} bytes", kLargestPayload);
  }
  options.receive_buffer_bytes = std::max<std::size_t>(options.receive_buffer_bytes, 4096);
  return options;
}

const char* name_of(Shape shape) {
  for (const auto& [name, value] : kShapes) {
    if (value == shape) {
      return name.data();
    }
  }
  return "?";
}

}  // namespace blockexport::bench
