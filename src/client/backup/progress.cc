#include "client/backup/progress.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>

#include "json/writer.h"

namespace blockexport::backup {
namespace {

constexpr std::uint64_t kShowIntervalNs = 500'000'000;
constexpr std::uint64_t kRateIntervalNs = 2'000'000'000;
constexpr double kNsPerSecond = 1e9;

const SystemClock kSystemClock;

double share_of(const ProgressState& state) {
  if (state.total_bytes == 0) return 1;
  return static_cast<double>(state.done_bytes) / static_cast<double>(state.total_bytes);
}

unsigned columns_of(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) return size.ws_col;
  return 80;
}

}  // namespace

std::string size_text(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 6> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::uint64_t>(std::clamp(seconds, 0.0, 1e9));
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string bar_text(const ProgressState& state, unsigned columns) {
  const double share = std::clamp(share_of(state), 0.0, 1.0);
  std::string right = fmt::format(" {} copied, {}/s", size_text(state.copied_bytes),
                                  size_text(static_cast<std::uint64_t>(std::max(state.rate, 0.0))));
  if (state.seconds_left >= 0) right += fmt::format(", {} left", duration_text(state.seconds_left));
  std::string text = fmt::format("{:3}%", static_cast<int>(std::floor(share * 100)));
  if (columns > text.size() + right.size() + 10) {
    const std::size_t width = std::min<std::size_t>(columns - text.size() - right.size() - 4, 40);
    const auto filled = static_cast<std::size_t>(share * static_cast<double>(width));
    text += fmt::format(" [{}{}]", std::string(filled, '#'), std::string(width - filled, ' '));
  }
  text += right;
  if (text.size() > columns) text.resize(columns);
  return text;
}

std::string line_text(const ProgressState& state) {
  std::string text =
      fmt::format("progress {:.2f}% done={} total={} copied={} rate={}", share_of(state) * 100, state.done_bytes,
                  state.total_bytes, state.copied_bytes, static_cast<std::uint64_t>(std::max(state.rate, 0.0)));
  if (state.seconds_left >= 0) text += fmt::format(" eta={:.0f}", state.seconds_left);
  return text;
}

std::string json_text(const ProgressState& state) {
  json::Object progress{{"done-bytes", state.done_bytes},
                        {"total-bytes", state.total_bytes},
                        {"copied-bytes", state.copied_bytes},
                        {"bytes-per-second", static_cast<std::uint64_t>(std::max(state.rate, 0.0))}};
  if (state.seconds_left >= 0) {
    progress.set("seconds-left", static_cast<std::uint64_t>(std::min(state.seconds_left, 1e12)));
  }
  return json::to_string(json::Object{{"progress", std::move(progress)}});
}

Result<Progress> Progress::create(const std::string& wish, bool is_json, std::uint64_t total_bytes) {
  if (wish.empty()) {
    const bool has_bar = !is_json && ::isatty(STDERR_FILENO) == 1;
    return Progress(has_bar ? Form::kBar : Form::kNone, STDERR_FILENO, total_bytes, kSystemClock);
  }
  if (wish == "true") {
    const Form form = is_json ? Form::kJson : ::isatty(STDERR_FILENO) == 1 ? Form::kBar : Form::kLines;
    return Progress(form, STDERR_FILENO, total_bytes, kSystemClock);
  }
  int fd = -1;
  const auto [end, error] = std::from_chars(wish.data(), wish.data() + wish.size(), fd);
  if (error != std::errc{} || end != wish.data() + wish.size() || fd < 0 || ::fcntl(fd, F_GETFD) < 0) {
    return fail(Error(fmt::format("--progress={} is not an open descriptor", wish))
                    .with_hint("Without a value the progress goes to standard error."));
  }
  return Progress(Form::kPercent, fd, total_bytes, kSystemClock);
}

Progress::Progress(Form form, int fd, std::uint64_t total_bytes, const Clock& clock)
    : form_(form), fd_(fd), clock_(&clock), start_ns_(clock.now_ns()), window_ns_(start_ns_) {
  state_.total_bytes = total_bytes;
}

void Progress::update(std::uint64_t done_bytes, std::uint64_t copied_bytes) {
  state_.done_bytes = done_bytes;
  state_.copied_bytes = copied_bytes;
  if (form_ == Form::kNone) return;
  const std::uint64_t now_ns = clock_->now_ns();
  if (now_ns - shown_ns_ < kShowIntervalNs) return;
  show(now_ns);
}

void Progress::show(std::uint64_t now_ns) {
  shown_ns_ = now_ns;
  const double seconds = static_cast<double>(now_ns - window_ns_) / kNsPerSecond;
  if (seconds > 0) {
    state_.rate = static_cast<double>(state_.copied_bytes - window_copied_) / seconds;
    done_rate_ = static_cast<double>(state_.done_bytes - std::min(window_done_, state_.done_bytes)) / seconds;
    state_.seconds_left =
        done_rate_ > 0 ? static_cast<double>(state_.total_bytes - state_.done_bytes) / done_rate_ : -1;
  }
  if (now_ns - window_ns_ >= kRateIntervalNs) {
    window_ns_ = now_ns;
    window_copied_ = state_.copied_bytes;
    window_done_ = state_.done_bytes;
  }
  switch (form_) {
    case Form::kNone:
      break;
    case Form::kBar:
      write(fmt::format("\r{}\x1b[K", bar_text(state_, columns_of(fd_) - 1)));
      has_bar_ = true;
      break;
    case Form::kLines:
      write(line_text(state_) + "\n");
      break;
    case Form::kJson:
      write(json_text(state_) + "\n");
      break;
    case Form::kPercent: {
      const int percent = static_cast<int>(share_of(state_) * 100);
      if (percent != percent_) write(fmt::format("{}/100\n", percent));
      percent_ = percent;
      break;
    }
  }
}

void Progress::finish() {
  state_.done_bytes = state_.total_bytes;
  if (form_ == Form::kNone) return;
  // The rate of the whole copy.
  window_ns_ = start_ns_;
  window_copied_ = 0;
  window_done_ = 0;
  show(clock_->now_ns());
  if (has_bar_) write("\n");
  has_bar_ = false;
}

void Progress::show_only_bar() {
  if (form_ != Form::kBar) form_ = Form::kNone;
}

void Progress::clear() {
  if (has_bar_) write("\r\x1b[K");
  has_bar_ = false;
}

void Progress::write(std::string_view text) const {
  // A reader that has gone away does not stop the copy.
  while (!text.empty()) {
    const ssize_t count = ::write(fd_, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

}  // namespace blockexport::backup
