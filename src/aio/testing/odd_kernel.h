// OddKernel: a kernel that answers as a test says, for the real backends: it stands below them, where the ring's
// entries and the system calls go, does what it was not told otherwise about, and takes the same faults as a
// Simulation.
//
// A call that a fault shortens really moves that much and no more, whatever alignment O_DIRECT asks for; one that fails
// does nothing. Made before its backends, on the thread whose loop they serve; it outlives them. Thread: any.
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

#include "aio/backend.h"
#include "aio/sim/simulation.h"

namespace blockexport::aio::testing {

// The answers to calls on sockets.
struct OddSockets {
  std::size_t moved_bytes_max = SIZE_MAX;  // by one call
  bool interrupted = false;                // each call once before it does anything (EINTR)
  bool refused = false;                    // every third call, with EAGAIN, though it could
};

class OddKernel {
 public:
  OddKernel();
  ~OddKernel();
  OddKernel(const OddKernel&) = delete;
  OddKernel& operator=(const OddKernel&) = delete;

  // An immediate call is one on this object's own thread; others are made by workers or the ring.
  void inject(Fault fault);
  void clear_faults();
  void set_sockets(OddSockets sockets);
  // The next `count` calls that hand entries to a ring hand over none, and give `error`.
  void refuse_entries(int error, std::uint64_t count);
  std::uint64_t refusals() const { return refusals_.load(); }
  // Faults that have met a call.
  std::uint64_t faults_met() const { return faults_met_.load(); }
  void forget_faults_met() { faults_met_ = 0; }

  // "io_uring" or "epoll".
  Result<std::unique_ptr<Backend>> make_backend(std::string_view name, std::uint32_t worker_threads_max);
  // One whose ring has room for so few; both are powers of two.
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
  // True: this call on a socket fails, with the number in `errno`.
  bool socket_call_fails();
  std::size_t socket_bytes_max();

  const std::thread::id loop_ = std::this_thread::get_id();
  std::mutex mutex_;
  std::vector<Fault> faults_;
  OddSockets sockets_;
  std::uint64_t socket_calls_ = 0;
  int entry_error_ = 0;
  std::uint64_t entries_refused_ = 0;  // still to be refused
  std::atomic<std::uint64_t> refusals_ = 0;
  std::atomic<std::uint64_t> faults_met_ = 0;
  std::map<std::uint64_t, int> results_;  // of entries that were answered here, by their user data; the loop's
  std::unique_ptr<Calls> calls_;
  std::unique_ptr<Entries> entries_;
};

}  // namespace blockexport::aio::testing
