// For tests: a few blocks that any reactor may write, slowly, and clients of them, each served on a reactor.
//
// Thread: the driver's verbs run on any; a Connected belongs to the reactor that made it. Not part of the daemon.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "block/buffers.h"
#include "block/node.h"
#include "export/nbd/server/client_list.h"
#include "export/nbd/server/placed_transmission.h"
#include "export/nbd/testing/client.h"
#include "net/socket_stream.h"

namespace blockexport::nbd::testing {

inline constexpr std::uint64_t kBlockBytes = 512;
inline constexpr std::size_t kBlocks = 4;

// One byte for each block, which any thread may write; each write takes a different time.
class SlowBlocks final : public block::LiveDriver {
 public:
  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override {
    std::vector<std::byte> bytes(range.length);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::byte>(blocks_[(range.offset + i) / kBlockBytes].load());
    }
    block::copy_in(buffers, 0, bytes);
    co_return IoResult{};
  }
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions) override {
    aio::Reactor& reactor = co_await aio::current_reactor();
    std::uint64_t number = calls_++;
    (void)co_await reactor.sleep_until(reactor.now_ns() + number * 7919 % 5 * 500'000);
    store(range, buffers);
    co_return IoResult{};
  }
  // Succeeds inline for some writes.
  IoResult try_write(aio::Reactor&, block::Range range, block::IoBuffers buffers, block::InlineHints&) override {
    if (calls_++ % 3 != 0) return fail(EAGAIN);
    store(range, buffers);
    return {};
  }
  aio::Task<IoResult> write_zeroes(block::Range, block::ZeroOptions) override { co_return fail(ENOTSUP); }
  aio::Task<IoResult> discard(block::Range) override { co_return IoResult{}; }
  aio::Task<IoResult> flush() override { co_return IoResult{}; }
  aio::Task<IoResult> extents(block::Range, block::Extents&) override { co_return fail(ENOTSUP); }
  aio::Task<IoResult> prefetch(block::Range) override { co_return IoResult{}; }
  std::uint64_t size_bytes() const override { return kBlocks * kBlockBytes; }
  block::Limits limits() const override { return {}; }
  std::string_view format_name() const override { return "slow"; }

 private:
  // One call may have several joined writes, each with a fill of its own.
  void store(block::Range range, block::IoBuffers buffers) {
    std::vector<std::byte> bytes(range.length);
    block::copy_out(buffers, 0, bytes);
    for (std::uint64_t at = 0; at < range.length; at += kBlockBytes) {
      blocks_[(range.offset + at) / kBlockBytes] = static_cast<char>(bytes[at]);
    }
  }

  std::array<std::atomic<char>, kBlocks> blocks_ = {};
  std::atomic<std::uint64_t> calls_ = 0;
};

// A client on this reactor, and its transmission on a data reactor, which begins as that of a server's client does.
struct Connected {
  Connected(aio::Reactor& here, aio::DataReactor& data_reactor, TransmissionContext context, ClientList& clients,
            std::pair<int, int> sockets)
      : client(std::make_unique<net::SocketStream>(here, sockets.second), HeaderMode::kSimple),
        served(here, data_reactor, context),
        scope(here) {
    auto stream = std::make_unique<net::SocketStream>(here, sockets.first);
    SessionState state = make_state(HeaderMode::kSimple, kBlocks * kBlockBytes);
    scope.spawn("connection", serve(served, clients, std::move(stream), std::move(state)));
  }
  static aio::Task<void> serve(PlacedTransmission& placed, ClientList& clients, std::unique_ptr<net::Stream> stream,
                               SessionState state) {
    clients.attach(placed);
    co_await clients.pass_barrier();
    co_await placed.run(std::move(stream), std::move(state), {});
    clients.detach(placed);
    co_await placed.destroy();
  }

  Client client;
  PlacedTransmission served;
  aio::Scope scope;
};

}  // namespace blockexport::nbd::testing
