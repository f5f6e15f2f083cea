#include "aio/reactor_thread.h"

#include <csignal>
#include <utility>

namespace blockexport::aio {
namespace {

// What the kernel keeps of a thread's name, without its end.
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
    static_cast<ReactorThread*>(self)->live();
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
  if (place_ != nullptr) place_->reactor.stop();
  if (thread_) pthread_join(*thread_, nullptr);
}

void ReactorThread::live() {
  pthread_setname_np(pthread_self(), name_.substr(0, kThreadNameBytesMax).c_str());
  Result<std::unique_ptr<Reactor>> reactor = Reactor::create(options_, log_);
  if (!reactor) {
    error_ = std::move(reactor).error();
    begun_.release();
    return;
  }
  DataReactor place(**reactor);
  place_ = &place;
  begun_.release();
  (*reactor)->run();
}

}  // namespace blockexport::aio
