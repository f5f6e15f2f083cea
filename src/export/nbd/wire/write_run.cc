#include "export/nbd/wire/write_run.h"

#include <cassert>

namespace blockexport::nbd {

WriteRun::WriteRun(std::span<const std::byte> bytes, HeaderMode mode, const RequestRules& rules,
                   std::size_t requests_max)
    : mode_(mode) {
  const std::size_t header_bytes = request_header_bytes(mode);
  while (count_ < requests_max && bytes.size() >= header_bytes) {
    const Request request = decode_request(bytes, mode);
    if (count_ > 0 && !joins(request, rules)) break;
    assert(request.length > 0);
    if (bytes.size() < header_bytes + request.length) break;
    add(request, bytes.subspan(header_bytes, request.length));
    bytes = bytes.subspan(header_bytes + request.length);
  }
  assert(count_ > 0);
}

// The cheapest check comes first: the next request usually has another offset.
bool WriteRun::joins(const Request& request, const RequestRules& rules) const {
  if (request.offset != offset_ + length_ || !request.is(Command::kWrite) || request.flags != flags_) return false;
  return request.length > 0 && request.length <= kSmallWriteBytesMax && rules.check(request).ok();
}

void WriteRun::add(const Request& request, std::span<const std::byte> payload) {
  if (count_ == 0) {
    flags_ = request.flags;
    offset_ = request.offset;
  }
  vectors_[count_++] = {.iov_base = const_cast<std::byte*>(payload.data()), .iov_len = payload.size()};
  length_ += payload.size();
}

Request WriteRun::request(std::size_t i) const {
  assert(i < count_);
  const std::size_t header_bytes = request_header_bytes(mode_);
  const auto* header = static_cast<const std::byte*>(vectors_[i].iov_base) - header_bytes;
  return decode_request({header, header_bytes}, mode_);
}

}  // namespace blockexport::nbd
