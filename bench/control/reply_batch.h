// ReplyBatch: the replies of one turn, sent with one call.
//
// Sends block: a benchmark client always reads, so a control keeps no partially sent replies. Thread: one owner. Read
// data lives in the batch's pool until flush().
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "common/tls.h"
#include "control/image.h"

namespace blockexport::bench {

class ReplyBatch {
 public:
  ReplyBatch();

  // Sets the destination until the next aim(): the socket, or the link over it if that is not null. The batch must be
  // empty.
  void aim(int socket, TlsLink* link) {
    socket_ = socket;
    link_ = link;
  }

  // Appends a copy of a few bytes. With TLS they are stored directly before the data in the same buffer, so that both
  // are encrypted in place.
  void put(std::span<const std::byte> bytes);

  // Appends `length` bytes of the image from `offset`, by the method of its source.
  void put_data(const Image& image, uint64_t offset, uint32_t length);

  // Sends all. `more`: other data for the socket follows at once.
  void flush(bool more = false);

  // Returns whether a send has failed since the last call, and resets that; aim() does not reset it.
  bool take_failure() { return std::exchange(failed_, false); }

 private:
  void add_piece(std::byte* start, std::size_t size);
  void send_file(const Image& image, uint64_t offset, uint32_t length);

  void send_pieces(bool more);

  int socket_ = -1;
  TlsLink* link_ = nullptr;
  bool failed_ = false;
  std::vector<std::byte> heads_;
  std::size_t heads_used_ = 0;
  std::unique_ptr<std::byte[]> pool_;
  std::size_t pool_used_ = 0;
  std::vector<iovec> pieces_;
};

}  // namespace blockexport::bench
