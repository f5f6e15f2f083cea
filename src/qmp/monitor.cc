#include "qmp/monitor.h"

namespace blockexport::qmp {

Monitor::Monitor(SessionContext context, chardev::Chardev& chardev, std::move_only_function<void()> client_left)
    : context_(std::move(context)), chardev_(chardev), client_left_(std::move(client_left)), scope_(context_.reactor) {
  chardev_.attach_frontend();
}

Monitor::~Monitor() {
  chardev_.detach_frontend();
}

void Monitor::start() {
  scope_.spawn("qmp monitor", serve());
}

void Monitor::set_pretty(bool pretty) {
  context_.pretty = pretty;
  if (session_ != nullptr) session_->set_pretty(pretty);
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
      session_ = &session;
      co_await session.run();
      session_ = nullptr;
    }
    chardev_.stream_closed();
    client_left_();
  }
}

}  // namespace blockexport::qmp
