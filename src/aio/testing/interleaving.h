// Interleaving: several reactors over one simulation, on one thread, whose turns come in a random order that depends
// only on the seed; each may pause for many turns of the others, like a preempted thread.
//
// For tests of interactions between reactors: a seed that fails once fails again. Thread: the test's.
#pragma once

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/task/task.h"
#include "aio/testing/simulation.h"
#include "aio/threads/data_reactor.h"

namespace blockexport::aio::testing {

class Interleaving {
 public:
  Interleaving(std::size_t reactors, SimulationOptions options) : simulation_(options), random_(options.seed) {
    for (std::size_t i = 0; i < reactors; ++i) {
      reactors_.push_back(simulation_.make_reactor());
      data_reactors_.push_back(std::make_unique<DataReactor>(*reactors_.back()));
    }
  }

  Simulation& simulation() { return simulation_; }
  Random& random() { return random_; }
  std::size_t size() const { return data_reactors_.size(); }
  // The one with index 0 is the control reactor's.
  DataReactor& data_reactor(std::size_t index) { return *data_reactors_[index]; }
  Reactor& control() { return *reactors_[0]; }

  // Runs `task` on the control reactor to its end; the other reactors run meanwhile.
  void run(Task<void> task) {
    Scope scope(control());
    scope.spawn("test", std::move(task));
    for (std::uint64_t turns = 0; scope.size() > 0; ++turns) {
      turn();
      if (turns < kTurnsMax) continue;
      std::fprintf(stderr, "seed %llu: a test's task did not end\n",
                   static_cast<unsigned long long>(simulation_.options().seed));
      std::abort();
    }
  }

 private:
  // Most turns of one run().
  static constexpr std::uint64_t kTurnsMax = 50'000'000;
  // Most turns of the others for which one reactor pauses, and longest time of one turn.
  static constexpr std::uint64_t kHeldTurnsMax = 400;
  static constexpr std::uint64_t kTurnNsMax = 20'000;

  void turn() {
    if (held_turns_ == 0) {
      held_ = random_.below(size());
      held_turns_ = random_.between(1, kHeldTurnsMax);
    }
    --held_turns_;
    std::size_t next = random_.below(size());
    if (next == held_ && size() > 1) next = (next + random_.between(1, size() - 1)) % size();
    reactors_[next]->run_once(random_.below(kTurnNsMax));
  }

  Simulation simulation_;
  Random random_;
  std::vector<std::unique_ptr<Reactor>> reactors_;
  std::vector<std::unique_ptr<DataReactor>> data_reactors_;
  std::size_t held_ = 0;
  std::uint64_t held_turns_ = 0;
};

}  // namespace blockexport::aio::testing
