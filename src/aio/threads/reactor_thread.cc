#include "aio/threads/reactor_thread.h"

#include <csignal>
#include <utility>

namespace blockexport::aio {
namespace {

// Longest thread name that the kernel stores, without the NUL.
constexpr std::size_t kThreadNameBytesMax = 15;

}  // namespace

Result<std::unique_ptr<ReactorThread>> ReactorThread::start(std::string name, ReactorOptions options, const Log& log) {
  std::unique_ptr<ReactorThread> made(new ReactorThread(std::move(name), options, log));
  TRY(made->start_thread());
  made->begun_.acquire();
  if (made->error_) return fail(*std::move(made->error_));
  return made;
}

Result<> ReactorThread::start_thread() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  auto body = [](void* self) -> void* {
    static_cast<ReactorThread*>(self)->run();
    return nullptr;
  };
  pthread_t thread;
  int error = pthread_create(&thread, nullptr, body, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return fail(Error::system("cannot start a thread", Errno(error)));
  thread_ = thread;
  return {};
}

ReactorThread::~ReactorThread() {
  if (data_reactor_ != nullptr) data_reactor_->reactor.stop();
  if (thread_) pthread_join(*thread_, nullptr);
}

void ReactorThread::run() {
  pthread_setname_np(pthread_self(), name_.substr(0, kThreadNameBytesMax).c_str());
  Result<std::unique_ptr<Reactor>> reactor = Reactor::create(options_, log_);
  if (!reactor) {
    error_ = std::move(reactor).error();
    begun_.release();
    return;
  }
  DataReactor data_reactor(**reactor);
  data_reactor_ = &data_reactor;
  begun_.release();
  (*reactor)->run();
}

}  // namespace blockexport::aio
