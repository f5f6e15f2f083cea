// bench_control: a minimal server that does only the work a correct reply needs, as a lower bound for every server in
// the benchmark.
//
// --mode=memory|pread|mmap|sendfile --image=FILE --socket=PATH or --port=N; --tls-x509=FOLDER or --tls-psk=FILE, with
// --mode=pread, to offer TLS.
#include <csignal>
#include <string>

#include "common/args.h"
#include "common/channel.h"
#include "common/tls.h"
#include "control/image.h"
#include "control/server.h"

int main(int count, char** values) {
  using namespace blockexport::bench;
  std::signal(SIGPIPE, SIG_IGN);
  Args args(count, values);
  Address address{.path = args.text("socket", ""), .port = static_cast<uint16_t>(args.number("port", 0))};
  std::string path = args.text("image", "");
  std::string mode = args.text("mode", "pread");
  uint64_t memory_size = args.number("size", uint64_t{1} << 30);
  ServeOptions options{.receive_bytes = args.number("receive-buffer", 256 << 10),
                       .send_buffer_bytes = static_cast<int>(args.number("send-buffer", 4 << 20)),
                       .tls = nullptr};
  std::string folder = args.text("tls-x509", "");
  std::string keys = args.text("tls-psk", "");
  args.finish();
  if (!folder.empty() || !keys.empty()) {
    options.tls = folder.empty() ? TlsCredentials::load(TlsSide::kServer, TlsKind::kPsk, keys, "")
                                 : TlsCredentials::load(TlsSide::kServer, TlsKind::kX509, folder, "");
  }
  Image image = open_image(path, mode, memory_size);
  serve(listen_on(address), image, options);
}
