#include "net/stream.h"

namespace blockexport::net {

IoCount Stream::try_send_file(std::span<const iovec>, int, std::uint64_t, std::uint64_t) {
  return fail(EOPNOTSUPP);
}

aio::Task<IoCount> receive_some(Stream& stream, std::span<std::byte> buffer) {
  for (;;) {
    IoCount received = stream.try_receive(buffer);
    if (received || received.error() != Errno(EAGAIN)) co_return received;
    IoResult ready = co_await stream.readable();
    if (!ready) co_return fail(ready.error());
  }
}

aio::Task<IoResult> send_all(Stream& stream, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    // sendmsg() does not write through the pointer, but iovec has no const form.
    iovec vector{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
    IoCount sent = stream.try_send({&vector, 1});
    if (sent) {
      bytes = bytes.subspan(*sent);
      continue;
    }
    if (sent.error() != Errno(EAGAIN)) co_return fail(sent.error());
    IoResult ready = co_await stream.writable();
    if (!ready) co_return fail(ready.error());
  }
  co_return IoResult{};
}

}  // namespace blockexport::net
