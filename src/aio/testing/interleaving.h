// Interleaving: several reactors over one simulation, on one thread, whose turns come in an order that follows from the
// seed; each may stand still for many turns of the others, as a thread does that has lost its processor.
//
// For tests of what reactors do to each other: a seed that fails does so again. Thread: the test's.
#pragma once

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "aio/data_reactor.h"
#include "aio/reactor.h"
#include "aio/scope.h"
#include "aio/simulation.h"
#include "aio/task.h"

namespace blockexport::aio::testing {

class Interleaving {
 public:
  Interleaving(std::size_t reactors, SimulationOptions options) : simulation_(options), random_(options.seed) {
    for (std::size_t i = 0; i < reactors; ++i) {
      reactors_.push_back(simulation_.make_reactor());
      places_.push_back(std::make_unique<DataReactor>(*reactors_.back()));
    }
  }

  Simulation& simulation() { return simulation_; }
  Random& random() { return random_; }
  std::size_t size() const { return places_.size(); }
  // The first one is the control reactor.
  DataReactor& place(std::size_t index) { return *places_[index]; }
  Reactor& control() { return *reactors_[0]; }

  // Runs `task` at the control reactor to its end, and everything else as far as it comes meanwhile.
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
  // Of one run().
  static constexpr std::uint64_t kTurnsMax = 50'000'000;
  // Turns of the others for which one reactor may stand still, and how far the clock goes in one turn.
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
  std::vector<std::unique_ptr<DataReactor>> places_;
  std::size_t held_ = 0;
  std::uint64_t held_turns_ = 0;
};

}  // namespace blockexport::aio::testing
