#include "base/log_channel.h"

#include <fmt/format.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "base/clock.h"

namespace blockexport {
namespace {

std::uint64_t now_ns() {
  return SystemClock().now_ns();
}

std::uint64_t lines_in(std::string_view text) {
  return static_cast<std::uint64_t>(std::ranges::count(text, '\n'));
}

// Length of as many whole lines as a pipe accepts atomically, so that lines of several processes do not mix; at least
// one line.
std::size_t chunk_bytes(std::string_view text) {
  if (text.size() <= PIPE_BUF) return text.size();
  std::size_t end = text.rfind('\n', PIPE_BUF - 1);
  if (end == std::string_view::npos) end = text.find('\n', PIPE_BUF);
  return end == std::string_view::npos ? text.size() : end + 1;
}

}  // namespace

class LogChannel::State {
 public:
  State(int fd, OwnedFd owned, std::string prefix) : fd_(fd), owned_(std::move(owned)), prefix_(std::move(prefix)) {}

  void set_timed_lines(std::shared_ptr<TimedLines> timed) { timed_ = std::move(timed); }
  static Result<> start(const std::shared_ptr<State>& self);
  void stop();
  void write(std::string_view lines);
  void due_time_changed();
  bool flush();

 private:
  void run();
  bool wait_for_lines(std::unique_lock<std::mutex>& lock);
  void write_now(std::string_view lines);
  void write_timed(std::uint64_t now);
  void write_out(std::string_view lines, std::uint64_t dropped);
  void write_lines(std::string_view lines);
  void write_dropped_notice();
  bool write_chunk(std::string_view chunk);

  const int fd_;
  const OwnedFd owned_;
  const std::string prefix_;
  std::shared_ptr<TimedLines> timed_;

  std::mutex mutex_;
  std::condition_variable work_;  // for the thread
  std::condition_variable done_;  // for threads that wait for the log thread
  std::string pending_;           // lines that the thread has not taken
  std::uint64_t dropped_ = 0;     // lines dropped, because the buffer was full, since the thread last took pending_
  std::uint64_t accepted_ = 0;    // calls of write() so far
  std::uint64_t finished_ = 0;    // calls whose lines were written or dropped
  std::optional<pthread_t> thread_;
  bool start_failed_ = false;
  bool idle_ = false;  // the thread waits
  bool due_changed_ = false;
  bool ending_ = false;
  bool ended_ = false;

  // Used only by the writing thread.
  std::uint64_t lost_ = 0;    // dropped lines that no notice has counted yet
  bool inside_line_ = false;  // the last write ended before its line did
};

Result<> LogChannel::State::start(const std::shared_ptr<State>& self) {
  // So that no caller of write() reallocates it.
  self->pending_.reserve(kLogBytesMax);
  auto body = [](void* argument) -> void* {
    std::unique_ptr<std::shared_ptr<State>> state(static_cast<std::shared_ptr<State>*>(argument));
    pthread_setname_np(pthread_self(), "log");
    (*state)->run();
    return nullptr;
  };
  auto argument = std::make_unique<std::shared_ptr<State>>(self);
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  std::lock_guard lock(self->mutex_);
  int error = pthread_create(&thread, nullptr, body, argument.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  self->start_failed_ = error != 0;
  if (error != 0) return fail(Error::system("cannot start a thread", Errno(error)));
  (void)argument.release();
  self->thread_ = thread;
  return {};
}

void LogChannel::State::stop() {
  std::unique_lock lock(mutex_);
  std::string last;
  if (timed_) timed_->take_last(last);
  if (!thread_) {
    if (!last.empty()) write_now(last);
    return;
  }
  pending_ += last;
  ending_ = true;
  work_.notify_one();
  const bool ended = done_.wait_for(lock, std::chrono::nanoseconds(kLogFlushNs), [this] { return ended_; });
  lock.unlock();
  // A thread that is stuck in write(2) keeps a reference to this state until the process ends.
  ended ? pthread_join(*thread_, nullptr) : pthread_detach(*thread_);
}

void LogChannel::State::write(std::string_view lines) {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    if (!thread_) return write_now(lines);
    ++accepted_;
    // To keep the order, all lines after a dropped one are dropped too, until the thread has taken the pending ones.
    if (dropped_ > 0 || (!pending_.empty() && pending_.size() + lines.size() > kLogBytesMax)) {
      dropped_ += lines_in(lines);
      return;
    }
    pending_ += lines;
    wake = std::exchange(idle_, false);
  }
  if (wake) work_.notify_one();
}

void LogChannel::State::due_time_changed() {
  std::lock_guard lock(mutex_);
  due_changed_ = true;
  if (thread_) work_.notify_one();
}

bool LogChannel::State::flush() {
  std::unique_lock lock(mutex_);
  if (!thread_) return true;
  const std::uint64_t target = accepted_;
  return done_.wait_for(lock, std::chrono::nanoseconds(kLogFlushNs), [&] { return finished_ >= target; });
}

void LogChannel::State::run() {
  std::string taken;
  taken.reserve(kLogBytesMax);
  std::unique_lock lock(mutex_);
  while (wait_for_lines(lock)) {
    taken.swap(pending_);
    const std::uint64_t dropped = std::exchange(dropped_, 0);
    const std::uint64_t accepted = accepted_;
    lock.unlock();
    write_out(taken, dropped);
    write_timed(now_ns());
    taken.clear();
    if (taken.capacity() > 2 * kLogBytesMax) {
      taken = std::string();
      taken.reserve(kLogBytesMax);
    }
    lock.lock();
    finished_ = accepted;
    done_.notify_all();
  }
  ended_ = true;
  done_.notify_all();
}

// Waits until there are lines to write or timed lines are due. False: there are none, and the log ends.
bool LogChannel::State::wait_for_lines(std::unique_lock<std::mutex>& lock) {
  while (pending_.empty()) {
    if (ending_) return false;
    due_changed_ = false;
    const std::uint64_t due = timed_ ? timed_->due_ns() : UINT64_MAX;
    const std::uint64_t now = now_ns();
    if (due <= now) return true;
    idle_ = true;
    auto has_news = [this] { return !pending_.empty() || due_changed_ || ending_; };
    if (due == UINT64_MAX) {
      work_.wait(lock, has_news);
    } else {
      work_.wait_for(lock, std::chrono::nanoseconds(due - now), has_news);
    }
    idle_ = false;
  }
  return true;
}

// Called with the mutex locked, when there is no thread.
void LogChannel::State::write_now(std::string_view lines) {
  pollfd writable{.fd = fd_, .events = POLLOUT, .revents = 0};
  if (start_failed_ && poll(&writable, 1, 0) <= 0) {
    lost_ += lines_in(lines);
    return;
  }
  write_timed(now_ns());
  write_out(lines, 0);
}

void LogChannel::State::write_timed(std::uint64_t now) {
  if (!timed_ || timed_->due_ns() > now) return;
  std::string lines;
  timed_->take_due(now, lines);
  write_out(lines, 0);
}

// `dropped`: the number of lines that were dropped after `lines`.
void LogChannel::State::write_out(std::string_view lines, std::uint64_t dropped) {
  write_dropped_notice();
  write_lines(lines);
  lost_ += dropped;
  write_dropped_notice();
}

// Lines that the descriptor refuses (the disk is full, the reader has gone) count as dropped.
void LogChannel::State::write_lines(std::string_view lines) {
  while (!lines.empty()) {
    std::string_view chunk = lines.substr(0, chunk_bytes(lines));
    if (!write_chunk(chunk)) lost_ += lines_in(chunk);
    lines.remove_prefix(chunk.size());
  }
}

void LogChannel::State::write_dropped_notice() {
  if (lost_ == 0) return;
  std::string notice =
      fmt::format("{}{} line{} of the log {} dropped here, because nobody took {} in time\n", prefix_, lost_,
                  lost_ == 1 ? "" : "s", lost_ == 1 ? "was" : "were", lost_ == 1 ? "it" : "them");
  if (write_chunk(notice)) lost_ = 0;
}

// False: the descriptor refuses the chunk. Waits while the descriptor may still accept it.
bool LogChannel::State::write_chunk(std::string_view chunk) {
  if (inside_line_ && ::write(fd_, "\n", 1) == 1) inside_line_ = false;
  while (!chunk.empty()) {
    ssize_t count = ::write(fd_, chunk.data(), chunk.size());
    if (count > 0) {
      inside_line_ = chunk[static_cast<std::size_t>(count) - 1] != '\n';
      chunk.remove_prefix(static_cast<std::size_t>(count));
    } else if (count < 0 && errno == EAGAIN) {
      // Another process has made it non-blocking.
      pollfd writable{.fd = fd_, .events = POLLOUT, .revents = 0};
      if (poll(&writable, 1, -1) < 0 && errno != EINTR) return false;
    } else if (count == 0 || errno != EINTR) {
      return false;
    }
  }
  return true;
}

LogChannel::LogChannel(int fd, std::string prefix)
    : state_(std::make_shared<State>(fd, OwnedFd(), std::move(prefix))) {}

LogChannel::LogChannel(OwnedFd fd, std::string prefix) {
  const int number = fd.get();
  state_ = std::make_shared<State>(number, std::move(fd), std::move(prefix));
}

LogChannel::~LogChannel() {
  state_->stop();
}

void LogChannel::set_timed_lines(std::shared_ptr<TimedLines> timed) {
  state_->set_timed_lines(std::move(timed));
}

Result<> LogChannel::start() {
  return State::start(state_);
}

void LogChannel::write(std::string_view lines) {
  state_->write(lines);
}

void LogChannel::due_time_changed() {
  state_->due_time_changed();
}

bool LogChannel::flush() {
  return state_->flush();
}

}  // namespace blockexport
