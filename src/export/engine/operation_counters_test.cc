// The counters of an export: buckets of latencies, sums over reactors, and the collected requests of a batch.
#include "export/engine/operation_counters.h"

#include <gtest/gtest.h>

#include "export/engine/request_meter.h"

namespace blockexport::exports {
namespace {

constexpr std::size_t kReadIndex = static_cast<std::size_t>(Verb::kRead);
constexpr std::size_t kWriteIndex = static_cast<std::size_t>(Verb::kWrite);

TEST(OperationCountersTest, EachBucketEndsAtFourTimesTheOneBefore) {
  std::uint64_t limit_ns = kLatencyBucketNs;
  for (std::size_t bucket = 0; bucket < kLatencyBuckets; ++bucket, limit_ns *= 4) {
    EXPECT_EQ(latency_bucket(limit_ns), bucket);
    EXPECT_EQ(latency_bucket(limit_ns + 1), bucket + 1);
  }
  EXPECT_EQ(latency_bucket(0), 0u);
  EXPECT_EQ(latency_bucket(UINT64_MAX), kLatencyBuckets);
}

TEST(OperationCountersTest, AnExportIsTheSumOfItsReactors) {
  ExportCounters counters;
  const int reactors[2] = {};
  RequestMeter(&counters.on(&reactors[0]), nullptr).succeeded(Verb::kRead, 100, 0, 20'000);
  RequestMeter second(&counters.on(&reactors[1]), nullptr);
  second.succeeded(Verb::kRead, 11, 0, 5);
  second.failed(Verb::kWrite, ErrorClass::kNoSpace, 0, 7);
  second.waited(LimitKind::kMemory, 3);
  second.waited_for_fence();
  EXPECT_EQ(&counters.on(&reactors[1]), &counters.on(&reactors[1]));
  const RequestTotals totals = counters.totals();
  EXPECT_EQ(totals.verbs[kReadIndex].operations, 2u);
  EXPECT_EQ(totals.verbs[kReadIndex].bytes, 111u);
  EXPECT_EQ(totals.verbs[kReadIndex].elapsed_ns, 20'005u);
  EXPECT_EQ(totals.verbs[kReadIndex].latencies[0], 1u);
  EXPECT_EQ(totals.verbs[kReadIndex].latencies[1], 1u);
  EXPECT_EQ(totals.verbs[kWriteIndex].operations, 1u);
  EXPECT_EQ(totals.verbs[kWriteIndex].bytes, 0u);
  EXPECT_EQ(totals.verbs[kWriteIndex].errors[static_cast<std::size_t>(ErrorClass::kNoSpace)], 1u);
  EXPECT_EQ(totals.limit_waits[static_cast<std::size_t>(LimitKind::kMemory)], 1u);
  EXPECT_EQ(totals.limit_wait_ns[static_cast<std::size_t>(LimitKind::kMemory)], 3u);
  EXPECT_EQ(totals.fence_waits, 1u);
}

TEST(OperationCountersTest, ReactorsShareNoCacheLine) {
  ExportCounters counters;
  const int reactors[2] = {};
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&counters.on(&reactors[0])) % kCacheLineBytes, 0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&counters.on(&reactors[1])) % kCacheLineBytes, 0u);
  EXPECT_EQ(sizeof(ReactorCounters) % kCacheLineBytes, 0u);
  EXPECT_EQ(sizeof(ClientCounters) % kCacheLineBytes, 0u);
}

TEST(OperationCountersTest, ABatchIsCountedWhenItEnds) {
  ReactorCounters shared;
  ClientCounters client;
  RequestMeter meter(&shared, &client);
  meter.succeeded_in_batch(Verb::kRead, 4096);
  meter.succeeded_in_batch(Verb::kWrite, 1024, 2);
  meter.failed_in_batch(Verb::kRead, ErrorClass::kIo);
  EXPECT_TRUE(meter.has_pending());
  EXPECT_EQ(shared.verbs[kReadIndex].operations.load(), 0u);
  meter.batch_ends(1'000, 21'000);
  EXPECT_FALSE(meter.has_pending());
  EXPECT_EQ(shared.verbs[kReadIndex].operations.load(), 2u);
  EXPECT_EQ(shared.verbs[kReadIndex].bytes.load(), 4096u);
  EXPECT_EQ(shared.verbs[kReadIndex].elapsed_ns.load(), 40'000u);
  EXPECT_EQ(shared.verbs[kReadIndex].latencies[1].load(), 2u);
  EXPECT_EQ(shared.verbs[kReadIndex].errors[static_cast<std::size_t>(ErrorClass::kIo)].load(), 1u);
  EXPECT_EQ(client.operations[kWriteIndex].load(), 2u);
  EXPECT_EQ(client.bytes[kWriteIndex].load(), 1024u);
  meter.batch_ends(0, 50'000);
  EXPECT_EQ(shared.verbs[kReadIndex].operations.load(), 2u);
}

}  // namespace
}  // namespace blockexport::exports
