// Simulation: files, stream connections and time that follow from a seed, for tests of everything above the reactor.
//
// Made by a test; a reactor that it makes runs over it, or several of one thread that take turns. Time stands
// still while something can run and jumps to the next completion or timer when nothing can. A test that fails names its
// seed and fails again with it. It outlives its reactors; after power_cut() a new one may follow the old. Descriptors
// start at 1 << 30 and are never used twice. Thread: its reactor's, except Reactor::post().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "aio/reactor.h"
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

  // May be changed on the way.
  SimulationOptions& options();
  Random& random();
  const Clock& clock() const;

  // A file with this content, safe on the disk; replaces one of the same path.
  void write_file(const std::string& path, std::span<const std::byte> content);
  // A file that is one hole.
  void make_file(const std::string& path, std::uint64_t size_bytes);
  // What a reader of the file sees now; nothing when there is none.
  std::optional<std::vector<std::byte>> read_file(const std::string& path) const;
  // The content of the file without any change that a power cut may still take away. Nothing when there is no such
  // file.
  std::optional<std::vector<std::byte>> stable_content(const std::string& path) const;

  void inject(Fault fault);
  void clear_faults();
  // Errors that injected faults have yet to give.
  std::uint64_t faults_left() const;

  // Writing the file back from the page cache fails: some of what was written and not synced is lost, though readers
  // see it until the power goes. Each descriptor is told once: its next sync, or durable write, to end gives EIO.
  // False: there was nothing to lose.
  bool fail_write_back(const std::string& path);

  // Whatever was not flushed is kept, lost or torn; every open descriptor gives EIO or ECONNRESET from here on.
  void power_cut();

  // A connected pair.
  std::pair<int, int> socket_pair();
  // What can be polled and accepted from; connect() gives the client's end at once.
  int listen();
  int connect(int listener);
  void reset_connection(int fd);

  // Descriptors not yet closed.
  std::size_t open_descriptors() const;
  // The same as text, to be compared: a line for each, with the path, the access and the bytes that it has locked.
  std::string describe_open_files() const;

  // Runs until nothing can run, no operation is under way and no timer is set; what waits for others may still wait.
  void run_until_idle(Reactor& reactor);

  // A reactor over this simulation's files, connections and time. With a `log` it reports its stalls.
  std::unique_ptr<Reactor> make_reactor(ReactorOptions options = {}, const Log* log = nullptr);

 private:
  std::unique_ptr<World> world_;
};

}  // namespace blockexport::aio
