// Workloads for tests: images with a cluster of each state, short operations on them, and what each operation does to
// the guest's bytes.
//
// The guest's bytes are looked at in units: each has one value, which differs from those around it, so that bytes of
// another place are noticed. Plain values. Thread: the test's.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "block/node.h"
#include "drivers/qcow2/qcow2_open.h"
#include "drivers/qcow2/testing/image_builder.h"
#include "drivers/qcow2/testing/node_opener.h"
#include "drivers/qcow2/testing/recording_file.h"

namespace blockexport::drivers::qcow2 {

inline constexpr std::uint64_t kUnitBytes = 256;

struct WorkloadKind {
  std::string name;
  ImageShape shape;
  bool has_backing = false;
  bool has_snapshot = false;
  bool discard_no_unref = false;
};

// The guest clusters of a workload's image by their state. The disk ends within the last one, if clusters are longer
// than a sector.
enum WorkloadCluster : std::uint64_t {
  kOwnData,
  kUnallocatedCluster,
  kReservedZeroes,
  kPlainZeroes,
  kCompressedCluster,
  kCompressedNeighbour,
  kSharedData,
  kPartlyWritten,  // data; with subclusters, some of them data and some zeroes
  kMoreOwnData,
  kLastCluster,
  kWorkloadClusters,
};

inline std::vector<WorkloadKind> workload_kinds() {
  return {
      {.name = "smallest clusters", .shape = {.cluster_bits = 9}, .has_snapshot = true},
      {.name = "refcounts of one bit", .shape = {.cluster_bits = 9, .refcount_order = 0}},
      {.name = "backing", .shape = {.cluster_bits = 9}, .has_backing = true, .has_snapshot = true},
      {.name = "clusters of 4 KiB", .shape = {.cluster_bits = 12, .refcount_order = 3}, .has_snapshot = true},
      {.name = "no references given up",
       .shape = {.cluster_bits = 9},
       .has_backing = true,
       .has_snapshot = true,
       .discard_no_unref = true},
      {.name = "data file", .shape = {.cluster_bits = 12, .data_file = true}, .has_backing = true},
      {.name = "version 2", .shape = {.version = 2, .cluster_bits = 9}},
      {.name = "subclusters",
       .shape = {.cluster_bits = 14, .extended_l2 = true},
       .has_backing = true,
       .has_snapshot = true},
  };
}

// For the names of tests.
inline std::string workload_name(const testing::TestParamInfo<WorkloadKind>& info) {
  std::string name = info.param.name;
  std::erase_if(name, [](char one) { return std::isalnum(static_cast<unsigned char>(one)) == 0; });
  return name;
}

inline std::uint64_t workload_disk_bytes(const WorkloadKind& kind) {
  const std::uint64_t cluster = std::uint64_t{1} << kind.shape.cluster_bits;
  return kLastCluster * cluster + (cluster > 512 ? cluster / 4 + 512 : cluster);
}

// The bytes of a unit when the workload begins, and those below it in the backing file.
inline std::byte first_value(std::uint64_t unit) {
  return static_cast<std::byte>(0x40 + unit % 61);
}
inline std::byte backing_value(std::uint64_t unit) {
  return static_cast<std::byte>(0x80 + unit % 61);
}

// The content of the files when the workload begins.
struct WorkloadFiles {
  std::vector<std::byte> file;
  std::vector<std::byte> data;
  std::vector<std::byte> backing;
  std::vector<std::byte> disk;               // what the image shows
  std::vector<std::uint64_t> kept_clusters;  // offsets of host clusters that a snapshot needs as they are
};

class WorkloadFilesBuilder {
 public:
  explicit WorkloadFilesBuilder(const WorkloadKind& kind) : kind_(kind), builder_(shape_of(kind)) {}

  const Geometry& geometry() const { return builder_.geometry(); }

  WorkloadFiles build() {
    WorkloadFiles files;
    const bool may_compress = !kind_.shape.data_file;
    // A refcount of one bit cannot say that two compressed clusters share one.
    const bool may_share = may_compress && kind_.shape.refcount_order > 0;
    builder_.data(kSharedData, values(kSharedData));
    builder_.data(kLastCluster, values(kLastCluster));
    if (may_compress) builder_.compressed(kCompressedCluster, values(kCompressedCluster));
    if (may_share) builder_.compressed(kCompressedNeighbour, values(kCompressedNeighbour));
    if (kind_.has_snapshot) {
      files.kept_clusters.push_back(builder_.table_offset(0));
      for (const std::uint64_t cluster : {kSharedData, kLastCluster, kCompressedCluster}) {
        files.kept_clusters.push_back(
            builder_.geometry().round_down(place_of(builder_.geometry(), builder_.entry(cluster)).host_offset));
      }
      builder_.add_snapshot("1", "first");
    }
    for (const std::uint64_t cluster : {kOwnData, kMoreOwnData}) builder_.data(cluster, values(cluster));
    if (kind_.shape.version >= 3) {
      builder_.zero(kReservedZeroes, true);
      builder_.zero(kPlainZeroes);
    }
    if (kind_.shape.extended_l2) {
      builder_.subclusters(kPartlyWritten, 0x00ff'00f0, 0xff00'000f, std::byte{0x7f});
    } else {
      builder_.data(kPartlyWritten, values(kPartlyWritten));
    }
    files.file = builder_.build();
    files.data = builder_.data_file();
    if (kind_.has_backing) {
      // Longer than the disk, so that a larger disk must hide its rest.
      files.backing.resize((kWorkloadClusters + 2) << kind_.shape.cluster_bits);
      for (std::size_t i = 0; i < files.backing.size(); ++i) files.backing[i] = backing_value(i / kUnitBytes);
    }
    files.disk = builder_.disk(files.backing);
    return files;
  }

 private:
  static ImageShape shape_of(const WorkloadKind& kind) {
    ImageShape shape = kind.shape;
    shape.size_bytes = workload_disk_bytes(kind);
    return shape;
  }
  std::vector<std::byte> values(std::uint64_t cluster) const {
    std::vector<std::byte> bytes(builder_.geometry().cluster_bytes());
    const std::uint64_t begin = cluster << builder_.geometry().cluster_bits;
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = first_value((begin + i) / kUnitBytes);
    return bytes;
  }

  const WorkloadKind& kind_;
  ImageBuilder builder_;
};

// --- operations ---

enum class WorkloadVerb : std::uint8_t { kRead, kWrite, kZeroes, kZeroesUnmap, kDiscard, kFlush, kResize, kCompress };

struct WorkloadStep {
  WorkloadVerb verb = WorkloadVerb::kFlush;
  block::Range range = {};  // kResize: its end is the new size
  std::byte value = {};     // kWrite, kCompress
};

inline std::string describe(const WorkloadStep& step) {
  static constexpr const char* kNames[] = {"read",    "write", "zeroes", "zeroes with unmap",
                                           "discard", "flush", "resize", "compressed write"};
  return std::string(kNames[static_cast<std::size_t>(step.verb)]) + " " + std::to_string(step.range.offset) + "+" +
         std::to_string(step.range.length);
}

inline WorkloadStep part_of(std::uint64_t cluster, const Geometry& geometry) {
  const std::uint64_t bytes = geometry.cluster_bytes();
  const std::uint64_t begin = bytes > 512 ? bytes / 4 + kUnitBytes : kUnitBytes;
  return {.verb = WorkloadVerb::kWrite,
          .range = {(cluster << geometry.cluster_bits) + begin, bytes > 512 ? bytes / 2 : kUnitBytes}};
}
inline WorkloadStep on_cluster(WorkloadVerb verb, std::uint64_t cluster, const Geometry& geometry,
                               std::uint64_t clusters = 1) {
  return {.verb = verb, .range = {cluster << geometry.cluster_bits, clusters << geometry.cluster_bits}};
}
inline WorkloadStep over_two(std::uint64_t cluster, const Geometry& geometry) {
  const std::uint64_t begin = (cluster << geometry.cluster_bits) + geometry.cluster_bytes() / 2;
  return {.verb = WorkloadVerb::kWrite, .range = {begin, geometry.cluster_bytes()}};
}

// True if it writes its value, and not zeros.
inline bool writes_value(const WorkloadStep& step) {
  return step.verb == WorkloadVerb::kWrite || step.verb == WorkloadVerb::kCompress;
}

// The part of a range that a disk of this size has.
inline block::Range inside(block::Range range, std::uint64_t disk_bytes) {
  const std::uint64_t offset = std::min(range.offset, disk_bytes);
  return {offset, std::min(range.end(), disk_bytes) - offset};
}

// The range of guest bytes whose value it changes, on a disk of this size.
inline block::Range changed_by(const WorkloadStep& step, std::uint64_t disk_bytes) {
  if (step.verb == WorkloadVerb::kResize) {
    const std::uint64_t begin = std::min(disk_bytes, step.range.end());
    return {begin, std::max(disk_bytes, step.range.end()) - begin};
  }
  if (step.verb == WorkloadVerb::kRead || step.verb == WorkloadVerb::kFlush) return {};
  return inside(step.range, disk_bytes);
}

// An open image in recording files.
class WorkloadImage {
 public:
  // The states have the contents; `backing` is empty for none. All of them outlive this.
  WorkloadImage(const WorkloadKind& kind, RecordingState& file, RecordingState& data, RecordingState& backing)
      : kind_(kind),
        file_("file", std::make_unique<RecordingDriver>(file), kUnmaps),
        data_("data", std::make_unique<RecordingDriver>(data), kUnmaps),
        backing_("backing", std::make_unique<RecordingDriver>(backing), kUnmaps) {}

  // The reason when it fails; empty otherwise.
  aio::Task<std::string> open() {
    schema::BlockdevOptionsQcow2 options;
    options.file = {"file"};
    options.backing =
        kind_.has_backing ? schema::BlockdevRefOrNull{"backing"} : schema::BlockdevRefOrNull{json::Null{}};
    if (kind_.shape.data_file) options.data_file = schema::BlockdevRef{"data"};
    options.pass_discard_other = true;
    if (kind_.discard_no_unref) options.discard_no_unref = true;
    NodeOpener opener({&file_, &data_, &backing_});
    auto opened = co_await open_qcow2(options, kUnmaps, opener, {nullptr, nullptr});
    if (!opened) co_return opened.error().message();
    disk_ = std::make_unique<block::Node>("disk", std::move(*opened), kUnmaps);
    co_return "";
  }
  block::Node& disk() { return *disk_; }
  block::Node& file() { return file_; }

  // Returns whether it succeeded. `bytes`: the buffer of the step, which has the result of a read. Does nothing behind
  // the end of the disk.
  aio::Task<bool> run(const WorkloadStep& step, std::vector<std::byte>& bytes) {
    if (step.verb == WorkloadVerb::kResize) co_return (co_await disk_->resize(step.range.end())).has_value();
    if (step.verb == WorkloadVerb::kFlush) co_return (co_await disk_->flush()).has_value();
    const block::Range range = inside(step.range, disk_->size_bytes());
    if (range.empty()) co_return true;
    bytes.assign(range.length, step.value);
    const iovec vector{bytes.data(), bytes.size()};
    switch (step.verb) {
      case WorkloadVerb::kRead:
        co_return (co_await disk_->read(range, {&vector, 1})).has_value();
      case WorkloadVerb::kWrite:
        co_return (co_await disk_->write(range, {&vector, 1}, {})).has_value();
      case WorkloadVerb::kCompress:
        co_return (co_await disk_->write(range, {&vector, 1}, {.compressed = true})).has_value();
      case WorkloadVerb::kDiscard:
        co_return (co_await disk_->discard(range)).has_value();
      default:
        co_return (co_await disk_->write_zeroes(range, {.may_unmap = step.verb == WorkloadVerb::kZeroesUnmap}))
            .has_value();
    }
  }

 private:
  static constexpr block::NodeOptions kUnmaps{.discard = block::DiscardMode::kUnmap};

  const WorkloadKind& kind_;
  block::Node file_;
  block::Node data_;
  block::Node backing_;
  std::unique_ptr<block::Node> disk_;
};

}  // namespace blockexport::drivers::qcow2
