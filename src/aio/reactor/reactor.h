// Reactor: event loop of one thread. It submits the operations of tasks, waits, collects completions into a ready list,
// and then resumes the tasks of that list: no task is resumed while completions are collected.
//
// Owned by the daemon, a ReactorThread or a test; constructed, run and destroyed on one thread. Any thread may call
// post() and stop(). No task runs the loop: only run(), at the bottom of a thread's stack, does.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <source_location>
#include <string>
#include <thread>
#include <vector>

#include "aio/memory/pool_trimmer.h"
#include "aio/operation/backend.h"
#include "aio/operation/busy_poll.h"
#include "aio/operation/hang_up_watch.h"
#include "aio/operation/operation.h"
#include "aio/operation/short_poll.h"
#include "aio/reactor/timer.h"
#include "base/error.h"
#include "base/lasting_condition.h"
#include "base/owned_counter.h"

namespace blockexport::aio {

enum class BackendKind { kAuto, kIoUring, kEpoll };

struct ReactorOptions {
  BackendKind backend = BackendKind::kAuto;
  // io_uring executes no opcodes but those that the backend uses, as a sandbox wants it.
  bool restricted_ring = false;
  // Most worker threads for blocking calls. They are started when first needed.
  std::uint32_t worker_threads_max = 16;
  // A task, or posted work, that holds the loop up for longer than this is logged as a LastingCondition.
  std::uint64_t stall_report_ns = 100'000'000;
  // Default: sleep without polling.
  BusyPollLimits busy_poll = {};
  // Polls for a short time where work is expected and that has paid lately: see ShortPoll. Not in a simulation.
  bool short_poll = false;
};

class Reactor {
 public:
  // kAuto falls back from io_uring to epoll with one log line; kIoUring fails when the kernel refuses it.
  static Result<std::unique_ptr<Reactor>> create(ReactorOptions options, const Log& log);
  // A reactor over a given backend, for tests (aio/sim, aio/testing/odd_kernel.h). Without a `log` it reports no
  // stalls.
  static std::unique_ptr<Reactor> create(std::unique_ptr<Backend> backend, ReactorOptions options, const Log* log);
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  // Runs until stop(). All tasks must have been joined by then.
  void run();
  void stop();
  // True if the calling thread created the reactor. Functions without "Any thread" may be called on that thread only.
  bool is_own_thread() const { return std::this_thread::get_id() == thread_; }
  // Runs one turn: waits for at most `timeout_ns`, then resumes ready tasks. True when something ran. For tests.
  bool run_once(std::uint64_t timeout_ns);

  std::string_view backend_name() const { return backend_->name(); }
  const Clock& clock() const { return backend_->clock(); }
  std::uint64_t now_ns() const { return backend_->clock().now_ns(); }
  // See Backend. The value at some moment of this turn (a turn is not meant to wait), so it costs at most one system
  // call per turn.
  std::uint64_t times_waited();
  bool has_waited_since(std::uint64_t before) const { return backend_->has_waited_since(before); }

  // Time that this reactor has spent with work, not with waiting or polling for it, without the current turn. The
  // kernel's work when it accepts operations before a wait counts as waiting. Any thread.
  std::uint64_t busy_ns() const { return busy_ns_.load(); }
  // When it was made, by its clock. Any thread.
  std::uint64_t made_ns() const { return made_ns_; }

  // Runs `work` on this reactor's thread, in a later turn. Any thread.
  void post(std::move_only_function<void()> work);
  // Resumes `waiter` in the next turn; for synchronisation primitives. `root` names the task in the report of a stall.
  // This thread only.
  void schedule(std::coroutine_handle<> waiter, const TaskRoot* root = nullptr);

  // --- awaitable operations; see OperationKind for results. Descriptors are borrowed. ---
  using Where = std::source_location;
  OperationAwaiter<std::uint32_t> poll(int fd, std::uint32_t events, Where where = Where::current());
  OperationAwaiter<std::size_t> read(int fd, std::span<const iovec> vectors, std::uint64_t offset,
                                     Caching caching = Caching::kKeep, Where where = Where::current());
  OperationAwaiter<std::size_t> write(int fd, std::span<const iovec> vectors, std::uint64_t offset, bool data_sync,
                                      Caching caching = Caching::kKeep, Where where = Where::current());
  OperationAwaiter<void> sync(int fd, Where where = Where::current());
  OperationAwaiter<void> allocate(int fd, int mode, std::uint64_t offset, std::uint64_t length,
                                  Where where = Where::current());
  OperationAwaiter<void> truncate(int fd, std::uint64_t length, Where where = Where::current());
  OperationAwaiter<void> map(int fd, std::uint64_t offset, std::uint64_t length, FileMap& map,
                             Where where = Where::current());
  OperationAwaiter<void> prefetch(int fd, std::uint64_t offset, std::uint64_t length, Where where = Where::current());
  OperationAwaiter<void> discard(int fd, std::uint64_t offset, std::uint64_t length, Where where = Where::current());
  OperationAwaiter<void> zero_out(int fd, std::uint64_t offset, std::uint64_t length, Where where = Where::current());
  // The path may be on a file system that does not answer. So open() is abandonable: when cancelled it gives ECANCELED
  // at once, and a descriptor that is opened later is closed. EAGAIN: kAbandonedCallsMax calls hang already.
  OperationAwaiter<int> open(const char* path, int flags, Where where = Where::current());
  OperationAwaiter<void> stat(int fd, FileInfo& info, Where where = Where::current());
  OperationAwaiter<void> lock(int fd, std::uint64_t offset, int mode, Where where = Where::current());
  OperationAwaiter<std::uint32_t> test_lock(int fd, std::uint64_t offset, int mode, Where where = Where::current());
  OperationAwaiter<std::int64_t> call(std::int64_t (*function)(void*), void* argument, Where where = Where::current());
  // Runs a call that may never return; it can be cancelled like open(). Its worker shares `argument`, an lvalue of the
  // caller, which the caller must not read after ECANCELED.
  OperationAwaiter<std::int64_t> call_abandonably(std::int64_t (*function)(void*),
                                                  const std::shared_ptr<void>& argument,
                                                  Where where = Where::current());
  OperationAwaiter<void> close(int fd, Where where = Where::current());

  // Waits until now_ns() reaches `deadline_ns`; ECANCELED when the task was cancelled before.
  TimerAwaiter sleep_until(std::uint64_t deadline_ns, Where where = Where::current());

  // --- calls that never wait (see Backend) ---
  IoCount try_receive(int fd, std::span<std::byte> buffer) { return backend_->try_receive(fd, buffer); }
  IoCount try_send(int fd, std::span<const iovec> vectors) { return backend_->try_send(fd, vectors); }
  IoCount try_send_file(int fd, std::span<const iovec> head, int file, std::uint64_t offset, std::uint64_t length) {
    return backend_->try_send_file(fd, head, file, offset, length);
  }
  bool is_cached(int file, std::uint64_t o, std::uint64_t length) { return backend_->is_cached(file, o, length); }
  IoCount try_read(int fd, std::span<const iovec> v, std::uint64_t offset, Caching caching = Caching::kKeep) {
    return backend_->try_read(fd, v, offset, caching);
  }
  IoCount try_read_memory(int fd, std::span<const iovec> vectors, std::uint64_t offset) {
    return backend_->try_read_memory(fd, vectors, offset);
  }
  IoCount try_write(int fd, std::span<const iovec> v, std::uint64_t o) { return backend_->try_write(fd, v, o); }
  IoResult try_stat(int fd, FileInfo& info) { return backend_->try_stat(fd, info); }
  std::expected<int, Errno> try_accept(int fd) { return backend_->try_accept(fd); }
  void shut_down(int fd) { backend_->shut_down(fd); }
  void keep_watch(int fd) { backend_->keep_watch(fd); }
  void drop_watch(int fd) { backend_->drop_watch(fd); }
  // See Backend; ENOMEM, ENOSPC or EMFILE when a limit of the system allows no more watches.
  IoResult watch_hang_up(int fd, HangUpWatch& watch) { return backend_->watch_hang_up(fd, watch); }
  void forget_hang_up(int fd) { backend_->forget_hang_up(fd); }
  // Calls peer_hung_up() of every watch of this reactor whose peer has hung up by now. That function must not end a
  // watch.
  void report_hang_ups();
  void close_now(int fd) { backend_->close(fd); }
  // Any thread.
  void close_file(int fd) { backend_->close_file(fd); }

  // Sets this reactor's buffer pool, which it trims when idle (see PoolTrimmer) and whose memory it may pin for direct
  // transfers; null: none any more. This thread only.
  void use_pool(BufferPool* pool);

  // Applies from the next turn on. This thread only; a simulation never polls, since its time stands still meanwhile.
  void set_busy_poll(BusyPollLimits limits) { busy_poll_.set_limits(limits); }

  // Tells that a peer has got all that it waited for, so that its next message is likely to come soon. It concerns the
  // next wait only. This thread only.
  void expect_work() { work_is_expected_ = true; }

  // True if a worker is inside a call that was cancelled. The destructor of the reactor waits for it.
  bool has_abandoned_calls() { return backend_->has_abandoned_calls(); }

  // The roots of all tasks of this reactor, for x-debug-tasks.
  IntrusiveList<TaskRoot>& tasks() { return tasks_; }

 private:
  friend bool begin_operation(Operation& operation, std::source_location where);
  friend struct Operation;
  friend class TimerAwaiter;

  Reactor(std::unique_ptr<Backend> backend, ReactorOptions options, const Log* log);
  void wait_for_work(std::uint64_t now_ns, std::uint64_t deadline_ns, OperationList& completed);
  bool poll_for_work(std::uint64_t until_ns, OperationList& completed);
  bool has_posted();
  bool run_posted();
  bool run_ready();
  void resume(std::coroutine_handle<> waiter, const TaskRoot* root);
  void note_turn_held(const char* name, std::source_location where);
  void report_stall(std::uint64_t held_ns, const char* name, std::source_location where);
  [[noreturn]] void abort_on_deadlock();

  struct Scheduled {
    std::coroutine_handle<> waiter;
    const TaskRoot* root;
  };

  const std::thread::id thread_ = std::this_thread::get_id();
  std::unique_ptr<Backend> backend_;
  ReactorOptions options_;
  OperationList ready_;
  std::vector<Scheduled> scheduled_;  // for the next turn
  std::vector<Scheduled> running_;    // of this turn; a member so that its memory is reused
  TimerQueue timers_;
  PoolTrimmer trimmer_;
  BusyPoll busy_poll_;
  ShortPoll short_poll_;
  IntrusiveList<TaskRoot> tasks_;
  std::mutex posted_mutex_;
  std::vector<std::move_only_function<void()>> posted_;
  std::optional<std::uint64_t> times_waited_;  // cached value of this turn, if requested
  std::uint64_t turn_started_ns_ = 0;          // when the current piece of work began
  std::unique_ptr<LastingCondition> stalls_;   // null in a simulation
  bool stopping_ = false;
  bool work_is_expected_ = false;
  const std::uint64_t made_ns_ = now_ns();
  std::uint64_t woke_ns_ = made_ns_;               // end of the last wait; the time since then counts as busy
  alignas(kCacheLineBytes) OwnedCounter busy_ns_;  // the only value here that other threads read at any time
};

}  // namespace blockexport::aio
