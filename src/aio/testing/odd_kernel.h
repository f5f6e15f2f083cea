// OddKernel: fault injection for the real backends, between them and the kernel: it passes ring entries and system
// calls on, unless a fault applies. It accepts the same faults as a Simulation.
//
// A shortened transfer really moves that many bytes, whatever alignment O_DIRECT requires; a failed call does nothing.
// Constructed before its backends, on their reactor's thread; it outlives them. Thread: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "aio/operation/backend.h"
#include "aio/sim/simulation.h"

namespace blockexport::aio::testing {

// Behaviour of calls on sockets.
struct OddSockets {
  std::size_t moved_bytes_max = SIZE_MAX;  // most bytes that one call moves
  bool interrupted = false;                // each call first fails once with EINTR
  bool refused = false;                    // every third call fails with EAGAIN, although it could succeed
};

class OddKernel {
 public:
  OddKernel();
  ~OddKernel();
  OddKernel(const OddKernel&) = delete;
  OddKernel& operator=(const OddKernel&) = delete;

  // A call on the thread that constructed this object counts as immediate (Fault::immediate); workers and the ring make
  // the others.
  void inject(Fault fault);
  void clear_faults();
  void set_sockets(OddSockets sockets);
  // The next `count` calls that submit entries to a ring submit none, and return `error`.
  void refuse_entries(int error, std::uint64_t count);
  std::uint64_t refusals() const { return refusals_.load(); }
  // The number of faults that were applied.
  std::uint64_t faults_met() const { return faults_met_.load(); }
  void forget_faults_met() { faults_met_ = 0; }

  // "io_uring" or "epoll".
  Result<std::unique_ptr<Backend>> make_backend(std::string_view name, std::uint32_t worker_threads_max);
  // An io_uring backend with so few entries and completions; both are powers of two.
  Result<std::unique_ptr<Backend>> make_ring(unsigned entries, unsigned completions);

 private:
  class Calls;
  class Entries;
  friend class Calls;
  friend class Entries;

  bool in_loop() const { return std::this_thread::get_id() == loop_; }
  std::optional<Fault> take(OperationKind kind, int fd, bool immediate);
  bool is_barred(OperationKind kind);
  bool is_entry_refused(int& error);
  // True: this call on a socket must fail; `errno` is set.
  bool socket_call_fails();
  std::size_t socket_bytes_max();

  const std::thread::id loop_ = std::this_thread::get_id();
  std::mutex mutex_;
  std::vector<Fault> faults_;
  OddSockets sockets_;
  std::uint64_t socket_calls_ = 0;
  int entry_error_ = 0;
  std::uint64_t entries_refused_ = 0;  // number of submissions that are still to be refused
  std::atomic<std::uint64_t> refusals_ = 0;
  std::atomic<std::uint64_t> faults_met_ = 0;
  std::map<std::uint64_t, int> results_;  // results of entries handled here, by user data; used on the reactor's thread
                                          // only
  std::unique_ptr<Calls> calls_;
  std::unique_ptr<Entries> entries_;
};

}  // namespace blockexport::aio::testing
