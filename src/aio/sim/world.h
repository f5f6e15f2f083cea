// World: state of a Simulation (files, connections, descriptors, faults) and the effects of operations on it. Owned by
// Simulation; the simulated backend decides when an operation happens. Thread: the simulation's.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "aio/sim/fault.h"
#include "aio/sim/simulated_file.h"
#include "aio/sim/simulated_stream.h"
#include "aio/sim/simulation_options.h"
#include "base/clock.h"

namespace blockexport::aio {

class VirtualClock final : public Clock {
 public:
  std::uint64_t now_ns() const override { return now_ns_; }
  std::int64_t wall_us() const override { return kStartWallUs + static_cast<std::int64_t>(now_ns_ / 1000); }
  void advance_to(std::uint64_t time_ns) { now_ns_ = time_ns; }

 private:
  static constexpr std::int64_t kStartWallUs = 1'700'000'000'000'000;
  std::uint64_t now_ns_ = 1'000'000'000;
};

struct Descriptor {
  std::string path;
  std::shared_ptr<SimulatedFile> file;
  std::shared_ptr<SimulatedStream> stream;
  std::shared_ptr<SimulatedListener> listener;
  bool readable = true;
  bool writable = true;
  bool direct = false;                          // O_DIRECT: transfers whole blocks only
  bool dead = false;                            // there was a power cut after it was opened
  std::uint64_t reported_writeback_errors = 0;  // the file's writeback_errors() that this descriptor has reported
};

class World {
 public:
  // Far above the descriptors of the process, so that no test can confuse the two.
  static constexpr int kFirstDescriptor = 1 << 30;

  explicit World(SimulationOptions chosen) : options(chosen), random(chosen.seed) {}

  // Called when an operation is submitted: a sync, which takes time, covers only the writes before its submission; a
  // durable write begins as a copy into the page cache.
  void begin(Operation& operation);
  // Performs any operation but kPoll; returns its result.
  std::int64_t perform(Operation& operation);
  // The poll events for which `fd` is ready; POLLNVAL when it is not open.
  std::uint32_t ready(int fd);

  IoCount try_receive(int fd, std::span<std::byte> buffer);
  IoCount try_send(int fd, std::span<const iovec> vectors);
  IoCount try_send_file(int fd, std::span<const iovec> head, int file, std::uint64_t offset, std::uint64_t length);
  bool is_cached(int file, std::uint64_t offset, std::uint64_t length);
  IoCount try_read(int fd, std::span<const iovec> vectors, std::uint64_t offset);
  IoCount try_write(int fd, std::span<const iovec> vectors, std::uint64_t offset);
  IoResult try_stat(int fd, FileInfo& info);
  std::expected<int, Errno> try_accept(int fd);
  void shut_down(int fd);
  std::int64_t close(int fd);

  // The descriptor, or null.
  Descriptor* find(int fd);
  int add(Descriptor descriptor);
  // Records a write that was under way at a power cut.
  void leave_unfinished(const Operation& write);
  void power_cut();

  SimulationOptions options;
  Random random;
  VirtualClock clock;
  std::map<std::string, std::shared_ptr<SimulatedFile>> files;
  std::map<int, Descriptor> descriptors;
  std::vector<Fault> faults;
  std::uint64_t power_cuts = 0;
  std::uint64_t times_waited = 0;
  bool stop_when_idle = false;
  bool idle = false;
  std::vector<class SimulatedBackend*> backends;  // backends of the reactors of this simulation

 private:
  // The fault that applies to an operation, if any.
  std::optional<Fault> take_fault(const Operation& operation, const std::string& path);
  IoCount try_unless(const std::optional<Fault>& fault, Descriptor& descriptor, OperationKind kind,
                     std::span<const iovec> vectors, std::uint64_t offset);
  bool may_fail(OperationKind kind) const;
  std::int64_t perform_on_file(Operation& operation, Descriptor& descriptor);
  std::int64_t open(const char* path, int flags);
  std::int64_t read(Descriptor& descriptor, std::span<const iovec> vectors, std::uint64_t offset);
  std::int64_t write(Descriptor& descriptor, std::span<const iovec> vectors, std::uint64_t offset);
  void copy_durable_write(Operation& operation, Descriptor& descriptor);
  std::int64_t write_durably(Operation& operation, Descriptor& descriptor);
  static std::int64_t sync(const Operation& operation, Descriptor& descriptor);
  static bool take_writeback_error(Descriptor& descriptor);
  std::int64_t allocate(SimulatedFile& file, int mode, std::uint64_t offset, std::uint64_t length);
  static FileInfo info_of(const SimulatedFile& file);
  std::int64_t map(const SimulatedFile& file, const Operation& operation);
  std::int64_t seek(const PageStore& pages, std::uint64_t offset, int whence) const;
  std::size_t perhaps_shorter(std::size_t count, const Descriptor& descriptor);

  std::uint64_t moved_bytes_max_ = UINT64_MAX;  // limit of the current transfer, from a fault
  int next_descriptor_ = kFirstDescriptor;
  std::uint64_t next_inode_ = 1;

  friend class Simulation;
};

}  // namespace blockexport::aio
