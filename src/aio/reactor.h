// Reactor: one thread's loop. It submits what tasks ask for, waits, collects what completed into a ready list, and then
// runs that list: no task is ever resumed from inside the collection of completions.
//
// Owned by the daemon (or a test); made, run and destroyed on one thread. post() and stop() may be called from any.
// It never runs itself from inside a task: nothing in the program runs the loop but run() at the bottom of a thread.
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

#include "aio/backend.h"
#include "aio/busy_poll.h"
#include "aio/hang_up_watch.h"
#include "aio/operation.h"
#include "aio/pool_trimmer.h"
#include "aio/timer.h"
#include "base/error.h"
#include "base/lasting_condition.h"

namespace blockexport::aio {

enum class BackendKind { kAuto, kIoUring, kEpoll };

struct ReactorOptions {
  BackendKind backend = BackendKind::kAuto;
  // Threads that run what would block. They are started when first needed.
  std::uint32_t worker_threads_max = 16;
  // A task, or posted work, that keeps the loop for longer than this is reported through the log, at most once a
  // second.
  std::uint64_t stall_report_ns = 100'000'000;
  // Sleeps at once unless told otherwise.
  BusyPollLimits busy_poll = {};
};

class Reactor {
 public:
  // kAuto falls back from io_uring to epoll with one log line; kIoUring fails when the kernel refuses it.
  static Result<std::unique_ptr<Reactor>> create(ReactorOptions options, const Log& log);
  // A reactor over a backend that was made for it, as tests do (aio/sim, aio/testing/odd_kernel.h). Without a `log` it
  // reports no stalls.
  static std::unique_ptr<Reactor> create(std::unique_ptr<Backend> backend, ReactorOptions options, const Log* log);
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  // Runs until stop(). Everything spawned must have been joined by then.
  void run();
  void stop();
  // Whether the calling thread made the reactor: functions that do not say "any thread" are for that thread alone.
  bool is_own_thread() const { return std::this_thread::get_id() == thread_; }
  // Runs one turn: waits for at most `timeout_ns`, runs what is ready. True when something ran. For tests.
  bool run_once(std::uint64_t timeout_ns);

  std::string_view backend_name() const { return backend_->name(); }
  const Clock& clock() const { return backend_->clock(); }
  std::uint64_t now_ns() const { return backend_->clock().now_ns(); }
  // See Backend. As it was at some moment of this turn, in which nothing is meant to wait: one system call at most.
  std::uint64_t times_waited();
  bool has_waited_since(std::uint64_t before) const { return backend_->has_waited_since(before); }

  // Runs `work` on this reactor's thread, in a later turn. Any thread.
  void post(std::move_only_function<void()> work);
  // Resumes `waiter` in the next turn; what synchronisation primitives use. `root` names it when it holds the loop up
  // for too long. This thread only.
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
  // A path may lead to a file system that does not answer: cancelled, open() gives ECANCELED at once, and what is
  // opened nevertheless is closed. EAGAIN: kAbandonedCallsMax calls hang already.
  OperationAwaiter<int> open(const char* path, int flags, Where where = Where::current());
  OperationAwaiter<void> stat(int fd, FileInfo& info, Where where = Where::current());
  OperationAwaiter<void> lock(int fd, std::uint64_t offset, int mode, Where where = Where::current());
  OperationAwaiter<std::uint32_t> test_lock(int fd, std::uint64_t offset, int mode, Where where = Where::current());
  OperationAwaiter<std::int64_t> call(std::int64_t (*function)(void*), void* argument, Where where = Where::current());
  // For a call that may never return: it can be cancelled as open() can. Its worker shares `argument`, which is an
  // lvalue of the caller and is not looked at after ECANCELED.
  OperationAwaiter<std::int64_t> call_abandonably(std::int64_t (*function)(void*),
                                                  const std::shared_ptr<void>& argument,
                                                  Where where = Where::current());
  OperationAwaiter<void> close(int fd, Where where = Where::current());

  // Until now_ns() reaches `deadline_ns`; ECANCELED when the task was cancelled before.
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
  // See Backend; ENOMEM, ENOSPC or EMFILE when the system has no room for one more watch.
  IoResult watch_hang_up(int fd, HangUpWatch& watch) { return backend_->watch_hang_up(fd, watch); }
  void forget_hang_up(int fd) { backend_->forget_hang_up(fd); }
  // Tells every watch of this reactor whose peer has hung up by now, before it returns. A watch may end no watch.
  void report_hang_ups();
  void close_now(int fd) { backend_->close(fd); }
  // Any thread.
  void close_file(int fd) { backend_->close_file(fd); }

  // Trims `pool`, this reactor's own, when it rests (see PoolTrimmer), and may pin its memory for direct transfers;
  // until called with null. This thread only.
  void use_pool(BufferPool* pool);

  // From the next turn on. This thread only; a simulation never looks, its time stands still meanwhile.
  void set_busy_poll(BusyPollLimits limits) { busy_poll_.set_limits(limits); }

  // Whether a worker is inside of a call that was cancelled. The reactor cannot be destroyed before it returns.
  bool has_abandoned_calls() { return backend_->has_abandoned_calls(); }

  // Tasks alive, for x-debug-tasks: every root that hangs on this reactor.
  IntrusiveList<TaskRoot>& tasks() { return tasks_; }

 private:
  friend bool begin_operation(Operation& operation, std::source_location where);
  friend struct Operation;
  friend class TimerAwaiter;

  Reactor(std::unique_ptr<Backend> backend, ReactorOptions options, const Log* log);
  bool look_for_work(std::uint64_t until_ns, OperationList& completed);
  bool has_posted();
  bool run_posted();
  bool run_ready();
  void resume(std::coroutine_handle<> waiter, const TaskRoot* root);
  void note_turn_held(const char* name, std::source_location where);
  void report_stall(std::uint64_t held_ns, const char* name, std::source_location where);
  [[noreturn]] void die_of_deadlock();

  struct Scheduled {
    std::coroutine_handle<> waiter;
    const TaskRoot* root;
  };

  const std::thread::id thread_ = std::this_thread::get_id();
  std::unique_ptr<Backend> backend_;
  ReactorOptions options_;
  OperationList ready_;
  std::vector<Scheduled> scheduled_;  // for the next turn
  std::vector<Scheduled> running_;    // of this turn; kept for its memory
  TimerQueue timers_;
  PoolTrimmer trimmer_;
  BusyPoll busy_poll_;
  IntrusiveList<TaskRoot> tasks_;
  std::mutex posted_mutex_;
  std::vector<std::move_only_function<void()>> posted_;
  std::optional<std::uint64_t> times_waited_;  // when asked for in this turn
  std::uint64_t turn_started_ns_ = 0;          // when what runs now began
  std::unique_ptr<LastingCondition> stalls_;   // null in a simulation
  bool stopping_ = false;
};

}  // namespace blockexport::aio
