#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "common/fatal.h"
#include "common/wire.h"
#include "nbdload/load.h"
#include "nbdload/window.h"

namespace blockexport::bench {

namespace {

// Largest range of one request without extended headers, at a sector boundary.
constexpr uint64_t kMostPerRequest = uint64_t{2} << 30;
constexpr std::size_t kDescriptorSize = 8;
constexpr std::size_t kContextSize = 4;

class Mapper {
 public:
  Mapper(Channel& channel, const Agreement& session) : channel_(channel), session_(session) {}

  // Returns the number of extents of the whole export. An extent that a reply boundary splits counts twice.
  uint64_t pass() {
    extents_ = 0;
    for (uint64_t offset = 0; offset < session_.size;) {
      ask(offset, std::min(session_.size - offset, kMostPerRequest));
      uint64_t covered = take_reply();
      if (covered == 0) {
        fatal("block status at {} described nothing", offset);
      }
      offset += covered;
    }
    return extents_;
  }

  uint64_t requests() const { return cookie_; }

 private:
  void ask(uint64_t offset, uint64_t length) {
    std::array<std::byte, kRequestSize> request{};
    std::byte* at = store_be(request.data(), kRequestMagic);
    at = store_be(at, uint16_t{0});
    at = store_be(at, static_cast<uint16_t>(Command::kBlockStatus));
    at = store_be(at, ++cookie_);
    at = store_be(at, offset);
    store_be(at, static_cast<uint32_t>(length));
    if (!channel_.write_all(request)) {
      fatal("the server closed the connection");
    }
  }

  uint64_t take_reply() {
    uint64_t covered = 0;
    for (bool done = false; !done;) {
      std::array<std::byte, kStructuredReplySize> header{};
      if (!channel_.read_exactly(header)) {
        fatal("the server closed the connection");
      }
      if (load_be<uint32_t>(header.data()) != kStructuredReplyMagic ||
          load_be<uint64_t>(header.data() + 8) != cookie_) {
        fatal("malformed reply to block status");
      }
      done = (load_be<uint16_t>(header.data() + 4) & kChunkDone) != 0;
      auto type = static_cast<Chunk>(load_be<uint16_t>(header.data() + 6));
      payload_.resize(load_be<uint32_t>(header.data() + 16));
      if (!channel_.read_exactly(payload_)) {
        fatal("the server closed the connection");
      }
      if (type == Chunk::kBlockStatus) {
        covered += count_descriptors();
      } else if (type != Chunk::kNone) {
        fatal("block status was answered by a chunk of type {}", static_cast<unsigned>(type));
      }
    }
    return covered;
  }

  uint64_t count_descriptors() {
    if (payload_.size() < kContextSize + kDescriptorSize || (payload_.size() - kContextSize) % kDescriptorSize != 0 ||
        load_be<uint32_t>(payload_.data()) != session_.context) {
      fatal("malformed block status chunk of {} bytes", payload_.size());
    }
    uint64_t covered = 0;
    for (std::size_t i = kContextSize; i < payload_.size(); i += kDescriptorSize) {
      covered += load_be<uint32_t>(payload_.data() + i);
      ++extents_;
    }
    return covered;
  }

  Channel& channel_;
  const Agreement& session_;
  std::vector<std::byte> payload_;
  uint64_t cookie_ = 0;
  uint64_t extents_ = 0;
};

}  // namespace

int run_map(const Options& options) {
  Channel channel = Channel::connect_to(options.address);
  if (!channel.good()) {
    fatal("connect: {}", std::strerror(errno));
  }
  std::optional<Agreement> session = negotiate(channel, options.negotiation);
  if (!session || !session->context) {
    fatal("the server does not offer {}", options.negotiation.context);
  }
  Mapper mapper(channel, *session);
  JsonLine line;
  Window window(options.server_pid, options.server_tree);
  window.open();
  uint64_t extents = mapper.pass();
  window.close();
  line.add("requests_per_pass", mapper.requests());
  line.add("cold_server_cpu_ns_per_extent", static_cast<double>(window.server_ns()) / static_cast<double>(extents));
  line.add("cold_seconds", static_cast<double>(window.wall_ns()) / 1e9);
  uint64_t further = 0;
  window.open();
  for (unsigned i = 1; i < options.passes; ++i) {
    further += mapper.pass();
  }
  window.close();
  window.report(line, "extent", further);
  line.add("extents_per_pass", extents);
  bool right = options.expected_extents == 0 || extents == options.expected_extents;
  line.add("errors", right ? 0 : 1);
  line.print();
  return right ? 0 : 1;
}

}  // namespace blockexport::bench
