// Reactors: several reactors for a test, simulated by a seed or on threads of their own, as the environment selects.
//
// BLOCKEXPORT_TEST_BACKEND: "simulation", "io_uring" or "epoll" (the default). Thread: the test's, which is that of the
// control reactor.
#pragma once

#include <cstdlib>
#include <memory>
#include <string_view>
#include <vector>

#include "aio/testing/interleaving.h"
#include "aio/threads/reactor_thread.h"
#include "base/log.h"

namespace blockexport::block {

class Reactors {
 public:
  static bool are_simulated() { return backend_name() == "simulation"; }

  Reactors(std::size_t count, std::uint64_t seed) : log_("test", 2, LogLevel::kWarning) {
    if (are_simulated()) {
      world_.emplace(count, aio::SimulationOptions{.seed = seed, .latency_max_ns = 50'000});
      for (std::size_t i = 0; i < count; ++i) places_.push_back(&world_->data_reactor(i));
      return;
    }
    const aio::ReactorOptions options{.backend = backend_name() == "io_uring" ? aio::BackendKind::kAuto
                                                                              : aio::BackendKind::kEpoll};
    auto control = aio::Reactor::create(options, log_);
    if (!control) std::abort();
    control_ = std::move(*control);
    here_.emplace(*control_);
    places_.push_back(&*here_);
    for (std::size_t i = 1; i < count; ++i) {
      auto thread = aio::ReactorThread::start("test", options, log_);
      if (!thread) std::abort();
      places_.push_back(&(*thread)->data_reactor());
      threads_.push_back(std::move(*thread));
    }
  }

  std::size_t size() const { return places_.size(); }
  // The first one is the control reactor's.
  aio::DataReactor& place(std::size_t index) { return *places_[index]; }
  aio::Reactor& control() { return places_[0]->reactor; }

  // Runs `task` on the control reactor to its end, and all other tasks meanwhile.
  void run(aio::Task<void> task) {
    if (world_) {
      world_->run(std::move(task));
      return;
    }
    aio::Scope scope(control());
    scope.spawn("test", std::move(task));
    while (scope.size() > 0) control().run_once(100'000'000);
  }

 private:
  static std::string_view backend_name() {
    const char* wanted = std::getenv("BLOCKEXPORT_TEST_BACKEND");
    return wanted == nullptr ? "epoll" : wanted;
  }

  Log log_;
  std::optional<aio::testing::Interleaving> world_;
  std::unique_ptr<aio::Reactor> control_;
  std::optional<aio::DataReactor> here_;
  std::vector<std::unique_ptr<aio::ReactorThread>> threads_;
  std::vector<aio::DataReactor*> places_;
};

}  // namespace blockexport::block
