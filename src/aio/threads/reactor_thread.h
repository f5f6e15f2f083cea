// ReactorThread: a thread that creates, runs and destroys a data reactor.
//
// Owned and used by one other thread: start() and the destructor block until the thread has begun or ended. Before the
// destructor all tasks of the reactor's scope must have ended, and nobody may post to it any more. Signals are blocked
// in the thread.
#pragma once

#include <pthread.h>

#include <memory>
#include <optional>
#include <semaphore>
#include <string>

#include "aio/threads/data_reactor.h"

namespace blockexport::aio {

class ReactorThread {
 public:
  // `name`: of the thread, for the system (which stores 15 bytes of it) and for x-debug-tasks. `log` outlives the
  // thread. Errors: the thread or its reactor cannot be created.
  static Result<std::unique_ptr<ReactorThread>> start(std::string name, ReactorOptions options, const Log& log);
  ~ReactorThread();
  ReactorThread(const ReactorThread&) = delete;
  ReactorThread& operator=(const ReactorThread&) = delete;

  const std::string& name() const { return name_; }
  DataReactor& data_reactor() { return *data_reactor_; }

 private:
  ReactorThread(std::string name, ReactorOptions options, const Log& log)
      : name_(std::move(name)), options_(options), log_(log) {}
  Result<> start_thread();
  void run();

  std::string name_;
  ReactorOptions options_;
  const Log& log_;
  std::optional<pthread_t> thread_;
  std::binary_semaphore begun_{0};
  DataReactor* data_reactor_ = nullptr;  // on the thread's stack; set before begun_ is released
  std::optional<Error> error_;           // set instead of data_reactor_ on failure
};

}  // namespace blockexport::aio
