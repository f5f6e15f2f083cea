#include "aio/uring/ring.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "aio/memory/slabs.h"
#include "base/owned_fd.h"

namespace blockexport::aio {
namespace {

class RingTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    auto made = Ring::create({.restricted = GetParam()}, 1);
    if (!made) GTEST_SKIP() << made.error().message();
    ring_ = std::move(*made);
  }

  // Submits the prepared entry, and returns its result.
  int result() {
    int found = 1;
    while (found == 1) {
      ring_->enter(UINT64_MAX);
      ring_->drain([&](std::uint64_t, int outcome, unsigned) { found = outcome; });
    }
    return found;
  }

  std::unique_ptr<Ring> ring_;
};

TEST_P(RingTest, OperationsOfTheBackendAreExecuted) {
  const OwnedFd zero(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  std::array<char, 2> bytes{};
  io_uring_prep_read(ring_->next_entry(), zero.get(), bytes.data(), bytes.size(), 0);
  EXPECT_EQ(result(), 2);
  std::array<std::byte, 4096> memory{};
  // The limit on locked memory may forbid it, whether the ring is restricted or not.
  if (ring_->pin(0, memory)) ring_->unpin(0);
}

TEST_P(RingTest, OtherOperationsAreRefusedWhenItIsRestricted) {
  io_uring_prep_openat(ring_->next_entry(), AT_FDCWD, "/dev/nonexistent", O_RDONLY, 0);
  EXPECT_EQ(result(), GetParam() ? -EACCES : -ENOENT);
}

INSTANTIATE_TEST_SUITE_P(Kinds, RingTest, testing::Values(false, true),
                         [](const auto& kind) { return kind.param ? "restricted" : "unrestricted"; });

}  // namespace
}  // namespace blockexport::aio
