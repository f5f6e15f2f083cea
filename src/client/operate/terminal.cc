#include "client/operate/terminal.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string_view>
#include <utility>

#include "base/clock.h"

namespace blockexport::operate {
namespace {

// ECMA-48 and xterm: the alternate screen and a hidden cursor; the end of both; home and the erasing of what follows.
constexpr std::string_view kBegin = "\x1b[?1049h\x1b[?25l";
constexpr std::string_view kEnd = "\x1b[?25h\x1b[?1049l";
constexpr std::string_view kHome = "\x1b[H";
constexpr std::string_view kEraseLine = "\x1b[K";
constexpr std::string_view kEraseBelow = "\x1b[J";

bool write_out(std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
}

winsize window() {
  winsize size{};
  (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
  return size;
}

}  // namespace

Result<Terminal> Terminal::open() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int one : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) sigaddset(&signals, one);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  OwnedFd descriptor(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!descriptor) return fail(Error::system("Cannot wait for signals", Errno(errno)));
  Terminal terminal(std::move(descriptor));
  terminal.is_screen_ = isatty(STDOUT_FILENO) == 1;
  if (!terminal.is_screen_) return terminal;
  termios before{};
  if (tcgetattr(STDIN_FILENO, &before) == 0) {
    termios keys = before;
    keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    if (tcsetattr(STDIN_FILENO, TCSANOW, &keys) == 0) terminal.keys_ = before;
  }
  (void)write_out(kBegin);
  return terminal;
}

Terminal::Terminal(Terminal&& other) noexcept
    : signals_(std::move(other.signals_)),
      is_screen_(std::exchange(other.is_screen_, false)),
      keys_(std::exchange(other.keys_, std::nullopt)) {}

Terminal::~Terminal() {
  if (keys_) tcsetattr(STDIN_FILENO, TCSANOW, &*keys_);
  if (is_screen_) (void)write_out(kEnd);
}

std::size_t Terminal::columns() const {
  return is_screen_ ? window().ws_col : 0;
}

std::size_t Terminal::rows() const {
  return is_screen_ ? window().ws_row : 0;
}

bool Terminal::show(const std::string& text) {
  if (!is_screen_) return write_out(text);
  std::string screen(kHome);
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    // A newline after the last row would move the screen.
    if (begin > 0) screen += "\r\n";
    screen.append(text, begin, end - begin).append(kEraseLine);
    begin = end + 1;
  }
  return write_out(screen.append(kEraseBelow));
}

Terminal::Wake Terminal::wait(std::uint64_t timeout_ns) {
  const SystemClock clock;
  const std::uint64_t deadline_ns = clock.now_ns() + timeout_ns;
  for (;;) {
    const std::uint64_t now_ns = clock.now_ns();
    if (now_ns >= deadline_ns) return Wake::kTime;
    pollfd entries[] = {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                        {.fd = keys_ ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0}};
    const int count = poll(entries, 2, static_cast<int>((deadline_ns - now_ns) / 1'000'000 + 1));
    if (count < 0 && errno != EINTR) return Wake::kEnd;
    if (count <= 0) continue;
    signalfd_siginfo signal{};
    if (read(signals_.get(), &signal, sizeof(signal)) == sizeof(signal)) {
      return signal.ssi_signo == SIGWINCH ? Wake::kResize : Wake::kEnd;
    }
    char key = 0;
    if (entries[1].revents != 0 && (read(STDIN_FILENO, &key, 1) != 1 || key == 'q')) return Wake::kEnd;
  }
}

}  // namespace blockexport::operate
