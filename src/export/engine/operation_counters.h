// Counters of the requests of clients: ReactorCounters for all clients of one export on one reactor, ClientCounters for
// one client, ExportCounters for one export.
//
// Only the thread of the reactor stores, without read-modify-write instructions, and other threads load at any time;
// values that are loaded together need not be consistent. Each set has cache lines of its own, so that reactors which
// serve the same export do not delay each other. Owned by the export and by the client's connection.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string_view>

#include "base/owned_counter.h"
#include "export/engine/block_request.h"
#include "export/engine/session_states.h"

namespace blockexport::exports {

using blockexport::OwnedCounter;

inline constexpr std::size_t kVerbs = 7;

// Classes of failure that a client can see, for any wire format.
enum class ErrorClass : std::uint8_t {
  kNotPermitted,
  kIo,
  kNoMemory,
  kInvalid,
  kNoSpace,
  kOverflow,
  kNotSupported,
  kShutdown,
};
inline constexpr std::size_t kErrorClasses = 8;

// Resources of which a session can wait for more.
enum class LimitKind : std::uint8_t { kMemory, kRequestsInFlight };
inline constexpr std::size_t kLimitKinds = 2;

// Buckets of a latency histogram: bucket k holds the requests that took at most kLatencyBucketNs * 4^k, and more than
// the bucket before; one more bucket holds the slower ones.
inline constexpr std::size_t kLatencyBuckets = 11;
inline constexpr std::uint64_t kLatencyBucketNs = 16'000;

constexpr std::size_t latency_bucket(std::uint64_t elapsed_ns) {
  if (elapsed_ns <= kLatencyBucketNs) return 0;
  const auto bucket = static_cast<std::size_t>((std::bit_width((elapsed_ns - 1) / kLatencyBucketNs) + 1) / 2);
  return bucket < kLatencyBuckets ? bucket : kLatencyBuckets;
}

// Values of one verb. Number is OwnedCounter, or std::uint64_t for a sum.
template <class Number>
struct VerbCounts {
  Number operations{};  // answered requests, the failed ones included
  Number bytes{};       // of requests that succeeded; 0 for flush and extents
  Number elapsed_ns{};  // from receipt until the reply is handed to the stream
  std::array<Number, kErrorClasses> errors{};
  std::array<Number, kLatencyBuckets + 1> latencies{};  // see latency_bucket()
};

template <class Number>
struct RequestCounts {
  std::array<VerbCounts<Number>, kVerbs> verbs{};  // by Verb
  std::array<Number, kLimitKinds> limit_waits{};   // by LimitKind
  std::array<Number, kLimitKinds> limit_wait_ns{};
  Number fence_waits{};
};

struct alignas(kCacheLineBytes) ReactorCounters : RequestCounts<OwnedCounter> {};
using RequestTotals = RequestCounts<std::uint64_t>;

struct alignas(kCacheLineBytes) ClientCounters {
  std::array<OwnedCounter, kVerbs> operations;  // as in VerbCounts
  std::array<OwnedCounter, kVerbs> bytes;
  OwnedCounter in_flight;        // requests that wait for storage
  OwnedCounter oldest_since_ns;  // receipt of the oldest of them, by the reactor's clock; 0: there is none
  std::atomic<Phase> phase = Phase::kCreated;
};

class ExportCounters {
 public:
  // The set for the reactor that `reactor` identifies, which lives as long as this object. Control reactor.
  ReactorCounters& on(const void* reactor) {
    std::unique_ptr<ReactorCounters>& found = by_reactor_[reactor];
    if (found == nullptr) found = std::make_unique<ReactorCounters>();
    return *found;
  }
  // Sum of all reactors. Control reactor.
  RequestTotals totals() const;

 private:
  std::map<const void*, std::unique_ptr<ReactorCounters>> by_reactor_;
};

}  // namespace blockexport::exports
