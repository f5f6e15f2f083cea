#include "export/engine/operation_counters.h"

namespace blockexport::exports {
namespace {

template <std::size_t kSize>
void add_all(std::array<std::uint64_t, kSize>& sums, const std::array<OwnedCounter, kSize>& counters) {
  for (std::size_t i = 0; i < kSize; ++i) sums[i] += counters[i].load();
}

void add_to(RequestTotals& totals, const ReactorCounters& counters) {
  for (std::size_t verb = 0; verb < kVerbs; ++verb) {
    VerbCounts<std::uint64_t>& sum = totals.verbs[verb];
    const VerbCounts<OwnedCounter>& counted = counters.verbs[verb];
    sum.operations += counted.operations.load();
    sum.bytes += counted.bytes.load();
    sum.elapsed_ns += counted.elapsed_ns.load();
    add_all(sum.errors, counted.errors);
    add_all(sum.latencies, counted.latencies);
  }
  add_all(totals.limit_waits, counters.limit_waits);
  add_all(totals.limit_wait_ns, counters.limit_wait_ns);
  totals.fence_waits += counters.fence_waits.load();
}

}  // namespace

RequestTotals ExportCounters::totals() const {
  RequestTotals totals;
  for (const auto& [reactor, counters] : by_reactor_) add_to(totals, *counters);
  return totals;
}

}  // namespace blockexport::exports
