#include "aio/task/frame_cache.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace blockexport::aio {
namespace {

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define EVERY_FRAME_IS_ALLOCATED
#endif
#endif

// The limit of cached frames of one size in docs/limits.md.
constexpr std::size_t kKeptFrames = 128;
constexpr std::size_t kFrameBytes = 200;

// Takes `count` frames and gives them back, on a thread whose cache is empty. True when the next take returns the last
// of them, which means that the cache kept it.
bool keeps_the_last_of(std::size_t count) {
  bool kept = false;
  std::thread([count, &kept] {
    std::vector<void*> frames(count);
    for (void*& frame : frames) frame = take_frame(kFrameBytes);
    for (void* frame : frames) give_frame_back(frame, kFrameBytes);
    void* again = take_frame(kFrameBytes);
    kept = again == frames.back();
    give_frame_back(again, kFrameBytes);
  }).join();
  return kept;
}

TEST(FrameCacheTest, KeepsSoManyFramesOfASizeAndNoMore) {
#ifdef EVERY_FRAME_IS_ALLOCATED
  GTEST_SKIP() << "a sanitizer's build keeps no frame";
#endif
  EXPECT_TRUE(keeps_the_last_of(1));
  EXPECT_TRUE(keeps_the_last_of(kKeptFrames));
  EXPECT_FALSE(keeps_the_last_of(kKeptFrames + 1));
}

TEST(FrameCacheTest, AFrameIsOfUseForItsOwnSizeOnly) {
  std::thread([] {
    void* small = take_frame(kFrameBytes);
    give_frame_back(small, kFrameBytes);
    void* large = take_frame(4 * kFrameBytes);
    EXPECT_NE(large, small);
    give_frame_back(large, 4 * kFrameBytes);
  }).join();
}

}  // namespace
}  // namespace blockexport::aio
