// Bitmap stores beside an image that keeps its bitmaps itself: a store has them in one session alone.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "aio/testing/backends.h"
#include "aio/testing/task_test.h"
#include "block/bitmap_store/bitmap_store.h"

namespace blockexport::block {
namespace {

using aio::OperationKind;
using aio::Task;

constexpr std::uint64_t kSize = 64u << 20;
constexpr std::uint64_t kRegion = 1u << 20;
constexpr std::uint32_t kGranularity = 64u << 10;
constexpr std::uint64_t kManyFaults = 1'000'000;

BitmapStore::Image image(std::uint32_t session) {
  return {.identity = "disk", .size_bytes = kSize, .generation = {}, .session = session};
}

std::unique_ptr<DirtyBits> make_bits() {
  auto made = DirtyBits::create(kSize, kGranularity);
  EXPECT_TRUE(made.has_value());
  return std::move(*made);
}

template <class T>
std::string text_of(const Result<T>& result) {
  return result ? "" : result.error().message();
}

class BitmapStoreSessionTest : public aio::testing::ForEachBackend {
 protected:
  void SetUp() override {
    ForEachBackend::SetUp();
    if (IsSkipped()) return;
    if (simulated()) simulation().make_file("/", 0);
    path_ = make_file();
  }
  template <class Test>
  Task<void> body();

  Task<std::unique_ptr<BitmapStore>> opened(BitmapStore::Image of) {
    auto store = co_await BitmapStore::open_or_create(reactor(), path_, std::move(of));
    EXPECT_TRUE(store) << text_of(store);
    co_return store ? std::move(*store) : nullptr;
  }
  // A store with the bitmap "a" in session 1.
  Task<std::unique_ptr<BitmapStore>> with_bitmap(DirtyBits& bits) {
    auto store = co_await opened(image(0));
    if (store == nullptr) co_return nullptr;
    EXPECT_FALSE(store->has_session());
    EXPECT_EQ(text_of(co_await store->begin_session(image(1))), "");
    EXPECT_EQ(text_of(co_await store->add("a", bits, true)), "");
    co_return store;
  }
  Task<void> change(BitmapStore& store, DirtyBits& bits, Range range) {
    if (!store.try_before_change(range)) EXPECT_TRUE(co_await store.before_change(range));
    bits.mark(range);
    store.after_change(range);
  }
  // The same content in another file.
  void replace_by_copy() {
    const std::string content = content_of(path_);
    if (simulated()) {
      simulation().write_file(path_, std::as_bytes(std::span(content)));
      return;
    }
    std::ofstream(path_ + ".copy", std::ios::binary) << content;
    std::filesystem::rename(path_ + ".copy", path_);
  }

  std::string path_;
};
BLOCKEXPORT_FOR_EACH_BACKEND(BitmapStoreSessionTest);

TASK_TEST_P(BitmapStoreSessionTest, ASessionGoesOnAfterACrash) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(store->has_session());
  co_await change(*store, *bits, {5 * kRegion, 1});
  store.reset();
  for (int crash = 0; crash < 2; crash++) {
    store = co_await opened(image(1));
    CO_ASSERT(store != nullptr && store->has_session());
    const auto again = make_bits();
    EXPECT_TRUE(co_await store->load("a", *again));
    EXPECT_EQ(again->next_dirty({0, kSize}), (Range{5 * kRegion, kRegion}));
    store.reset();
  }
}

TASK_TEST_P(BitmapStoreSessionTest, OnlyTheSessionOfTheImageHasItsBitmaps) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  store.reset();
  for (const std::uint32_t session : {0u, 2u, UINT32_MAX}) {
    store = co_await opened(image(session));
    CO_ASSERT(store != nullptr);
    EXPECT_FALSE(store->has_session()) << session;
    store.reset();
  }
  // The number alone does not say that nobody has changed the size.
  BitmapStore::Image resized = image(1);
  resized.size_bytes = 2 * kSize;
  store = co_await opened(resized);
  CO_ASSERT(store != nullptr);
  EXPECT_FALSE(store->has_session());
  store.reset();
  // It fits no other image, and no image without sessions.
  BitmapStore::Image other = image(1);
  other.identity = "another disk";
  const std::string refusal = fmt::format("Bitmap store '{}' cannot be used: it belongs to another image", path_);
  EXPECT_EQ(text_of(co_await BitmapStore::open(reactor(), path_, other)), refusal);
  other = image(1);
  other.session.reset();
  EXPECT_EQ(text_of(co_await BitmapStore::open(reactor(), path_, other)), refusal);
  store = co_await opened(image(1));
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(store->has_session());
}

TASK_TEST_P(BitmapStoreSessionTest, ACopyOfTheStoreHasNoSession) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  store.reset();
  replace_by_copy();
  store = co_await opened(image(1));
  CO_ASSERT(store != nullptr);
  EXPECT_FALSE(store->has_session());
}

TASK_TEST_P(BitmapStoreSessionTest, AStoreThatABitmapStoreOfAnotherKindHasIsRefused) {
  auto store =
      co_await BitmapStore::create(reactor(), path_, {.identity = "disk", .size_bytes = kSize, .generation = "g"});
  CO_ASSERT(store);
  const auto bits = make_bits();
  EXPECT_TRUE(co_await (*store)->add("a", *bits, true));
  store->reset();
  EXPECT_EQ(text_of(co_await BitmapStore::open(reactor(), path_, image(1))),
            fmt::format("Bitmap store '{}' cannot be used: it belongs to another image", path_));
}

TASK_TEST_P(BitmapStoreSessionTest, ANewSessionForgetsTheOneBefore) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  co_await change(*store, *bits, {5 * kRegion, 1});
  store.reset();
  store = co_await opened(image(0));
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await store->begin_session(image(2)));
  EXPECT_TRUE(store->bitmaps().empty());
  const auto fresh = make_bits();
  EXPECT_TRUE(co_await store->add("b", *fresh, false));
  co_await change(*store, *fresh, {7 * kRegion, 1});
  store.reset();
  store = co_await opened(image(2));
  CO_ASSERT(store != nullptr && store->has_session());
  CO_ASSERT(store->bitmaps().size() == 1);
  EXPECT_FALSE(store->bitmaps().front().is_enabled);
  EXPECT_EQ(store->recovery().dirty_regions, 1u) << "the intents of the session before are gone";
}

TASK_TEST_P(BitmapStoreSessionTest, AnEndedSessionLeavesAStoreForAnyImage) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  co_await change(*store, *bits, {5 * kRegion, 1});
  EXPECT_TRUE(co_await store->end_session());
  store.reset();
  store = co_await opened(image(1));
  CO_ASSERT(store != nullptr);
  EXPECT_FALSE(store->has_session());
  store.reset();
  auto other = co_await BitmapStore::open(reactor(), path_,
                                          {.identity = "another disk", .size_bytes = 3 * kSize, .generation = {}});
  CO_ASSERT(other);
  EXPECT_TRUE((*other)->bitmaps().empty());
  EXPECT_EQ((*other)->image_bytes(), 3 * kSize);
}

TASK_TEST_P(BitmapStoreSessionTest, AStoreThatCouldNotRecordHasNoSessionAndBeginsANewOne) {
  for (const std::uint64_t faults : {std::uint64_t{1}, kManyFaults}) {
    const auto bits = make_bits();
    auto store = co_await with_bitmap(*bits);
    CO_ASSERT(store != nullptr);
    // With many faults the store is emptied.
    inject({.kind = OperationKind::kWrite, .error = ENOSPC, .count = faults, .path = path_});
    co_await change(*store, *bits, {0, 1});
    EXPECT_TRUE(store->is_inconsistent());
    clear_faults();
    store.reset();
    store = co_await opened(image(1));
    CO_ASSERT(store != nullptr);
    EXPECT_FALSE(store->has_session());
    EXPECT_TRUE(co_await store->begin_session(image(3)));
    EXPECT_FALSE(store->is_inconsistent());
    store.reset();
    store = co_await opened(image(3));
    CO_ASSERT(store != nullptr);
    EXPECT_TRUE(store->has_session());
    EXPECT_TRUE(co_await store->end_session());
    store.reset();
  }
}

TASK_TEST_P(BitmapStoreSessionTest, ASessionThatCannotBeginLeavesNone) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  store.reset();
  for (std::uint64_t after = 0;; after++) {
    store = co_await opened(image(1));
    CO_ASSERT(store != nullptr);
    if (store->has_session()) {
      // Nothing was written before the fault.
      store.reset();
      store = co_await opened(image(0));
      CO_ASSERT(store != nullptr);
    }
    inject({.kind = OperationKind::kWrite, .error = EIO, .after = after, .count = 1, .path = path_});
    const Result<> begun = co_await store->begin_session(image(2));
    clear_faults();
    store.reset();
    store = co_await opened(image(2));
    CO_ASSERT(store != nullptr);
    EXPECT_EQ(store->has_session(), begun.has_value());
    store.reset();
    if (begun) break;
    EXPECT_LT(after, 20u);
  }
}

}  // namespace
}  // namespace blockexport::block
