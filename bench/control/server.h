// serve(): event loop of a control: one thread, epoll, one receive and one send per turn of a connection.
//
// Thread: the main one. Ends by signal only.
#pragma once

#include <cstddef>
#include <memory>

#include "common/tls.h"
#include "control/image.h"

namespace blockexport::bench {

struct ServeOptions {
  std::size_t receive_bytes = 0;
  // SO_SNDBUF of accepted sockets; 0 leaves the kernel's default.
  int send_buffer_bytes = 0;
  // Credentials for TLS; null: TLS is not offered.
  std::shared_ptr<const TlsCredentials> tls;
};

[[noreturn]] void serve(int listener, const Image& image, const ServeOptions& options);

}  // namespace blockexport::bench
