#include "aio/memory/slabs.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cassert>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define BLOCKEXPORT_WATCHED_SLABS
#endif
#endif

namespace blockexport::aio {
namespace {

constexpr std::size_t kReservedBytes = Slabs::kSlabBytes * Slabs::kSlabsMax;
static_assert(Slabs::kSlabsMax == 64, "taken_ has one bit per slab");

// Under AddressSanitizer a free buffer is poisoned, and so is a page after each buffer.
#ifdef BLOCKEXPORT_WATCHED_SLABS
constexpr std::size_t kGapBytes = 4096;
void forbid(std::byte* start, std::size_t bytes) {
  ASAN_POISON_MEMORY_REGION(start, bytes);
}
void allow(std::byte* start, std::size_t bytes) {
  ASAN_UNPOISON_MEMORY_REGION(start, bytes);
}
#else
constexpr std::size_t kGapBytes = 0;
void forbid(std::byte*, std::size_t) {}
void allow(std::byte*, std::size_t) {}
#endif

void release_pages(std::byte* start, std::size_t bytes) {
  (void)::madvise(start, bytes, MADV_DONTNEED);
}

}  // namespace

Slabs::~Slabs() {
  if (start_ == nullptr) return;
  allow(start_, kReservedBytes);
  ::munmap(start_, kReservedBytes);
}

bool Slabs::reserve() {
  void* start =
      ::mmap(nullptr, kReservedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return false;
  // Without this, the first small buffer could allocate a huge page.
  (void)::madvise(start, kReservedBytes, MADV_NOHUGEPAGE);
  start_ = static_cast<std::byte*>(start);
  forbid(start_, kReservedBytes);
  return true;
}

bool Slabs::add_slab(SizeClass& to) {
  if (start_ == nullptr && !reserve()) return false;
  const auto number = static_cast<unsigned>(std::countr_one(taken_));
  if (number == kSlabsMax) return false;
  taken_ |= std::uint64_t{1} << number;
  to.uncut = slab(number).data();
  to.uncut_end = to.uncut + kSlabBytes;
  return true;
}

std::byte* Slabs::take(std::size_t size_class) {
  assert(size_class < kSizeClasses);
  SizeClass& from = classes_[size_class];
  const std::size_t bytes = buffer_bytes(size_class);
  std::byte* buffer = pop(from, bytes);
  if (buffer == nullptr) buffer = cut(from, bytes);
  if (buffer == nullptr) return nullptr;
  ++in_use_[number_of(buffer)];
  allow(buffer, bytes);
  return buffer;
}

std::byte* Slabs::pop(SizeClass& from, std::size_t bytes) {
  std::vector<std::byte*>& list = from.warm.empty() ? from.cold : from.warm;
  if (list.empty()) return nullptr;
  if (&list == &from.warm) idle_bytes_ -= bytes;
  std::byte* buffer = list.back();
  list.pop_back();
  return buffer;
}

std::byte* Slabs::cut(SizeClass& from, std::size_t bytes) {
  const auto left = static_cast<std::size_t>(from.uncut_end - from.uncut);
  if (left < bytes + kGapBytes && !add_slab(from)) return nullptr;
  std::byte* buffer = from.uncut;
  from.uncut += bytes + kGapBytes;
  return buffer;
}

bool Slabs::give_back(std::byte* buffer, std::size_t size_class) {
  const std::size_t bytes = buffer_bytes(size_class);
  if (!slab_of(buffer, bytes)) return false;
  --in_use_[number_of(buffer)];
  classes_[size_class].warm.push_back(buffer);
  idle_bytes_ += bytes;
  forbid(buffer, bytes);
  return true;
}

void Slabs::trim() {
  ++trims_;
  for (std::size_t i = 0; i < kSizeClasses; ++i) trim(classes_[i], buffer_bytes(i));
  for (unsigned number = 0; number < kSlabsMax; ++number) {
    const std::uint64_t bit = std::uint64_t{1} << number;
    if ((taken_ & bit) == 0 || in_use_[number] > 0) continue;
    taken_ &= ~bit;
    release_pages(slab(number).data(), kSlabBytes);
  }
  idle_bytes_ = 0;
}

// Removes the buffers of unused slabs from the lists; frees the pages of the other idle buffers, and keeps their
// addresses.
void Slabs::trim(SizeClass& one, std::size_t bytes) {
  auto unused = [this](const std::byte* buffer) { return is_unused(buffer); };
  std::erase_if(one.warm, unused);
  std::erase_if(one.cold, unused);
  for (std::byte* buffer : one.warm) release_pages(buffer, bytes);
  one.cold.insert(one.cold.end(), one.warm.begin(), one.warm.end());
  one.warm.clear();
  // uncut_end may be the first byte of the next slab, hence the - 1.
  if (one.uncut_end != nullptr && is_unused(one.uncut_end - 1)) one.uncut = one.uncut_end = nullptr;
}

std::optional<unsigned> Slabs::slab_of(const void* start, std::size_t bytes) const {
  // An address before start_ gives a huge offset, since the subtraction is unsigned.
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(start) - reinterpret_cast<std::uintptr_t>(start_);
  if (start_ == nullptr || offset >= kReservedBytes || offset % kSlabBytes + bytes > kSlabBytes) return std::nullopt;
  return static_cast<unsigned>(offset / kSlabBytes);
}

}  // namespace blockexport::aio
