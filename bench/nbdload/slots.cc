#include "nbdload/slots.h"

#include <fmt/format.h>

#include <algorithm>

namespace blockexport::bench {

namespace {

constexpr unsigned kGenerationShift = 32;

bool all_zero(std::span<const std::byte> data) {
  return std::ranges::all_of(data, [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

Slots::Slots(const Options& options, const Pattern& pattern, Tally& tally)
    : options_(options), pattern_(pattern), tally_(tally), slots_(options.depth) {
  for (uint32_t i = options.depth; i > 0; --i) {
    free_.push_back(i - 1);
  }
}

const Slot& Slots::open(const Request& request, uint64_t now_ns) {
  uint32_t index = free_.back();
  free_.pop_back();
  ++busy_;
  ++generation_;
  bool check = options_.check_every != 0 && generation_ % options_.check_every == 0;
  slots_[index] = {.request = request,
                   .cookie = uint64_t{generation_} << kGenerationShift | index,
                   .sent_ns = now_ns,
                   .busy = true,
                   .check_whole = check};
  return slots_[index];
}

Slot* Slots::find(uint64_t cookie) {
  auto index = static_cast<uint32_t>(cookie);
  if (index >= slots_.size() || !slots_[index].busy || slots_[index].cookie != cookie) {
    return nullptr;
  }
  return &slots_[index];
}

void Slots::take_data(Slot& slot, uint64_t offset, std::span<const std::byte> data) {
  slot.received += data.size();
  if (options_.check_every == 0) {
    return;
  }
  bool good = slot.check_whole ? pattern_.matches(offset, data) : pattern_.ends_match(offset, data);
  if (!good && !(options_.allow_zeroes && all_zero(data))) {
    ++tally_.wrong_data;
  }
}

void Slots::take_hole(Slot& slot, uint64_t offset, uint64_t length) {
  slot.received += length;
  if (!options_.allow_zeroes) {
    tally_.set_breach(fmt::format("a hole at {} where the image holds data", offset));
  }
}

void Slots::take_error(Slot& slot, uint32_t error) {
  if (error == 0) {
    tally_.set_breach("an error chunk without an error");
  }
  slot.failed = true;
}

void Slots::close(Slot& slot, uint64_t now_ns) {
  uint64_t expected = slot.request.command == Command::kRead ? slot.request.length : 0;
  if (slot.failed) {
    ++tally_.refused;
  } else if (slot.received != expected) {
    tally_.set_breach(fmt::format("a reply of {} bytes to a request for {}", slot.received, expected));
  }
  ++tally_.operations;
  tally_.bytes += slot.request.length;
  if (options_.latency) {
    tally_.latency.record(now_ns - slot.sent_ns);
  }
  slot.busy = false;
  --busy_;
  free_.push_back(static_cast<uint32_t>(&slot - slots_.data()));
}

}  // namespace blockexport::bench
