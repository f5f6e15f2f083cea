// Fuzzes the transmission phase as a whole: a client's bytes against a session over storage in memory, on a simulation.
//
// Input: how the session was agreed on and how storage behaves, in four bytes, then what the client sends, in pieces
// with a byte before each: up to 0xdf, as many bytes and one more, which arrive by themselves; up to 0xef, as many as a
// header has and up to 15 more, which arrive together with those before; from 0xf0 on, 64 to 2 Mi bytes that nobody has
// to write down, which do so too. Promises: it ends, asserts nothing, and gives all memory back.
#include <cstdlib>

#include "aio/scope.h"
#include "aio/simulation.h"
#include "base/byte_reader.h"
#include "export/nbd/testing/scripted_stream.h"
#include "export/nbd/testing/storage.h"
#include "export/nbd/wire/export_info.h"

namespace blockexport::nbd {
namespace {

constexpr std::size_t kStorageBytes = 1u << 20;
constexpr std::uint64_t kBudgetBytes = 16u << 20;

constexpr std::uint8_t kJoinedFrom = 0xe0;
constexpr std::uint8_t kFillerFrom = 0xf0;
constexpr std::size_t kFillerBytesMin = 64;
constexpr std::size_t kSentBytesMax = 8u << 20;

void require(bool promise) {
  if (!promise) std::abort();
}

SessionState make_session(std::uint8_t choice) {
  SessionState state;
  state.header_mode = static_cast<HeaderMode>(choice % 3);
  state.export_bytes = kStorageBytes;
  bool contexts = (choice & 0x10) != 0 && state.header_mode != HeaderMode::kSimple;
  if (contexts) state.contexts = {{"base:allocation", 0}, {"qemu:allocation-depth", 1}};
  ExportInfo info;
  info.read_only = (choice & 0x20) != 0;
  state.transmission_flags = transmission_flags(info, state.header_mode, contexts);
  return state;
}

std::deque<std::vector<std::byte>> segments_of(ByteReader& reader) {
  std::deque<std::vector<std::byte>> segments;
  for (std::size_t sent = 0; reader.remaining() > 0 && sent < kSentBytesMax;) {
    const std::uint8_t kind = reader.u8();
    if (kind < kJoinedFrom || segments.empty()) segments.emplace_back();
    std::vector<std::byte>& segment = segments.back();
    const std::size_t before = segment.size();
    if (kind >= kFillerFrom) {
      segment.resize(before + (kFillerBytesMin << (kind - kFillerFrom)), std::byte{kind});
    } else {
      const std::size_t length = kind < kJoinedFrom ? kind + 1u : kCompactRequestBytes + (kind - kJoinedFrom);
      auto bytes = reader.bytes(std::min(length, reader.remaining()));
      segment.insert(segment.end(), bytes.begin(), bytes.end());
    }
    sent += segment.size() - before;
    if (segment.empty()) segments.pop_back();
  }
  return segments;
}

// What ends the session in the middle, after a while.
aio::Task<void> interrupt(aio::Reactor& reactor, Transmission& transmission, std::uint8_t how) {
  (void)co_await reactor.sleep_until(reactor.now_ns() + how * 1000u);
  if (how % 4 == 1) transmission.refuse();
  if (how % 4 == 2) transmission.finish();
  if (how % 4 == 3 || how % 8 == 1) transmission.drop();
}

void fuzz(ByteReader reader) {
  const std::uint8_t session_choice = reader.u8();
  const std::uint8_t storage_choice = reader.u8();
  const std::uint8_t peer_choice = reader.u8();
  const std::uint8_t interruption = reader.u8();
  testing::StreamScript script{.input = segments_of(reader)};
  script.reads = (peer_choice & 1) == 0;
  script.send_bytes_max = (peer_choice & 2) == 0 ? SIZE_MAX : 1000;

  aio::Simulation simulation(storage_choice);
  auto reactor = simulation.make_reactor();
  {
    testing::Backing backing(*reactor, kStorageBytes, kBudgetBytes);
    backing.storage.immediate = (storage_choice & 1) != 0;
    if ((storage_choice & 2) != 0) backing.storage.delays = &simulation.random();
    if ((storage_choice & 4) != 0) backing.storage.error = EIO;
    backing.writethrough = (storage_choice & 8) != 0;
    auto stream = std::make_unique<testing::ScriptedStream>(*reactor, script);
    Transmission transmission(backing.context(), std::move(stream), make_session(session_choice), {});
    aio::Scope scope(*reactor);
    scope.spawn("session", transmission.run());
    if (interruption != 0) scope.spawn("interruption", interrupt(*reactor, transmission, interruption));
    simulation.run_until_idle(*reactor);
    require(scope.size() == 0);
    require(backing.budget.used_bytes() == 0);
    require(!backing.fence.is_up());
    require(backing.storage.waiting == 0);
  }
}

}  // namespace
}  // namespace blockexport::nbd

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport;
  nbd::fuzz(ByteReader(std::as_bytes(std::span(data, size))));
  return 0;
}
