#include "drivers/encryption/encrypted_data.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "aio/task/current.h"
#include "base/error.h"
#include "block/buffers.h"

namespace blockexport::drivers {
namespace {

using block::IoBuffers;
using block::Range;
using crypto::kSectorBytes;

bool has_whole_sectors(IoBuffers buffers) {
  return std::ranges::all_of(buffers, [](const iovec& vector) { return vector.iov_len % kSectorBytes == 0; });
}

std::span<std::byte> bytes_of(const iovec& vector) {
  return {static_cast<std::byte*>(vector.iov_base), vector.iov_len};
}

[[maybe_unused]] bool is_aligned(Range place) {
  return (place.offset | place.length) % kSectorBytes == 0;
}

}  // namespace

IoResult EncryptedData::decrypt(std::uint64_t sector, IoBuffers buffers) {
  if (cipher_ == nullptr) return fail(EACCES);
  for (const iovec& vector : buffers) {
    if (const IoResult result = cipher_->decrypt(sector, bytes_of(vector)); !result) return result;
    sector += vector.iov_len / kSectorBytes;
  }
  return {};
}

aio::Task<IoResult> EncryptedData::read(block::Node& node, Range place, std::uint64_t sector, IoBuffers buffers) {
  assert(is_aligned(place));
  if (has_whole_sectors(buffers)) return read_in_place(node, place, sector, buffers);
  return read_bounced(node, place, sector, buffers);
}

// Bytes that are in memory are decrypted as they are copied, while they are in the processor's caches.
aio::Task<IoResult> EncryptedData::read_in_place(block::Node& node, Range place, std::uint64_t sector,
                                                 IoBuffers buffers) {
  std::uint64_t done = 0;     // bytes that are decrypted
  std::uint64_t fetched = 0;  // bytes that are read
  while (done < place.length) {
    if (done != 0) co_await aio::next_turn();
    const std::uint64_t length = std::min(kPieceBytes, place.length - done);
    const std::vector<iovec> piece = block::slice(buffers, done, length);
    if (fetched == done) {
      IoResult result = node.try_read(co_await aio::current_reactor(), {place.offset + done, length}, piece);
      fetched = done + length;
      if (!result && result.error() == Errno(EAGAIN)) {
        const std::vector<iovec> rest = block::slice(buffers, done, place.length - done);
        result = co_await node.read({place.offset + done, place.length - done}, rest);
        fetched = place.length;
      }
      if (!result) co_return result;
    }
    CO_TRY(decrypt(sector + done / kSectorBytes, piece));
    done += length;
  }
  co_return IoResult();
}

aio::Task<IoResult> EncryptedData::read_bounced(block::Node& node, Range place, std::uint64_t sector,
                                                IoBuffers buffers) {
  CO_TRY(co_await slots_.take());
  const WorkSlots::Taken slot(slots_);
  const block::AlignedMemory memory(std::min(kBounceBytes, place.length), 4096);
  if (!memory) co_return fail(ENOMEM);
  for (std::uint64_t done = 0; done < place.length;) {
    const std::span<std::byte> bytes = memory.bytes().first(std::min(kBounceBytes, place.length - done));
    const iovec vector{bytes.data(), bytes.size()};
    CO_TRY(co_await read_in_place(node, {place.offset + done, bytes.size()}, sector + done / kSectorBytes,
                                  IoBuffers(&vector, 1)));
    block::copy_in(buffers, done, bytes);
    done += bytes.size();
  }
  co_return IoResult();
}

aio::Task<IoResult> EncryptedData::encrypt(std::uint64_t sector, std::span<std::byte> bytes) {
  if (cipher_ == nullptr) co_return fail(EACCES);
  for (std::uint64_t done = 0; done < bytes.size();) {
    if (done != 0) co_await aio::next_turn();
    const std::span<std::byte> piece = bytes.subspan(done, std::min<std::uint64_t>(kPieceBytes, bytes.size() - done));
    CO_TRY(cipher_->encrypt(sector + done / kSectorBytes, piece, piece));
    done += piece.size();
  }
  co_return IoResult();
}

aio::Task<IoResult> EncryptedData::write(block::Node& node, Range place, std::uint64_t sector, IoBuffers buffers,
                                         block::WriteOptions options) {
  assert(is_aligned(place));
  CO_TRY(co_await slots_.take());
  const WorkSlots::Taken slot(slots_);
  const block::AlignedMemory memory(std::min(kBounceBytes, place.length), 4096);
  if (!memory) co_return fail(ENOMEM);
  for (std::uint64_t done = 0; done < place.length;) {
    const std::span<std::byte> bytes = memory.bytes().first(std::min(kBounceBytes, place.length - done));
    block::copy_out(buffers, done, bytes);
    CO_TRY(co_await encrypt(sector + done / kSectorBytes, bytes));
    const iovec vector{bytes.data(), bytes.size()};
    CO_TRY(co_await node.write({place.offset + done, bytes.size()}, IoBuffers(&vector, 1), options));
    done += bytes.size();
  }
  co_return IoResult();
}

aio::Task<IoResult> EncryptedData::write_zeroes(block::Node& node, Range place, std::uint64_t sector,
                                                block::WriteOptions options) {
  assert(is_aligned(place));
  CO_TRY(co_await slots_.take());
  const WorkSlots::Taken slot(slots_);
  const block::AlignedMemory memory(std::min(kBounceBytes, place.length), 4096);
  if (!memory) co_return fail(ENOMEM);
  for (std::uint64_t done = 0; done < place.length;) {
    const std::span<std::byte> bytes = memory.bytes().first(std::min(kBounceBytes, place.length - done));
    std::memset(bytes.data(), 0, bytes.size());
    CO_TRY(co_await encrypt(sector + done / kSectorBytes, bytes));
    const iovec vector{bytes.data(), bytes.size()};
    CO_TRY(co_await node.write({place.offset + done, bytes.size()}, IoBuffers(&vector, 1), options));
    done += bytes.size();
  }
  co_return IoResult();
}

IoResult EncryptedData::try_read(block::Node& node, aio::Reactor& reactor, Range place, std::uint64_t sector,
                                 IoBuffers buffers, block::InlineHints& hints) {
  if (place.length > kPieceBytes || !has_whole_sectors(buffers)) return fail(EAGAIN);
  if (const IoResult result = node.try_read(reactor, place, buffers, hints); !result) return result;
  hints.ended_ns = 0;  // the request ends later
  return decrypt(sector, buffers);
}

IoResult EncryptedData::try_write(block::Node& node, aio::Reactor& reactor, Range place, std::uint64_t sector,
                                  IoBuffers buffers, block::InlineHints& hints) {
  if (cipher_ == nullptr || place.length > kInlineWriteBytesMax) return fail(EAGAIN);
  const block::AlignedMemory memory(place.length, 4096);
  if (!memory) return fail(EAGAIN);
  const std::span<std::byte> bytes = memory.bytes().first(place.length);
  block::copy_out(buffers, 0, bytes);
  if (const IoResult result = cipher_->encrypt(sector, bytes, bytes); !result) return result;
  const iovec vector{bytes.data(), bytes.size()};
  return node.try_write(reactor, place, IoBuffers(&vector, 1), hints);
}

}  // namespace blockexport::drivers
