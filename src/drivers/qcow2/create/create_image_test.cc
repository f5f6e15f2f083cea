#include "drivers/qcow2/create/create_image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "block/node.h"
#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"
#include "drivers/qcow2/format/header.h"
#include "drivers/qcow2/format/header_extensions.h"

namespace blockexport::drivers::qcow2 {
namespace {

class CountedWork final : public block::LongWork {
 public:
  explicit CountedWork(std::uint64_t cancelled_at = UINT64_MAX) : cancelled_at_(cancelled_at) {}
  aio::Task<IoResult> pause_point() override {
    if (points_++ == cancelled_at_) co_return fail(ECANCELED);
    co_return IoResult();
  }
  void expect(std::uint64_t units) override { expected_ += units; }
  void advance(std::uint64_t units) override { done_ += units; }

  std::uint64_t points() const { return points_; }
  std::uint64_t expected() const { return expected_; }
  std::uint64_t done() const { return done_; }

 private:
  std::uint64_t cancelled_at_;
  std::uint64_t points_ = 0;
  std::uint64_t expected_ = 0;
  std::uint64_t done_ = 0;
};

// A node in memory that a creation writes to, with what was in it before.
class Target {
 public:
  explicit Target(std::size_t size = 0) : state(size) {
    state.grows = true;
    std::ranges::fill(state.bytes, std::byte{'x'});
  }

  block::Edge& edge() { return edge_; }
  bool has_image() const { return state.bytes.size() >= 4 && std::memcmp(state.bytes.data(), "QFI\xfb", 4) == 0; }

  block::MemoryDriverState state;

 private:
  block::Node node_{"file", std::make_unique<block::MemoryDriver>(state)};
  block::Edge edge_{node_, {.name = "root"}, {}};
};

class CreateImageTest : public block::ReactorTest {
 protected:
  Result<> create(const Creation& creation, Target& file, CountedWork& work, Target* data_file = nullptr) {
    ImageFiles files{.file = &file.edge()};
    if (data_file != nullptr) {
      files.data_file = &data_file->edge();
      files.data_file_name = "data.raw";
    }
    return run(create_image(creation, std::move(files), work));
  }
  Result<> create(const Creation& creation, Target& file) {
    CountedWork work;
    return create(creation, file, work);
  }
};

TEST_F(CreateImageTest, TheHeaderDescribesTheImage) {
  Creation creation{.size_bytes = 1u << 30, .lazy_refcounts = true, .backing_name = "base.img"};
  creation.backing_format = "raw";
  creation.compression_type = CompressionType::kZstd;
  Target file;
  ASSERT_TRUE(create(creation, file));
  const auto header = parse_header(file.state.bytes, HeaderUse::kReadWrite);
  ASSERT_TRUE(header);
  EXPECT_EQ(header->size_bytes, 1u << 30);
  EXPECT_TRUE(header->has_lazy_refcounts());
  EXPECT_EQ(header->compression_type, CompressionType::kZstd);
  EXPECT_EQ(parse_backing_name(*header, file.state.bytes)->value(), "base.img");
  const auto extensions = parse_header_extensions(*header, file.state.bytes);
  ASSERT_TRUE(extensions);
  EXPECT_EQ(extensions->backing_format(), "raw");
  EXPECT_NE(extensions->find(kExtensionFeatureNames), nullptr);
}

TEST_F(CreateImageTest, ASmallClusterHasNoFeatureNames) {
  for (std::uint64_t cluster : {512u, 4096u, 8192u}) {
    Target file;
    ASSERT_TRUE(create({.size_bytes = 1u << 20, .cluster_bytes = cluster}, file));
    const auto header = parse_header(file.state.bytes, HeaderUse::kReadWrite);
    ASSERT_TRUE(header);
    EXPECT_EQ(parse_header_extensions(*header, file.state.bytes)->find(kExtensionFeatureNames) != nullptr,
              cluster == 8192);
  }
}

TEST_F(CreateImageTest, ANameThatDoesNotFitTheFirstClusterIsRefused) {
  Target file(1000);
  const Result<> created =
      create({.size_bytes = 1u << 20, .cluster_bytes = 512, .backing_name = std::string(400, 'b')}, file);
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().message(), "Could not assign backing file '" + std::string(400, 'b') +
                                           "' with format '(null)': No space left on device");
  EXPECT_TRUE(file.state.calls.empty());
}

TEST_F(CreateImageTest, TheHeaderIsErasedFirstAndWrittenLast) {
  for (Preallocation mode : {Preallocation::kOff, Preallocation::kMetadata, Preallocation::kWrite}) {
    Target file(100'000);
    ASSERT_TRUE(create({.size_bytes = 4u << 20, .preallocation = mode}, file));
    const std::vector<std::string>& calls = file.state.calls;
    ASSERT_GE(calls.size(), 6);
    EXPECT_EQ(calls[0], "write 0+65536");
    EXPECT_EQ(calls[1], "flush");
    EXPECT_EQ(calls[calls.size() - 4], "flush");
    EXPECT_EQ(calls[calls.size() - 3], "write 0+65536");
    EXPECT_EQ(calls[calls.size() - 2], "flush");
    for (std::size_t i = 1; i + 3 < calls.size(); ++i) EXPECT_NE(calls[i], "write 0+65536");
  }
}

TEST_F(CreateImageTest, ACreationCancelledAtAnyPointLeavesNoImage) {
  for (Preallocation mode :
       {Preallocation::kOff, Preallocation::kMetadata, Preallocation::kAllocate, Preallocation::kWrite}) {
    const Creation creation{.size_bytes = 4u << 20, .preallocation = mode};
    Target complete;
    CountedWork all;
    ASSERT_TRUE(create(creation, complete, all));
    EXPECT_TRUE(complete.has_image());
    EXPECT_EQ(all.done(), all.expected());
    for (std::uint64_t point = 0; point < all.points(); ++point) {
      Target file;
      ASSERT_TRUE(create({.size_bytes = 1u << 20}, file));  // an older image
      CountedWork work(point);
      const Result<> created = create(creation, file, work);
      ASSERT_FALSE(created) << point;
      EXPECT_TRUE(created.error().message().ends_with("Operation canceled")) << created.error().message();
      EXPECT_FALSE(file.has_image()) << point;
    }
  }
}

TEST_F(CreateImageTest, AFailedWriteAtAnyPlaceLeavesNoImage) {
  const Creation creation{.size_bytes = 4u << 20, .preallocation = Preallocation::kWrite};
  const std::pair<std::uint64_t, std::string> cases[] = {
      {0, "Could not write qcow2 header: No space left on device"},
      {65536, "Could not write refcount table: No space left on device"},
      {3u << 16, "Could not resize image: Failed to grow the L1 table: No space left on device"},
      {4u << 16, "Could not resize image: Allocating clusters failed: No space left on device"},
      {5u << 16,
       "Could not resize image: Failed to resize underlying file: Could not write zeros for preallocation: No space "
       "left on device"},
  };
  for (const auto& [offset, message] : cases) {
    Target file;
    file.state.write_error = ENOSPC;
    file.state.write_error_from = offset;
    const Result<> created = create(creation, file);
    ASSERT_FALSE(created);
    EXPECT_EQ(created.error().message(), message);
    EXPECT_FALSE(file.has_image());
  }
}

TEST_F(CreateImageTest, WhatTheFileHadBeforeDoesNotShow) {
  for (Preallocation mode : {Preallocation::kMetadata, Preallocation::kAllocate, Preallocation::kWrite}) {
    Target file(3u << 20);
    ASSERT_TRUE(create({.size_bytes = 4u << 20, .preallocation = mode}, file));
    ASSERT_EQ(file.state.bytes.size(), (4u << 20) + (5u << 16));
    for (std::size_t i = 5u << 16; i < file.state.bytes.size(); ++i) ASSERT_EQ(file.state.bytes[i], std::byte{0}) << i;
  }
}

TEST_F(CreateImageTest, TheContentOfADataFileStays) {
  Target file;
  Target data(1u << 20);
  CountedWork work;
  Creation creation{.size_bytes = 2u << 20, .has_data_file = true, .data_file_raw = true};
  ASSERT_TRUE(create(creation, file, work, &data));
  ASSERT_EQ(data.state.bytes.size(), 2u << 20);
  EXPECT_EQ(data.state.bytes[0], std::byte{'x'});
  EXPECT_EQ(data.state.bytes[(1u << 20) - 1], std::byte{'x'});
  EXPECT_EQ(data.state.bytes[1u << 20], std::byte{0});
  const auto header = parse_header(file.state.bytes, HeaderUse::kReadWrite);
  ASSERT_TRUE(header);
  EXPECT_TRUE(header->has_raw_data_file());
  EXPECT_EQ(parse_header_extensions(*header, file.state.bytes)->data_file_name(), "data.raw");
}

TEST_F(CreateImageTest, AFixedNodeThatIsLargeEnoughHoldsAnImage) {
  Target file(1u << 20);
  file.state.grows = false;
  ASSERT_TRUE(create({.size_bytes = 64u << 20}, file));
  EXPECT_EQ(file.state.bytes.size(), 1u << 20);
  Target small(100'000);
  small.state.grows = false;
  EXPECT_FALSE(create({.size_bytes = 64u << 20}, small));
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
