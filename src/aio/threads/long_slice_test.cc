#include "aio/threads/long_slice.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

namespace blockexport::aio {
namespace {

// Kernels before 6.12 have no slices of a thread, and sandboxes may hide the call.
bool has_slices() {
  const LongSlice slice;
  return LongSlice::slice_ns() == LongSlice::kSliceNs;
}

TEST(LongSliceTest, ItsThreadHasALongSliceAndThenTheUsualOne) {
  if (!has_slices()) GTEST_SKIP() << "the kernel has no slices of threads";
  const std::uint64_t usual_ns = LongSlice::slice_ns();
  EXPECT_LT(usual_ns, LongSlice::kSliceNs);
  {
    const LongSlice slice;
    EXPECT_EQ(LongSlice::slice_ns(), LongSlice::kSliceNs);
    std::uint64_t of_other_ns = 0;
    std::thread([&] {
      const LongSlice own;
      of_other_ns = LongSlice::slice_ns();
    }).join();
    EXPECT_EQ(of_other_ns, LongSlice::kSliceNs);
    EXPECT_EQ(LongSlice::slice_ns(), LongSlice::kSliceNs);
  }
  EXPECT_EQ(LongSlice::slice_ns(), usual_ns);
}

TEST(LongSliceTest, LeavesThePolicyAndTheNiceness) {
  std::thread([] {
    sched_param none{};
    ASSERT_EQ(sched_setscheduler(0, SCHED_BATCH, &none), 0);
    {
      const LongSlice slice;
      EXPECT_EQ(sched_getscheduler(0), SCHED_BATCH);
    }
    EXPECT_EQ(sched_getscheduler(0), SCHED_BATCH);
    ASSERT_EQ(sched_setscheduler(0, SCHED_IDLE, &none), 0);
    const LongSlice slice;
    EXPECT_EQ(sched_getscheduler(0), SCHED_IDLE);
  }).join();
}

}  // namespace
}  // namespace blockexport::aio
