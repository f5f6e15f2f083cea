// OpenedImage: a node with a qcow2 image in a recorded file, for tests of its snapshots.
//
// For tests. Thread: of its reactor; reads and writes of the disk on any.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "block/node.h"
#include "drivers/qcow2/check/check.h"
#include "drivers/qcow2/qcow2_open.h"
#include "drivers/qcow2/qcow2_snapshots.h"
#include "drivers/qcow2/testing/node_opener.h"
#include "drivers/qcow2/testing/recording_file.h"

namespace blockexport::drivers::qcow2 {

using SnapshotImageBytes = std::vector<std::byte>;
inline constexpr std::uint64_t kSnapshotImageSector = 512;

// A node with an image in a recorded file.
class OpenedImage {
 public:
  // `step_bytes`: of L2 tables in one step of a snapshot.
  explicit OpenedImage(RecordingState& state, std::uint64_t step_bytes = kSnapshotStepBytesMax)
      : step_bytes_(step_bytes), file_("file", std::make_unique<RecordingDriver>(state), kWritable) {}

  aio::Task<Result<>> open() {
    NodeOpener opener({&file_});
    schema::BlockdevOptionsQcow2 options;
    options.file = {"file"};
    // Few slices fit the cache, so that they are read again.
    options.l2_cache_size = 8 * 512;
    options.l2_cache_entry_size = 512;
    CO_TRY_ASSIGN(auto driver, co_await open_qcow2(options, kWritable, opener, {nullptr, nullptr}));
    disk_ = std::make_unique<block::Node>("disk", std::move(driver), kWritable);
    static_cast<Qcow2Snapshots&>(snapshots()).set_step_bytes(step_bytes_);
    co_return Result<>();
  }
  block::Node& disk() { return *disk_; }
  block::Node& file() { return file_; }
  block::ImageSnapshots& snapshots() { return *disk_->driver().image_snapshots(); }

  aio::Task<IoResult> write(std::uint64_t sector, std::uint64_t count, std::byte fill, bool compressed = false) {
    SnapshotImageBytes bytes(count * kSnapshotImageSector, fill);
    const iovec vector{bytes.data(), bytes.size()};
    co_return co_await disk_->write({sector * kSnapshotImageSector, bytes.size()}, {&vector, 1},
                                    {.compressed = compressed});
  }
  // The first byte of each sector, all of whose bytes must be equal.
  aio::Task<SnapshotImageBytes> sectors() {
    SnapshotImageBytes bytes(disk_->size_bytes());
    const iovec vector{bytes.data(), bytes.size()};
    EXPECT_TRUE(co_await disk_->read({0, bytes.size()}, {&vector, 1}));
    SnapshotImageBytes firsts;
    for (std::uint64_t at = 0; at < bytes.size(); at += kSnapshotImageSector) {
      firsts.push_back(bytes[at]);
      const auto sector = std::span(bytes).subspan(at, kSnapshotImageSector);
      EXPECT_TRUE(std::ranges::all_of(sector, [&](std::byte one) { return one == bytes[at]; })) << "at " << at;
    }
    co_return firsts;
  }
  std::set<std::string> ids() {
    std::set<std::string> all;
    for (const block::ImageSnapshot& one : snapshots().list()) all.insert(one.id);
    return all;
  }

 private:
  static constexpr block::NodeOptions kWritable{.discard = block::DiscardMode::kUnmap};

  const std::uint64_t step_bytes_;
  block::Node file_;
  std::unique_ptr<block::Node> disk_;
};

inline aio::Task<CheckReport> check(OpenedImage& image) {
  Result<CheckReport> report = co_await check_image(image.file(), {});
  EXPECT_TRUE(report && report->corruptions == 0 && report->check_errors == 0)
      << (report ? report->findings.front() : report.error().message());
  co_return report ? std::move(*report) : CheckReport();
}

}  // namespace blockexport::drivers::qcow2
