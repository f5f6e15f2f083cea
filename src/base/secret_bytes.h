// SecretBytes: bytes that nobody else should see (a password, a key), in pages of their own: locked in memory, left out
// of core dumps, empty in a forked child, and wiped when they are given back.
//
// Owned by whoever knows the secret; moved, never copied. Thread: any; not for two at once. It takes whole pages, so it
// is for a few secrets, not for each connection.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace blockexport {

class SecretBytes {
 public:
  SecretBytes() = default;
  // `size` zeroes. Ends the process when the system has no memory.
  explicit SecretBytes(std::size_t size);
  explicit SecretBytes(std::string_view content);
  SecretBytes(SecretBytes&& other) noexcept { swap(other); }
  SecretBytes& operator=(SecretBytes&& other) noexcept {
    SecretBytes taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~SecretBytes();

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::span<std::byte> bytes() { return {data_, size_}; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  // The bytes with a NUL behind them, for libraries that want one. Null when there are none.
  const char* c_str() const { return reinterpret_cast<const char*>(data_); }

  // Cuts it to its first `size` bytes; what follows is wiped.
  void shrink(std::size_t size);

 private:
  void swap(SecretBytes& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(mapped_bytes_, other.mapped_bytes_);
  }

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t mapped_bytes_ = 0;
};

// Overwrites `text` and empties it: for the ways that a secret takes before it is in a SecretBytes.
void wipe(std::string& text);

// Overwrites what calls that have ended left on this thread's stack, as deep as they may have come, which takes about a
// microsecond. Nobody else does: the loader, for one, saves the registers there when a function is called for the first
// time.
void wipe_dead_stack();

// From now on the kernel writes no core of this process, and lets no other process of the same user look into it.
void forbid_core_dumps();

}  // namespace blockexport
