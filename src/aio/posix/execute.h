// execute(): performs a file operation with plain system calls, waiting as long as it takes. For worker threads.
// The immediate calls that the io_uring and the epoll backend share stand here too.
#pragma once

#include "aio/backend.h"

namespace blockexport::aio::posix {

// Sets operation.result. Any thread; touches nothing but the operation. Not for kPoll.
void execute(Operation& operation);

// Backend's immediate calls, over real descriptors.
IoCount try_receive(int fd, std::span<std::byte> buffer);
IoCount try_send(int fd, std::span<const iovec> vectors);
IoCount try_read(int fd, std::span<const iovec> vectors, std::uint64_t offset);
IoCount try_write(int fd, std::span<const iovec> vectors, std::uint64_t offset);
std::expected<int, Errno> try_accept(int fd);

}  // namespace blockexport::aio::posix
