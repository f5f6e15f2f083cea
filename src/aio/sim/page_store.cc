#include "aio/sim/page_store.h"

#include <algorithm>
#include <cstring>

namespace blockexport::aio {
namespace {

// Calls part(page, offset in page, done before, count) for each page that the range touches.
template <class Part>
void for_each_page(std::uint64_t offset, std::uint64_t length, Part part) {
  std::uint64_t done = 0;
  while (done < length) {
    std::uint64_t at = offset + done;
    std::uint64_t in_page = at % PageStore::kPageBytes;
    std::uint64_t count = std::min(length - done, PageStore::kPageBytes - in_page);
    part(at / PageStore::kPageBytes, in_page, done, count);
    done += count;
  }
}

}  // namespace

std::size_t PageStore::read(std::uint64_t offset, std::span<std::byte> out) const {
  if (offset >= size_) return 0;
  std::uint64_t length = std::min<std::uint64_t>(out.size(), size_ - offset);
  for_each_page(offset, length,
                [&](std::uint64_t page, std::uint64_t in_page, std::uint64_t done, std::uint64_t count) {
                  auto found = pages_.find(page);
                  if (found == pages_.end()) {
                    std::memset(out.data() + done, 0, count);
                  } else {
                    std::memcpy(out.data() + done, found->second.data() + in_page, count);
                  }
                });
  return length;
}

void PageStore::write(std::uint64_t offset, std::span<const std::byte> data) {
  for_each_page(offset, data.size(),
                [&](std::uint64_t page, std::uint64_t in_page, std::uint64_t done, std::uint64_t count) {
                  std::memcpy(pages_[page].data() + in_page, data.data() + done, count);
                });
  if (!data.empty()) size_ = std::max(size_, offset + data.size());
}

void PageStore::zero_in_page(std::uint64_t offset, std::uint64_t length) {
  auto found = pages_.find(offset / kPageBytes);
  if (found != pages_.end()) std::memset(found->second.data() + offset % kPageBytes, 0, length);
}

void PageStore::punch(std::uint64_t offset, std::uint64_t length) {
  std::uint64_t end = offset + length;
  std::uint64_t first_page = (offset + kPageBytes - 1) / kPageBytes;
  std::uint64_t end_page = end / kPageBytes;
  if (first_page > end_page) return zero_in_page(offset, length);
  zero_in_page(offset, first_page * kPageBytes - offset);
  zero_in_page(end_page * kPageBytes, end - end_page * kPageBytes);
  pages_.erase(pages_.lower_bound(first_page), pages_.lower_bound(end_page));
}

void PageStore::allocate(std::uint64_t offset, std::uint64_t length) {
  for_each_page(offset, length, [&](std::uint64_t page, std::uint64_t, std::uint64_t, std::uint64_t) { pages_[page]; });
}

void PageStore::truncate(std::uint64_t size) {
  if (size < size_) punch(size, (size_ + kPageBytes - 1) / kPageBytes * kPageBytes - size);
  size_ = size;
}

std::uint64_t PageStore::next_data(std::uint64_t offset) const {
  auto found = pages_.lower_bound(offset / kPageBytes);
  if (found == pages_.end()) return size_;
  return std::min(size_, std::max(offset, found->first * kPageBytes));
}

std::uint64_t PageStore::next_hole(std::uint64_t offset) const {
  std::uint64_t page = offset / kPageBytes;
  for (auto found = pages_.find(page); found != pages_.end() && found->first == page; ++found) ++page;
  return std::min(size_, std::max(offset, page * kPageBytes));
}

}  // namespace blockexport::aio
