// ReplyBatch: the replies of one turn, sent with one call.
//
// Sends block: a benchmark client always reads, so a control needs no memory of half-sent replies.
// Thread: one owner. Read data lives in the batch's pool until flush().
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

  // Where everything goes until the next aim(): the socket, or the link over it when it is not null. The batch must be
  // empty.
  void aim(int socket, TlsLink* link) {
    socket_ = socket;
    link_ = link;
  }

  // Small bytes, copied. Under TLS they stand right before the data, in the same memory, so that records of both are
  // encrypted from where they are.
  void put(std::span<const std::byte> bytes);

  // `length` bytes of the image from `offset`, as its source wants it.
  void put_data(const Image& image, uint64_t offset, uint32_t length);

  // Sends all. `more`: something follows at once by another way.
  void flush(bool more = false);

  // False once a client has gone away; aim() at another does not heal it, take_failure() does.
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
