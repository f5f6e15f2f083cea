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

// Number of lines or frames.
std::uint64_t lines_in(std::string_view encoded, LogFormat format) {
  if (is_line_format(format)) return static_cast<std::uint64_t>(std::ranges::count(encoded, '\n'));
  std::uint64_t count = 0;
  while (take_log_frame(encoded)) ++count;
  return count;
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
  // `prefix` begins the notice about dropped lines in the text format.
  State(LogDestination destination, std::string program, std::string prefix)
      : program_(std::move(program)),
        prefix_(std::move(prefix)),
        format_(destination.format()),
        destination_(std::move(destination)) {}

  void set_timed_lines(std::shared_ptr<TimedLines> timed) { timed_ = std::move(timed); }
  static Result<> start(const std::shared_ptr<State>& self);
  void stop();
  // The lines that append(format, pending) appends.
  template <class Append>
  void write(Append append);
  void redirect(LogDestination destination);
  void due_time_changed();
  bool flush();

 private:
  void run();
  bool has_work() const { return !pending_.empty() || next_destination_; }
  bool wait_for_lines(std::unique_lock<std::mutex>& lock);
  void write_now(std::string_view lines);
  void write_timed(std::uint64_t now);
  void write_out(std::string_view lines, std::uint64_t dropped);
  void write_lines(std::string_view lines);
  void write_dropped_notice();
  bool write_chunk(std::string_view chunk);

  const std::string program_;
  const std::string prefix_;
  std::shared_ptr<TimedLines> timed_;

  std::mutex mutex_;
  std::condition_variable work_;  // for the thread
  std::condition_variable done_;  // for threads that wait for the log thread
  LogFormat format_;              // of pending_
  std::string pending_;           // lines that the thread has not taken
  // After redirect(), until the thread takes them: the next destination, and lines for the former one.
  std::optional<LogDestination> next_destination_;
  std::string before_;
  std::uint64_t dropped_ = 0;   // lines dropped, because the buffer was full, since the thread last took pending_
  std::uint64_t accepted_ = 0;  // calls of write() so far
  std::uint64_t finished_ = 0;  // calls whose lines were written or dropped
  std::optional<pthread_t> thread_;
  bool start_failed_ = false;
  bool idle_ = false;  // the thread waits
  bool due_changed_ = false;
  bool ending_ = false;
  bool ended_ = false;

  // Used only by the writing thread.
  LogDestination destination_;
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
  if (timed_) timed_->take_last(LogLines(format_, last));
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

template <class Append>
void LogChannel::State::write(Append append) {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    if (!thread_) {
      std::string lines;
      append(format_, lines);
      return write_now(lines);
    }
    ++accepted_;
    const std::size_t before = pending_.size();
    append(format_, pending_);
    // To keep the order, all lines after a dropped one are dropped too, until the thread has taken the pending ones.
    if (dropped_ > 0 || (before > 0 && pending_.size() > kLogBytesMax)) {
      dropped_ += lines_in(std::string_view(pending_).substr(before), format_);
      pending_.resize(before);
      return;
    }
    wake = std::exchange(idle_, false);
  }
  if (wake) work_.notify_one();
}

void LogChannel::State::redirect(LogDestination destination) {
  std::lock_guard lock(mutex_);
  format_ = destination.format();
  if (!thread_) {
    destination_ = std::move(destination);
    return;
  }
  // A second call before the thread has seen the first one: the lines between the two go nowhere.
  if (!next_destination_) before_ = std::move(pending_);
  pending_.clear();
  pending_.reserve(kLogBytesMax);
  next_destination_.emplace(std::move(destination));
  idle_ = false;
  work_.notify_one();
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
    const std::string before = std::exchange(before_, {});
    std::optional<LogDestination> next = std::exchange(next_destination_, std::nullopt);
    const std::uint64_t dropped = std::exchange(dropped_, 0);
    const std::uint64_t accepted = accepted_;
    lock.unlock();
    if (next) {
      write_out(before, 0);
      destination_ = std::move(*next);
      inside_line_ = false;
    }
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
  while (!has_work()) {
    if (ending_) return false;
    due_changed_ = false;
    const std::uint64_t due = timed_ ? timed_->due_ns() : UINT64_MAX;
    const std::uint64_t now = now_ns();
    if (due <= now) return true;
    idle_ = true;
    auto has_news = [this] { return has_work() || due_changed_ || ending_; };
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
  const int fd = destination_.line_fd();
  pollfd writable{.fd = fd, .events = POLLOUT, .revents = 0};
  if (start_failed_ && fd >= 0 && poll(&writable, 1, 0) <= 0) {
    lost_ += lines_in(lines, destination_.format());
    return;
  }
  write_timed(now_ns());
  write_out(lines, 0);
}

void LogChannel::State::write_timed(std::uint64_t now) {
  if (!timed_ || timed_->due_ns() > now) return;
  std::string lines;
  timed_->take_due(now, LogLines(destination_.format(), lines));
  write_out(lines, 0);
}

// `dropped`: the number of lines that were dropped after `lines`.
void LogChannel::State::write_out(std::string_view lines, std::uint64_t dropped) {
  write_dropped_notice();
  write_lines(lines);
  lost_ += dropped;
  write_dropped_notice();
}

// Lines that the destination refuses (the disk is full, the reader has gone) count as dropped.
void LogChannel::State::write_lines(std::string_view lines) {
  if (!is_line_format(destination_.format())) {
    while (std::optional<std::string_view> payload = take_log_frame(lines)) {
      if (!destination_.send(*payload)) ++lost_;
    }
    return;
  }
  while (!lines.empty()) {
    std::string_view chunk = lines.substr(0, chunk_bytes(lines));
    if (!write_chunk(chunk)) lost_ += lines_in(chunk, destination_.format());
    lines.remove_prefix(chunk.size());
  }
}

void LogChannel::State::write_dropped_notice() {
  if (lost_ == 0) return;
  const std::string text = fmt::format("{} line{} of the log {} dropped here, because nobody took {} in time", lost_,
                                       lost_ == 1 ? "" : "s", lost_ == 1 ? "was" : "were", lost_ == 1 ? "it" : "them");
  std::string notice;
  if (destination_.format() == LogFormat::kText) {
    notice = prefix_ + text + "\n";
  } else {
    LogLines(destination_.format(), notice).add({.level = LogLevel::kWarning, .program = program_, .message = text});
  }
  const std::uint64_t before = std::exchange(lost_, 0);
  write_lines(notice);
  if (lost_ > 0) lost_ = before;
}

// False: the descriptor refuses the chunk. Waits while the descriptor may still accept it.
bool LogChannel::State::write_chunk(std::string_view chunk) {
  const int fd = destination_.line_fd();
  if (inside_line_ && ::write(fd, "\n", 1) == 1) inside_line_ = false;
  while (!chunk.empty()) {
    ssize_t count = ::write(fd, chunk.data(), chunk.size());
    if (count > 0) {
      inside_line_ = chunk[static_cast<std::size_t>(count) - 1] != '\n';
      chunk.remove_prefix(static_cast<std::size_t>(count));
    } else if (count < 0 && errno == EAGAIN) {
      // Another process has made it non-blocking.
      pollfd writable{.fd = fd, .events = POLLOUT, .revents = 0};
      if (poll(&writable, 1, -1) < 0 && errno != EINTR) return false;
    } else if (count == 0 || errno != EINTR) {
      return false;
    }
  }
  return true;
}

void LogLines::add(const LogRecord& record) const {
  append_log_record(format_, record, SystemClock().wall_us(), out_);
}

LogChannel::LogChannel(int fd, std::string prefix)
    : state_(std::make_shared<State>(LogDestination(LogFormat::kText, fd), "", std::move(prefix))) {}

LogChannel::LogChannel(OwnedFd fd, std::string prefix)
    : state_(std::make_shared<State>(LogDestination(LogFormat::kText, std::move(fd)), "", std::move(prefix))) {}

LogChannel::LogChannel(LogDestination destination, std::string program_name)
    : state_(std::make_shared<State>(std::move(destination), program_name, program_name + ": warning: ")) {}

LogChannel::~LogChannel() {
  state_->stop();
}

void LogChannel::set_timed_lines(std::shared_ptr<TimedLines> timed) {
  state_->set_timed_lines(std::move(timed));
}

Result<> LogChannel::start() {
  return State::start(state_);
}

void LogChannel::write(const LogRecord& record) {
  state_->write([&](LogFormat format, std::string& out) { LogLines(format, out).add(record); });
}

void LogChannel::write(std::string_view lines) {
  state_->write([&](LogFormat, std::string& out) { out += lines; });
}

void LogChannel::redirect(LogDestination destination) {
  state_->redirect(std::move(destination));
}

void LogChannel::due_time_changed() {
  state_->due_time_changed();
}

bool LogChannel::flush() {
  return state_->flush();
}

}  // namespace blockexport
