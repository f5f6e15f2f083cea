#include "chardev/file_chardev.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "aio/sync/with_deadline.h"
#include "chardev/descriptor_stream.h"

namespace blockexport::chardev {
namespace {

// Interval at which opening a pipe without reader is tried again: the kernel has no notification of a new reader.
constexpr std::uint64_t kReaderPollNs = 50'000'000;

using OptionalStream = std::expected<std::unique_ptr<net::Stream>, Errno>;

// Returns the only stream of a chardev once, and ENXIO afterwards.
OptionalStream give_once(bool& given, aio::Reactor& reactor, int input, int output) {
  if (given) return fail(ENXIO);
  given = true;
  return std::make_unique<DescriptorStream>(reactor, input, output);
}

Error cannot_open(const std::string& path, Errno cause) {
  return Error::system(fmt::format("Could not open '{}'", path), cause);
}

// True if `fd` is a pipe.
aio::Task<std::expected<bool, Errno>> is_pipe_descriptor(aio::Reactor& reactor, int fd) {
  aio::FileInfo info;
  auto checked = co_await reactor.stat(fd, info);
  if (!checked) co_return fail(checked.error());
  co_return info.type == S_IFIFO;
}

aio::Task<bool> is_pipe(aio::Reactor& reactor, const std::string& path) {
  auto fd = co_await reactor.open(path.c_str(), O_PATH);
  if (!fd) co_return false;
  OwnedFd opened(*fd);
  co_return (co_await is_pipe_descriptor(reactor, *fd)).value_or(false);
}

// Opens without blocking, which gives ENXIO for a pipe without reader; then it tries again until the deadline.
aio::Task<Result<OwnedFd>> open_output(aio::Reactor& reactor, const FileOptions& options) {
  const std::string& path = options.output_path;
  const int flags = O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY | (options.append ? O_APPEND : O_TRUNC);
  const std::uint64_t deadline_ns = aio::deadline_after(reactor, options.pipe_wait_ns);
  for (;;) {
    auto fd = co_await reactor.open(path.c_str(), flags);
    if (fd) co_return OwnedFd(*fd);
    if (fd.error() != Errno(ENXIO) || !co_await is_pipe(reactor, path)) co_return fail(cannot_open(path, fd.error()));
    if (reactor.now_ns() >= deadline_ns) {
      co_return fail(cannot_open(path, fd.error()).with_hint("It is a pipe without a reader."));
    }
    if (IoResult slept = co_await reactor.sleep_until(reactor.now_ns() + kReaderPollNs); !slept) {
      co_return fail(cannot_open(path, slept.error()));
    }
  }
}

int make_non_blocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  if (flags >= 0) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  return flags;
}

void restore_flags(int fd, int flags) {
  if (flags >= 0) fcntl(fd, F_SETFL, flags);
}

}  // namespace

StdioChardev::StdioChardev(aio::Reactor& reactor, std::string label, StdioOptions)
    : Chardev(std::move(label)),
      reactor_(reactor),
      input_flags_(make_non_blocking(STDIN_FILENO)),
      output_flags_(make_non_blocking(STDOUT_FILENO)) {}

StdioChardev::~StdioChardev() {
  // The shell that started us shares these descriptors' flags.
  restore_flags(STDIN_FILENO, input_flags_);
  restore_flags(STDOUT_FILENO, output_flags_);
}

aio::Task<OptionalStream> StdioChardev::next_stream() {
  if (given_) {
    // After the end of input it waits until it is cancelled, so that the monitor stays.
    IoResult cancelled = co_await reactor_.sleep_until(UINT64_MAX);
    co_return fail(cancelled ? Errno(ENXIO) : cancelled.error());
  }
  co_return give_once(given_, reactor_, STDIN_FILENO, STDOUT_FILENO);
}

aio::Task<Result<std::unique_ptr<Chardev>>> FileChardev::open(aio::Reactor& reactor, std::string label,
                                                              FileOptions options) {
  std::unique_ptr<FileChardev> chardev(new FileChardev(reactor, std::move(label)));
  if (!options.input_path.empty()) {
    auto fd = co_await reactor.open(options.input_path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (!fd) co_return fail(cannot_open(options.input_path, fd.error()));
    chardev->input_ = OwnedFd(*fd);
    const auto is_pipe = co_await is_pipe_descriptor(reactor, *fd);
    if (!is_pipe) co_return fail(cannot_open(options.input_path, is_pipe.error()));
    chardev->input_is_pipe_ = *is_pipe;
  }
  // Last, since it creates or truncates the file, which must not happen when an earlier step fails.
  CO_TRY_ASSIGN(chardev->output_, co_await open_output(reactor, options));
  co_return std::unique_ptr<Chardev>(std::move(chardev));
}

aio::Task<OptionalStream> FileChardev::next_stream() {
  if (std::exchange(given_, true)) co_return fail(ENXIO);
  co_return std::make_unique<DescriptorStream>(reactor_, input_.get(), output_.get(), input_is_pipe_);
}

aio::Task<OptionalStream> NullChardev::next_stream() {
  co_return give_once(given_, reactor_, -1, -1);
}

}  // namespace blockexport::chardev
