#include "common/pattern.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "common/fatal.h"
#include "common/random.h"

namespace blockexport::bench {

namespace {

constexpr uint64_t kTableSeed = 0x626c6f636b;
constexpr uint64_t kShiftPerSalt = 8 * 7919;
constexpr uint64_t kVocabularySeed = 0x776f726473;

// The word of a vocabulary with this number.
uint64_t word_at(uint64_t number) {
  return Random(kVocabularySeed + number).next();
}

void fill_table(std::byte* table, uint64_t vocabulary) {
  Random random(kTableSeed);
  for (std::size_t i = 0; i < Pattern::kPeriod; i += sizeof(uint64_t)) {
    uint64_t word = vocabulary == 0 ? random.next() : word_at(random.below(vocabulary));
    std::memcpy(table + i, &word, sizeof word);
  }
}

}  // namespace

Pattern::Pattern(uint64_t salt, std::size_t longest, uint64_t vocabulary) : shift_(salt * kShiftPerSalt % kPeriod) {
  std::size_t copies = 1 + (longest + kPeriod - 1) / kPeriod;
  int memory = memfd_create("pattern", MFD_CLOEXEC);
  if (memory < 0 || ftruncate(memory, kPeriod) != 0) {
    fatal("pattern memory: {}", std::strerror(errno));
  }
  void* area = mmap(nullptr, copies * kPeriod, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) {
    fatal("pattern address space: {}", std::strerror(errno));
  }
  auto* base = static_cast<std::byte*>(area);
  for (std::size_t i = 0; i < copies; ++i) {
    int flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE;
    if (mmap(base + i * kPeriod, kPeriod, PROT_READ | PROT_WRITE, flags, memory, 0) == MAP_FAILED) {
      fatal("pattern mapping: {}", std::strerror(errno));
    }
  }
  close(memory);
  fill_table(base, vocabulary);
  base_ = base;
}

bool Pattern::matches(uint64_t offset, std::span<const std::byte> data) const {
  return std::memcmp(at(offset), data.data(), data.size()) == 0;
}

bool Pattern::ends_match(uint64_t offset, std::span<const std::byte> data) const {
  constexpr std::size_t kWord = sizeof(uint64_t);
  if (data.size() < kWord) {
    return matches(offset, data);
  }
  return matches(offset, data.first<kWord>()) && matches(offset + data.size() - kWord, data.last<kWord>());
}

}  // namespace blockexport::bench
