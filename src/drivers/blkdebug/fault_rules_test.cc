#include "drivers/blkdebug/fault_rules.h"

#include <gtest/gtest.h>

#include <utility>

#include "schema/block_debug.h"

namespace blockexport::drivers {
namespace {

using block::DebugEvent;
using block::Range;

constexpr Range kRange{4096, 512};

int error_of(std::optional<InjectErrorRule> rule) {
  return rule ? rule->error : 0;
}

TEST(FaultRulesTest, EventsAndKindsAreThoseOfTheSchema) {
  const std::pair<DebugEvent, std::string_view> events[] = {
      {DebugEvent::kL1Update, "l1_update"},
      {DebugEvent::kL1GrowAllocTable, "l1_grow_alloc_table"},
      {DebugEvent::kL1GrowWriteTable, "l1_grow_write_table"},
      {DebugEvent::kL1GrowActivateTable, "l1_grow_activate_table"},
      {DebugEvent::kL2Load, "l2_load"},
      {DebugEvent::kL2Update, "l2_update"},
      {DebugEvent::kL2UpdateCompressed, "l2_update_compressed"},
      {DebugEvent::kL2AllocCowRead, "l2_alloc_cow_read"},
      {DebugEvent::kL2AllocWrite, "l2_alloc_write"},
      {DebugEvent::kReadAio, "read_aio"},
      {DebugEvent::kReadBackingAio, "read_backing_aio"},
      {DebugEvent::kReadCompressed, "read_compressed"},
      {DebugEvent::kWriteAio, "write_aio"},
      {DebugEvent::kWriteCompressed, "write_compressed"},
      {DebugEvent::kVmstateLoad, "vmstate_load"},
      {DebugEvent::kVmstateSave, "vmstate_save"},
      {DebugEvent::kCowRead, "cow_read"},
      {DebugEvent::kCowWrite, "cow_write"},
      {DebugEvent::kReftableLoad, "reftable_load"},
      {DebugEvent::kReftableGrow, "reftable_grow"},
      {DebugEvent::kReftableUpdate, "reftable_update"},
      {DebugEvent::kRefblockLoad, "refblock_load"},
      {DebugEvent::kRefblockUpdate, "refblock_update"},
      {DebugEvent::kRefblockUpdatePart, "refblock_update_part"},
      {DebugEvent::kRefblockAlloc, "refblock_alloc"},
      {DebugEvent::kRefblockAllocHookup, "refblock_alloc_hookup"},
      {DebugEvent::kRefblockAllocWrite, "refblock_alloc_write"},
      {DebugEvent::kRefblockAllocWriteBlocks, "refblock_alloc_write_blocks"},
      {DebugEvent::kRefblockAllocWriteTable, "refblock_alloc_write_table"},
      {DebugEvent::kRefblockAllocSwitchTable, "refblock_alloc_switch_table"},
      {DebugEvent::kClusterAlloc, "cluster_alloc"},
      {DebugEvent::kClusterAllocBytes, "cluster_alloc_bytes"},
      {DebugEvent::kClusterFree, "cluster_free"},
      {DebugEvent::kFlushToOs, "flush_to_os"},
      {DebugEvent::kFlushToDisk, "flush_to_disk"},
      {DebugEvent::kPwritevRmwHead, "pwritev_rmw_head"},
      {DebugEvent::kPwritevRmwAfterHead, "pwritev_rmw_after_head"},
      {DebugEvent::kPwritevRmwTail, "pwritev_rmw_tail"},
      {DebugEvent::kPwritevRmwAfterTail, "pwritev_rmw_after_tail"},
      {DebugEvent::kPwritev, "pwritev"},
      {DebugEvent::kPwritevZero, "pwritev_zero"},
      {DebugEvent::kPwritevDone, "pwritev_done"},
      {DebugEvent::kEmptyImagePrepare, "empty_image_prepare"},
      {DebugEvent::kL1ShrinkWriteTable, "l1_shrink_write_table"},
      {DebugEvent::kL1ShrinkFreeL2Clusters, "l1_shrink_free_l2_clusters"},
      {DebugEvent::kCorWrite, "cor_write"},
      {DebugEvent::kClusterAllocSpace, "cluster_alloc_space"},
      {DebugEvent::kNone, "none"},
  };
  EXPECT_EQ(std::size(events), schema::EnumNames<schema::BlkdebugEvent>::kNames.size());
  for (const auto& [event, name] : events) {
    EXPECT_EQ(schema::name_of(static_cast<schema::BlkdebugEvent>(event)), name);
  }
  EXPECT_EQ(schema::name_of(static_cast<schema::BlkdebugIOType>(RequestKind::kRead)), "read");
  EXPECT_EQ(schema::name_of(static_cast<schema::BlkdebugIOType>(RequestKind::kWriteZeroes)), "write-zeroes");
  EXPECT_EQ(schema::name_of(static_cast<schema::BlkdebugIOType>(RequestKind::kFlush)), "flush");
  EXPECT_EQ(schema::name_of(static_cast<schema::BlkdebugIOType>(RequestKind::kBlockStatus)), "block-status");
}

TEST(FaultRulesTest, ARuleOfTheEventNoneHoldsFromTheBeginning) {
  FaultRules rules({.errors = {{.error = 28}}});
  EXPECT_FALSE(rules.empty());
  for (RequestKind kind : {RequestKind::kRead, RequestKind::kWrite, RequestKind::kWriteZeroes, RequestKind::kDiscard}) {
    EXPECT_EQ(error_of(rules.take(kind, kRange)), 28);
  }
  EXPECT_EQ(error_of(rules.take(RequestKind::kFlush, {})), 28);
  EXPECT_EQ(error_of(rules.take(RequestKind::kBlockStatus, kRange)), 0);
}

TEST(FaultRulesTest, ARuleHoldsFromItsEventOn) {
  FaultRules rules({.errors = {{.event = DebugEvent::kReadAio}}});
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, kRange)), 0);
  rules.debug_event(DebugEvent::kWriteAio);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, kRange)), 0);
  rules.debug_event(DebugEvent::kReadAio);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, kRange)), 5);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, kRange)), 5);
}

TEST(FaultRulesTest, AnEventWithOtherRulesEndsTheFirst) {
  FaultRules rules(
      {.errors = {{.event = DebugEvent::kReadAio, .error = 1}, {.event = DebugEvent::kWriteAio, .error = 2}}});
  rules.debug_event(DebugEvent::kReadAio);
  rules.debug_event(DebugEvent::kFlushToOs);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, kRange)), 1);
  rules.debug_event(DebugEvent::kWriteAio);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, kRange)), 2);
}

TEST(FaultRulesTest, TheFirstRuleThatFitsCounts) {
  FaultRules rules({.errors = {{.kind = RequestKind::kWrite, .error = 1}, {.error = 2}, {.error = 3}}});
  EXPECT_EQ(error_of(rules.take(RequestKind::kWrite, kRange)), 1);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, kRange)), 2);
}

TEST(FaultRulesTest, AKindIsThatOfTheRequest) {
  FaultRules rules({.errors = {{.kind = RequestKind::kBlockStatus, .error = 1}}});
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, kRange)), 0);
  EXPECT_EQ(error_of(rules.take(RequestKind::kBlockStatus, kRange)), 1);
}

TEST(FaultRulesTest, ASectorIsInTheRequestByItsFirstByte) {
  FaultRules rules({.errors = {{.sector = 8}}});
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, {4096, 1})), 5);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, {0, 4097})), 5);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, {0, 4096})), 0);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, {4097, 4096})), 0);
  EXPECT_EQ(error_of(rules.take(RequestKind::kFlush, {})), 0);
  FaultRules far({.errors = {{.sector = INT64_MAX}, {.sector = INT64_MIN}}});
  EXPECT_EQ(error_of(far.take(RequestKind::kRead, {0, INT64_MAX})), 0);
}

TEST(FaultRulesTest, ARuleThatCountsOnceIsGoneForGood) {
  FaultRules rules({.errors = {{.event = DebugEvent::kReadAio, .error = 1, .once = true}, {.error = 2}}});
  rules.debug_event(DebugEvent::kReadAio);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, kRange)), 1);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, kRange)), 0);
  rules.debug_event(DebugEvent::kReadAio);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, kRange)), 0);
}

TEST(FaultRulesTest, ARuleWithoutErrorAndDelayDoesNothing) {
  FaultRules rules({.errors = {{.error = 0, .once = true}}});
  EXPECT_FALSE(rules.take(RequestKind::kRead, kRange));
  FaultRules slow({.errors = {{.error = 0, .delay_ns = 7}}});
  ASSERT_TRUE(slow.take(RequestKind::kRead, kRange));
}

TEST(FaultRulesTest, RulesCountInTheirState) {
  FaultRules rules({.errors = {{.event = DebugEvent::kReadAio, .state = 2, .error = 1}},
                    .states = {{.event = DebugEvent::kWriteAio, .state = 1, .new_state = 2},
                               {.event = DebugEvent::kWriteAio, .state = 2, .new_state = 3}}});
  rules.debug_event(DebugEvent::kReadAio);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, kRange)), 0);
  rules.debug_event(DebugEvent::kWriteAio);
  rules.debug_event(DebugEvent::kReadAio);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, kRange)), 1);
}

TEST(FaultRulesTest, AStateChangesAfterTheRulesOfItsEvent) {
  FaultRules rules({.errors = {{.event = DebugEvent::kReadAio, .state = 1, .error = 1},
                               {.event = DebugEvent::kReadAio, .state = 2, .error = 2}},
                    .states = {{.event = DebugEvent::kReadAio, .new_state = 2}}});
  rules.debug_event(DebugEvent::kReadAio);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, kRange)), 1);
  rules.debug_event(DebugEvent::kReadAio);
  EXPECT_EQ(error_of(rules.take(RequestKind::kRead, kRange)), 2);
}

}  // namespace
}  // namespace blockexport::drivers
