// MemoryExport: an ExportClient on a disk in memory, for tests.
//
// Answers one request in each wait(), in an order that a seed decides, and cuts block status at random places, as a
// server may. Header-only. Thread: one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <variant>
#include <vector>

#include "client/backup/export_client.h"

namespace blockexport::backup::testing {

class MemoryExport final : public ExportClient {
 public:
  explicit MemoryExport(std::uint64_t seed) : random_(seed) {}

  // Extents of 512 bytes: whether each is dirty, and whether it is zero.
  static constexpr std::uint64_t kSectorBytes = 512;
  std::vector<std::byte> disk;
  std::vector<bool> dirty;
  std::vector<bool> zero;
  // The number of reads after which each fails with EIO.
  std::uint64_t reads_max = UINT64_MAX;

  const std::vector<std::string>& offered_contexts() const override { return contexts_; }
  Result<> select(const std::vector<std::string>& contexts) override {
    contexts_ = contexts;
    information_.name = "disk";
    information_.size_bytes = disk.size();
    information_.read_bytes_max = kChunkBytes;
    information_.status_bytes_max = std::uint64_t{1} << 20;
    return {};
  }
  const ExportInformation& information() const override { return information_; }
  Result<> connect_more(unsigned) override { return {}; }
  Result<> start(ExportRead& read) override {
    read.has_ended = false;
    requests_.emplace_back(&read);
    return {};
  }
  Result<> start(StatusQuery& query) override {
    query.has_ended = false;
    query.contexts.resize(contexts_.size());
    requests_.emplace_back(&query);
    return {};
  }
  Result<> wait(int) override {
    if (requests_.empty()) return fail("a wait without requests");
    const std::size_t chosen = random_() % requests_.size();
    std::swap(requests_[chosen], requests_.back());
    const auto request = requests_.back();
    requests_.pop_back();
    if (auto* read = std::get_if<ExportRead*>(&request)) {
      answer(**read);
    } else {
      answer(*std::get<StatusQuery*>(request));
    }
    return {};
  }

  static constexpr std::uint64_t kChunkBytes = 4096;

 private:
  void answer(ExportRead& read) {
    read.has_ended = true;
    read.error = reads_++ < reads_max ? 0 : EIO;
    if (read.error == 0)
      std::ranges::copy_n(disk.begin() + static_cast<std::ptrdiff_t>(read.offset),
                          static_cast<std::ptrdiff_t>(read.bytes.size()), read.bytes.begin());
  }
  void answer(StatusQuery& query) {
    for (std::size_t i = 0; i < contexts_.size(); ++i) {
      const bool is_allocation = contexts_[i] == kAllocationContext;
      query.contexts[i].expect(query.length);
      const std::uint64_t first = query.offset / kSectorBytes;
      const std::uint64_t count = 1 + random_() % (query.length / kSectorBytes);
      for (std::uint64_t sector = first; sector < first + count; ++sector) {
        const bool is_set = (is_allocation ? zero : dirty)[sector];
        const std::uint64_t flags = is_allocation ? kHoleFlag | kZeroFlag : kDirtyFlag;
        query.contexts[i].add({.length = kSectorBytes, .flags = is_set ? flags : 0});
      }
      query.contexts[i].end_answer();
    }
    query.has_ended = true;
    query.error = 0;
  }

  std::mt19937_64 random_;
  std::vector<std::string> contexts_;
  ExportInformation information_;
  std::vector<std::variant<ExportRead*, StatusQuery*>> requests_;
  std::uint64_t reads_ = 0;
};

}  // namespace blockexport::backup::testing
