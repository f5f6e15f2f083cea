#include "chardev/open_chardev.h"

#include "chardev/file_chardev.h"
#include "chardev/socket_chardev.h"

namespace blockexport::chardev {

aio::Task<Result<std::unique_ptr<Chardev>>> open_chardev(aio::Reactor& reactor, const Log& log, std::string label,
                                                         Options options) {
  if (auto* socket = std::get_if<SocketOptions>(&options)) {
    co_return co_await SocketChardev::open(reactor, log, std::move(label), std::move(*socket));
  }
  if (auto* stdio = std::get_if<StdioOptions>(&options)) {
    co_return std::make_unique<StdioChardev>(reactor, std::move(label), *stdio);
  }
  if (auto* file = std::get_if<FileOptions>(&options)) {
    co_return co_await FileChardev::open(reactor, std::move(label), std::move(*file));
  }
  co_return std::make_unique<NullChardev>(reactor, std::move(label));
}

}  // namespace blockexport::chardev
