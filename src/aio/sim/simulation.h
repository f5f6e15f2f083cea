// Simulation: deterministic files, stream connections and time from a seed, for tests of all code above the reactor.
//
// Created by a test, which runs one reactor over it, or several that take turns on one thread. Time stands still while
// a task can run, and jumps to the next completion or timer when none can. A failed test prints its seed, and fails
// again with it. It outlives its reactors; after power_cut() a new reactor may replace the old. Descriptors start at 1
// << 30 and are never reused. Thread: its reactor's, except Reactor::post().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "aio/reactor/reactor.h"
#include "aio/sim/fault.h"
#include "aio/sim/random.h"
#include "aio/sim/simulation_options.h"
#include "base/clock.h"

namespace blockexport::aio {

class World;

class Simulation {
 public:
  explicit Simulation(SimulationOptions options);
  explicit Simulation(std::uint64_t seed = 1) : Simulation(SimulationOptions{.seed = seed}) {}
  ~Simulation();
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  // The caller may change them at any time.
  SimulationOptions& options();
  Random& random();
  const Clock& clock() const;

  // Creates or replaces a file with this content, which is on the disk.
  void write_file(const std::string& path, std::span<const std::byte> content);
  // Creates or replaces a file that is one hole.
  void make_file(const std::string& path, std::uint64_t size_bytes);
  // The current content of the file, as readers see it; nothing when there is no such file.
  std::optional<std::vector<std::byte>> read_file(const std::string& path) const;
  // The content of the file that a power cut cannot take away; nothing when there is no such file.
  std::optional<std::vector<std::byte>> stable_content(const std::string& path) const;

  void inject(Fault fault);
  void clear_faults();
  // The number of errors that injected faults have not given yet.
  std::uint64_t faults_left() const;

  // Simulates a writeback error: some unsynced writes are lost, though readers see them until a power cut. Each
  // descriptor reports it once: its next sync or durable write that ends gives EIO. False: there was nothing to lose.
  bool fail_write_back(const std::string& path);

  // Each change that was not synced is kept, lost or torn; every open descriptor gives EIO or ECONNRESET from now on.
  void power_cut();

  // A connected pair of stream sockets.
  std::pair<int, int> socket_pair();
  // A listening socket, which can be polled and accepted from; connect() returns the client's end at once.
  int listen();
  int connect(int listener);
  void reset_connection(int fd);

  // The number of open descriptors.
  std::size_t open_descriptors() const;
  // The open files as text for comparisons: a line per descriptor with its path, access mode and locked bytes.
  std::string describe_open_files() const;

  // Runs until no task can run, no operation is under way and no timer is set; tasks may still wait for each other.
  void run_until_idle(Reactor& reactor);

  // A reactor over this simulation's files, connections and time. With a `log` it reports its stalls.
  std::unique_ptr<Reactor> make_reactor(ReactorOptions options = {}, const Log* log = nullptr);

 private:
  std::unique_ptr<World> world_;
};

}  // namespace blockexport::aio
