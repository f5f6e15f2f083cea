#include "base/secret_bytes.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cassert>
#include <cstdlib>

namespace blockexport {

SecretBytes::SecretBytes(std::size_t size) : size_(size) {
  if (size == 0) return;
  const auto page_bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  // One byte more, for the NUL of c_str().
  mapped_bytes_ = (size + page_bytes) / page_bytes * page_bytes;
  void* pages = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) std::abort();
  data_ = static_cast<std::byte*>(pages);
  // Each call is best effort: a limit on locked memory, or an old kernel, is no reason to fail.
  (void)mlock(pages, mapped_bytes_);
  (void)madvise(pages, mapped_bytes_, MADV_DONTDUMP);
  (void)madvise(pages, mapped_bytes_, MADV_WIPEONFORK);
}

SecretBytes::SecretBytes(std::string_view content) : SecretBytes(content.size()) {
  if (size_ > 0) memcpy(data_, content.data(), size_);
}

SecretBytes::~SecretBytes() {
  if (data_ == nullptr) return;
  explicit_bzero(data_, mapped_bytes_);
  munmap(data_, mapped_bytes_);
}

void SecretBytes::shrink(std::size_t size) {
  assert(size <= size_);
  if (size < size_) explicit_bzero(data_ + size, size_ - size);
  size_ = size;
}

void wipe(std::string& text) {
  explicit_bzero(text.data(), text.capacity());
  text.clear();
}

// Not inlined, so that its stack frame covers the frames of the calls that have ended.
[[gnu::noinline]] void wipe_dead_stack() {
  constexpr std::size_t kDeepBytes = 32u << 10;
  std::byte dead[kDeepBytes];
  explicit_bzero(dead, sizeof dead);
}

void forbid_core_dumps() {
  (void)prctl(PR_SET_DUMPABLE, 0);
}

}  // namespace blockexport
