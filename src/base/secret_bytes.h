// SecretBytes: secret bytes (a password, a key) in pages of their own, which are locked in memory, left out of core
// dumps, empty in a forked child, and wiped before they are freed.
//
// Owned by the code that uses the secret; moved, never copied. Thread: any; not for two at once. It uses whole pages,
// so it suits a few secrets, not one for each connection.
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
  // `size` zero bytes. Aborts the process when the system has no memory.
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
  // The bytes followed by a NUL, for C libraries. Null when there are none.
  const char* c_str() const { return reinterpret_cast<const char*>(data_); }

  // Truncates it to its first `size` bytes; wipes the others.
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

// Overwrites `text` and empties it: for a secret that has not reached its SecretBytes yet.
void wipe(std::string& text);

// Overwrites 32 KiB of this thread's stack below the current frame, where calls that have ended may have left secrets;
// takes about a microsecond. Nobody else does that: for example, the dynamic loader saves the registers there at the
// first call of a function.
void wipe_dead_stack();

// Stops the kernel from writing a core dump of this process, and other processes of the same user from tracing it.
void forbid_core_dumps();

}  // namespace blockexport
