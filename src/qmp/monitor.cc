#include "qmp/monitor.h"

namespace blockexport::qmp {

Monitor::Monitor(SessionContext context, chardev::Chardev& chardev)
    : context_(context), chardev_(chardev), scope_(context.reactor) {
  chardev_.attach_frontend();
}

Monitor::~Monitor() {
  chardev_.detach_frontend();
}

void Monitor::start() {
  scope_.spawn("qmp monitor", serve());
}

aio::Task<void> Monitor::stop() {
  scope_.cancel();
  co_await scope_.join();
}

aio::Task<void> Monitor::serve() {
  for (;;) {
    auto stream = co_await chardev_.next_stream();
    if (!stream) co_return;
    {
      Session session(context_, std::move(*stream));
      co_await session.run();
    }
    chardev_.stream_closed();
  }
}

}  // namespace blockexport::qmp
