#include "aio/reactor/reactor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "aio/epoll/epoll_backend.h"
#include "aio/task/current.h"
#include "aio/uring/uring_backend.h"

namespace blockexport::aio {
namespace {

// Operations that one turn resumes at most before it calls the kernel again.
constexpr std::size_t kResumptionsPerTurn = 256;

// Tells the processor that this is a spin loop, so that the core's other hardware thread gets more resources.
void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

Result<std::unique_ptr<Backend>> make_backend(const ReactorOptions& options, const Log& log) {
  if (options.backend == BackendKind::kEpoll) return make_epoll_backend(options.worker_threads_max);
  Result<std::unique_ptr<Backend>> uring =
      make_uring_backend(options.worker_threads_max, {.restricted = options.restricted_ring});
  if (uring || options.backend == BackendKind::kIoUring) return uring;
  log.info(uring.error().message() + "; using epoll");
  return make_epoll_backend(options.worker_threads_max);
}

}  // namespace

Result<std::unique_ptr<Reactor>> Reactor::create(ReactorOptions options, const Log& log) {
  TRY_ASSIGN(std::unique_ptr<Backend> backend, make_backend(options, log));
  return create(std::move(backend), options, &log);
}

std::unique_ptr<Reactor> Reactor::create(std::unique_ptr<Backend> backend, ReactorOptions options, const Log* log) {
  return std::unique_ptr<Reactor>(new Reactor(std::move(backend), options, log));
}

Reactor::Reactor(std::unique_ptr<Backend> backend, ReactorOptions options, const Log* log)
    : backend_(std::move(backend)), options_(options) {
  if (log != nullptr) stalls_ = std::make_unique<LastingCondition>(*log);
  busy_poll_.set_limits(options_.busy_poll);
}

Reactor::~Reactor() = default;

void Reactor::run() {
  stopping_ = false;
  while (!stopping_) run_once(UINT64_MAX);
}

void Reactor::stop() {
  post([this] { stopping_ = true; });
}

void Reactor::post(std::move_only_function<void()> work) {
  // Holds the mutex to the end: if this work makes another thread destroy the reactor, that happens after our last
  // access.
  std::lock_guard lock(posted_mutex_);
  posted_.push_back(std::move(work));
  backend_->wake();
}

std::uint64_t Reactor::times_waited() {
  if (!times_waited_) times_waited_ = backend_->times_waited();
  return *times_waited_;
}

void Reactor::use_pool(BufferPool* pool) {
  trimmer_.watch(pool);
  backend_->use_slabs(pool == nullptr ? nullptr : &pool->slabs());
}

void Reactor::report_hang_ups() {
  std::vector<HangUpWatch*> hung_up;
  backend_->collect_hang_ups(hung_up);
  for (HangUpWatch* watch : hung_up) watch->peer_hung_up();
}

void Reactor::schedule(std::coroutine_handle<> waiter, const TaskRoot* root) {
  assert(is_own_thread());
  scheduled_.push_back({waiter, root});
}

void NextTurnAwaiter::resume_next_turn(TaskRoot& root, std::coroutine_handle<> waiter, std::source_location where) {
  root.where = where;
  root.reactor.schedule(waiter, &root);
}

bool Reactor::run_once(std::uint64_t timeout_ns) {
  assert(is_own_thread());
  std::uint64_t now = now_ns();
  busy_ns_.add(now - woke_ns_);
  std::uint64_t deadline = timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
  deadline = std::min({deadline, timers_.next_deadline_ns(), trimmer_.deadline_ns()});
  if (!scheduled_.empty() || !ready_.empty()) deadline = 0;
  OperationList completed;
  wait_for_work(now, deadline, completed);
  times_waited_.reset();
  for (Operation& done : completed) {
    // A completed operation can no longer be cancelled.
    done.under_way = false;
    done.root->waiting = nullptr;
  }
  ready_.splice_back(completed);
  while (TimerAwaiter* due = timers_.take_due(turn_started_ns_)) due->resume_soon();
  bool ran = run_posted();
  // Time spent in posted work does not count as the first task's.
  if (ran) turn_started_ns_ = now_ns();
  ran = run_ready() || ran;
  if (trimmer_.turn_ended(turn_started_ns_)) backend_->slabs_trimmed();
  return ran;
}

// Waits until `deadline_ns` at most, and sets turn_started_ns_ and woke_ns_.
void Reactor::wait_for_work(std::uint64_t now_ns, std::uint64_t deadline_ns, OperationList& completed) {
  const bool waits = deadline_ns > now_ns;
  const bool expected = waits && std::exchange(work_is_expected_, false) && options_.short_poll;
  // A reactor that always finds completions is busy all the time.
  const bool is_idle = waits && !backend_->has_completions();
  bool found = false;
  if (waits) {
    const std::uint64_t poll_ns = std::max(busy_poll_.poll_ns(), expected ? short_poll_.poll_ns() : 0);
    found = poll_for_work(std::min(deadline_ns, now_ns + poll_ns), completed);
  }
  if (!found && !backend_->wait(deadline_ns, completed)) abort_on_deadlock();
  turn_started_ns_ = this->now_ns();
  woke_ns_ = is_idle ? turn_started_ns_ : now_ns;
  if (!waits) return;
  busy_poll_.waited(turn_started_ns_ - now_ns);
  if (expected) {
    short_poll_.waited(turn_started_ns_ - now_ns, found, turn_started_ns_,
                       [this] { return backend_->times_preempted(); });
  }
}

// Polls without sleep until `until_ns`; true when there is something to do.
bool Reactor::poll_for_work(std::uint64_t until_ns, OperationList& completed) {
  while (now_ns() < until_ns) {
    (void)backend_->wait(0, completed);
    if (!completed.empty() || has_posted()) return true;
    relax();
  }
  return false;
}

bool Reactor::has_posted() {
  std::lock_guard lock(posted_mutex_);
  return !posted_.empty();
}

bool Reactor::run_posted() {
  std::vector<std::move_only_function<void()>> work;
  {
    std::lock_guard lock(posted_mutex_);
    work.swap(posted_);
  }
  for (auto& item : work) {
    item();
    note_turn_held("posted work", std::source_location());
  }
  return !work.empty();
}

// Tasks that become ready meanwhile wait for the next turn, so that no task can keep the loop from calling the kernel.
bool Reactor::run_ready() {
  bool ran = !running_.empty() || !scheduled_.empty() || !ready_.empty();
  running_.swap(scheduled_);
  for (const Scheduled& next : running_) resume(next.waiter, next.root);
  running_.clear();
  for (std::size_t count = 0; !ready_.empty() && count < kResumptionsPerTurn; ++count) {
    Operation& done = ready_.pop_front();
    resume(done.waiter, done.root);
  }
  return ran;
}

void Reactor::resume(std::coroutine_handle<> waiter, const TaskRoot* root) {
  // The task may have been destroyed when resume() returns.
  const char* name = root != nullptr ? root->name : "a task";
  std::source_location where = root != nullptr ? root->where : std::source_location();
  waiter.resume();
  note_turn_held(name, where);
}

// Called after each piece of work of a turn.
void Reactor::note_turn_held(const char* name, std::source_location where) {
  std::uint64_t now = now_ns();
  std::uint64_t held_ns = now - turn_started_ns_;
  turn_started_ns_ = now;
  if (held_ns > options_.stall_report_ns) report_stall(held_ns, name, where);
}

void Reactor::report_stall(std::uint64_t held_ns, const char* name, std::source_location where) {
  if (stalls_ == nullptr) return;
  std::string location = where.line() > 0 ? fmt::format(", resumed at {}:{}", where.file_name(), where.line()) : "";
  stalls_->happened(fmt::format("the event loop was held for {} ms by '{}'{}", held_ns / 1'000'000, name, location));
}

// A deadlock: every task waits and no event can come. Only a simulation can detect that.
void Reactor::abort_on_deadlock() {
  std::string text = fmt::format("{}: every task waits and nothing is under way:\n", backend_->name());
  for (const TaskRoot& task : tasks_) {
    text += fmt::format("  {} at {}:{}\n", task.name, task.where.file_name(), task.where.line());
  }
  std::fputs(text.c_str(), stderr);
  std::abort();
}

void Operation::cancel() {
  reactor.backend_->cancel(*this);
}

bool begin_operation(Operation& operation, std::source_location where) {
  assert(operation.reactor.is_own_thread());
  TaskRoot& root = *operation.root;
  if (operation.cancellable && root.cancelled) {
    operation.result = -ECANCELED;
    return false;
  }
  root.where = where;
  root.waiting = operation.cancellable ? &operation : nullptr;
  operation.under_way = true;
  operation.reactor.backend_->submit(operation);
  return true;
}

}  // namespace blockexport::aio
