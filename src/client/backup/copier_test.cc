#include "client/backup/copier.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <random>

#include "client/backup/chain_reader.h"
#include "client/backup/testing/memory_export.h"

namespace blockexport::backup {
namespace {

using testing::MemoryExport;
using Disk = std::vector<std::byte>;

constexpr std::uint64_t kSectors = 512;
constexpr std::uint64_t kSector = MemoryExport::kSectorBytes;

NamedFile memory_file(const char* name) {
  return {.fd = OwnedFd(::memfd_create(name, MFD_CLOEXEC)), .path = name};
}

Progress silent(std::uint64_t bytes) {
  static const SystemClock clock;
  return {Progress::Form::kNone, -1, bytes, clock};
}

// A disk that changes, with the sectors that changed since the last point.
class Model {
 public:
  explicit Model(std::uint64_t seed) : random_(seed), disk_(kSectors * kSector), dirty_(kSectors, true) {}

  void change(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t sector = random_() % sectors();
      const auto value = static_cast<std::byte>(random_() % 3 == 0 ? 0 : random_());
      std::fill_n(disk_.begin() + static_cast<std::ptrdiff_t>(sector * kSector), kSector, value);
      dirty_[sector] = true;
    }
  }
  void grow(std::uint64_t count) {
    disk_.resize(disk_.size() + count * kSector, std::byte{9});
    dirty_.resize(sectors(), false);
  }
  void forget_changes() { dirty_.assign(sectors(), false); }
  std::uint64_t sectors() const { return disk_.size() / kSector; }
  const Disk& disk() const { return disk_; }

  void fill(MemoryExport& source) const {
    source.disk = disk_;
    source.dirty = dirty_;
    for (std::uint64_t i = 0; i < sectors(); ++i) {
      source.zero.push_back(is_all_zero(std::span(disk_).subspan(i * kSector, kSector)));
    }
  }

 private:
  std::mt19937_64 random_;
  Disk disk_;
  std::vector<bool> dirty_;
};

CopyOptions options_for(bool has_changes, std::uint64_t changed_from) {
  CopyOptions options{.contexts = {},
                      .has_changes = has_changes,
                      .has_allocation = true,
                      .changed_from = changed_from,
                      .chunk_bytes = MemoryExport::kChunkBytes,
                      .is_packed = true,
                      .requests = 5};
  if (has_changes) options.contexts.emplace_back("qemu:dirty-bitmap:b");
  options.contexts.emplace_back(kAllocationContext);
  return options;
}

// Pulls a point from the model, as `pull` does.
OpenPoint pull_point(const Model& model, std::uint64_t seed, const OpenPoint* parent) {
  MemoryExport source(seed);
  model.fill(source);
  const CopyOptions options =
      options_for(parent != nullptr, parent != nullptr ? parent->manifest.manifest.disk_bytes : UINT64_MAX);
  EXPECT_TRUE(source.select(options.contexts));
  OpenPoint point{.manifest = {}, .table = memory_file("table"), .data = {}};
  SparseFile data(memory_file("data"), true, false);
  CopyMemory memory;
  Progress progress = silent(model.disk().size());
  const auto totals = copy_export(source, memory, options, data, point.table, progress);
  EXPECT_TRUE(totals) << totals.error().message();
  EXPECT_TRUE(resize(data.file(), totals->data_bytes));
  point.data = {.fd = OwnedFd(::dup(data.file().fd.get())), .path = "data"};
  Manifest& manifest = point.manifest.manifest;
  manifest.disk_bytes = model.disk().size();
  manifest.records = totals->records;
  manifest.data_bytes = totals->data_bytes;
  manifest.zero_bytes = totals->zero_bytes;
  if (parent != nullptr) manifest.parent = ParentPoint{.number = 1, .sum = {}};
  return point;
}

Result<Disk> composed(const std::vector<OpenPoint>& points) {
  ChainReader reader(points);
  Disk disk;
  for (;;) {
    TRY_ASSIGN(const auto piece, reader.next());
    if (!piece) return disk;
    EXPECT_EQ(piece->offset, disk.size());
    if (piece->point) {
      TRY_ASSIGN(const auto bytes, reader.read(*piece));
      disk.insert(disk.end(), bytes.begin(), bytes.end());
    } else {
      disk.resize(disk.size() + piece->length);
    }
  }
}

TEST(CopierTest, EachPointOfARandomChainIsTheDiskAtItsTime) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Model model(seed);
    model.change(200);
    std::vector<OpenPoint> points;
    for (std::uint64_t i = 0; i < 5; ++i) {
      points.push_back(pull_point(model, seed * 10 + i, points.empty() ? nullptr : &points.back()));
      const auto disk = composed(points);
      ASSERT_TRUE(disk) << disk.error().message();
      ASSERT_EQ(*disk, model.disk()) << "seed " << seed << ", point " << i;
      model.forget_changes();
      model.change(30);
      if (i == 2) model.grow(17);
    }
  }
}

TEST(CopierTest, ACopyThatFailedIsContinued) {
  Model model(1);
  model.change(400);
  const CopyOptions first = options_for(false, UINT64_MAX);
  CopyOptions second = first;
  second.is_resumed = true;
  const NamedFile table = memory_file("table");
  const NamedFile file = memory_file("data");
  Progress progress = silent(model.disk().size());
  for (bool is_first : {true, false}) {
    MemoryExport source(is_first ? 3 : 4);
    model.fill(source);
    if (is_first) source.reads_max = 20;
    const CopyOptions& options = is_first ? first : second;
    ASSERT_TRUE(source.select(options.contexts));
    SparseFile data({.fd = OwnedFd(::dup(file.fd.get())), .path = "data"}, is_first, false);
    CopyMemory memory;
    const auto totals = copy_export(source, memory, options, data, table, progress);
    ASSERT_EQ(totals.has_value(), !is_first);
    if (is_first) {
      EXPECT_NE(totals.error().message().find("the server could not read"), std::string::npos);
      continue;
    }
    EXPECT_GE(totals->kept_bytes, 20 * kSector);
    const TableBounds bounds{.records = totals->records,
                             .disk_bytes = model.disk().size(),
                             .data_bytes = totals->data_bytes,
                             .covers_whole_disk = true};
    EXPECT_TRUE(verify_copy(data, table, bounds, progress));
  }
}

TEST(CopierTest, VerifyFindsAChangedByte) {
  Model model(2);
  model.change(100);
  OpenPoint point = pull_point(model, 5, nullptr);
  const std::byte other{77};
  ASSERT_TRUE(write_all(point.data, 5, std::span(&other, 1)));
  const TableBounds bounds = point.bounds();
  SparseFile data(std::move(point.data), false, false);
  Progress progress = silent(1);
  const auto verified = verify_copy(data, point.table, bounds, progress);
  ASSERT_FALSE(verified);
  EXPECT_EQ(verified.error().message(), "'data' does not hold at byte 0 what was written there");
}

TEST(CopierTest, AnEmptyDiskHasNoChunks) {
  MemoryExport source(1);
  const CopyOptions options = options_for(false, UINT64_MAX);
  ASSERT_TRUE(source.select(options.contexts));
  SparseFile data(memory_file("data"), true, false);
  const NamedFile table = memory_file("table");
  CopyMemory memory;
  Progress progress = silent(0);
  const auto totals = copy_export(source, memory, options, data, table, progress);
  ASSERT_TRUE(totals);
  EXPECT_EQ(totals->records, 0u);
}

}  // namespace
}  // namespace blockexport::backup
