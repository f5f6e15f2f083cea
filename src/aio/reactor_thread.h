// ReactorThread: a thread of its own for a data reactor, which it makes, runs and destroys.
//
// Owned by who started it, on one thread: start() and the destructor block for as long as the thread needs to begin or
// to end. By the end nothing may be left in the reactor's scope, and nobody may post to it. Signals are blocked in it.
#pragma once

#include <pthread.h>

#include <memory>
#include <optional>
#include <semaphore>
#include <string>

#include "aio/data_reactor.h"

namespace blockexport::aio {

class ReactorThread {
 public:
  // `name` is the thread's for the system, which takes 15 bytes of it, and for x-debug-tasks. `log` outlives it.
  // Errors: no thread, or no reactor of that backend.
  static Result<std::unique_ptr<ReactorThread>> start(std::string name, ReactorOptions options, const Log& log);
  ~ReactorThread();
  ReactorThread(const ReactorThread&) = delete;
  ReactorThread& operator=(const ReactorThread&) = delete;

  const std::string& name() const { return name_; }
  DataReactor& place() { return *place_; }

 private:
  ReactorThread(std::string name, ReactorOptions options, const Log& log)
      : name_(std::move(name)), options_(options), log_(log) {}
  Result<> start_thread();
  void live();

  std::string name_;
  ReactorOptions options_;
  const Log& log_;
  std::optional<pthread_t> thread_;
  std::binary_semaphore begun_{0};
  DataReactor* place_ = nullptr;  // in the thread's frame; set before begun_
  std::optional<Error> error_;    // set instead
};

}  // namespace blockexport::aio
