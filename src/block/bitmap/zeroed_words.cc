#include "block/bitmap/zeroed_words.h"

#include <sys/mman.h>

#include <cstddef>

namespace blockexport::block {

std::expected<ZeroedWords, Errno> ZeroedWords::create(std::uint64_t word_count) {
  if (word_count > SIZE_MAX / sizeof(std::uint64_t)) return fail(ENOMEM);
  ZeroedWords result;
  if (word_count == 0) return result;
  // Without MAP_NORESERVE, so that the kernel refuses an array that is larger than the machine's memory.
  void* memory =
      ::mmap(nullptr, word_count * sizeof(std::uint64_t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return fail(ENOMEM);
  result.words_ = static_cast<std::uint64_t*>(memory);
  result.word_count_ = word_count;
  return result;
}

ZeroedWords::~ZeroedWords() {
  if (words_ != nullptr) (void)::munmap(words_, word_count_ * sizeof(std::uint64_t));
}

}  // namespace blockexport::block
