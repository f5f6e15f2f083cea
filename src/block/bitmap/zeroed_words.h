// ZeroedWords: an array of 64-bit words that starts as zeros and takes memory only where words are written.
//
// The kernel adds pages of zeros on demand, so the array of a huge disk is cheap until it is used. The destructor
// returns all of it to the system. Several threads may access the words through std::atomic_ref.
// Owned by DirtyBits. Thread: any; an object has one owner.
#pragma once

#include <cstdint>
#include <expected>
#include <utility>

#include "base/errno.h"

namespace blockexport::block {

class ZeroedWords {
 public:
  // No words.
  ZeroedWords() = default;
  // ENOMEM: the system lacks the memory or the address space.
  static std::expected<ZeroedWords, Errno> create(std::uint64_t word_count);

  ZeroedWords(ZeroedWords&& other) noexcept { swap(other); }
  ZeroedWords& operator=(ZeroedWords&& other) noexcept {
    swap(other);
    return *this;
  }
  ~ZeroedWords();

  std::uint64_t* words() const { return words_; }
  std::uint64_t word_count() const { return word_count_; }

  void swap(ZeroedWords& other) noexcept {
    std::swap(words_, other.words_);
    std::swap(word_count_, other.word_count_);
  }

 private:
  std::uint64_t* words_ = nullptr;
  std::uint64_t word_count_ = 0;
};

}  // namespace blockexport::block
