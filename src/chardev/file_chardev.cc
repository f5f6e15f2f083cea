#include "chardev/file_chardev.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "chardev/descriptor_stream.h"

namespace blockexport::chardev {
namespace {

using OptionalStream = std::expected<std::unique_ptr<net::Stream>, Errno>;

// The one stream of a chardev that has only one, then nothing more.
OptionalStream give_once(bool& given, aio::Reactor& reactor, int input, int output) {
  if (given) return fail(ENXIO);
  given = true;
  return std::make_unique<DescriptorStream>(reactor, input, output);
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
  // The terminal belongs to the shell that started us.
  restore_flags(STDIN_FILENO, input_flags_);
  restore_flags(STDOUT_FILENO, output_flags_);
}

aio::Task<OptionalStream> StdioChardev::next_stream() {
  if (given_) {
    // End of input: wait for nothing, so that the monitor stays.
    IoResult cancelled = co_await reactor_.sleep_until(UINT64_MAX);
    co_return fail(cancelled ? Errno(ENXIO) : cancelled.error());
  }
  co_return give_once(given_, reactor_, STDIN_FILENO, STDOUT_FILENO);
}

Result<std::unique_ptr<Chardev>> FileChardev::open(aio::Reactor& reactor, std::string label, FileOptions options) {
  std::unique_ptr<FileChardev> chardev(new FileChardev(reactor, std::move(label)));
  int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (options.append ? O_APPEND : O_TRUNC);
  chardev->output_ = OwnedFd(::open(options.output_path.c_str(), flags, 0666));
  if (!chardev->output_)
    return fail(Error::system(fmt::format("Could not open '{}'", options.output_path), Errno::last()));
  if (!options.input_path.empty()) {
    chardev->input_ = OwnedFd(::open(options.input_path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!chardev->input_)
      return fail(Error::system(fmt::format("Could not open '{}'", options.input_path), Errno::last()));
  }
  return chardev;
}

aio::Task<OptionalStream> FileChardev::next_stream() {
  co_return give_once(given_, reactor_, input_.get(), output_.get());
}

aio::Task<OptionalStream> NullChardev::next_stream() {
  co_return give_once(given_, reactor_, -1, -1);
}

}  // namespace blockexport::chardev
