#include "base/file_replacement.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace blockexport {
namespace {

IoResult outcome(int returned) {
  if (returned != 0) return std::unexpected(Errno::last());
  return {};
}

}  // namespace

Result<> replace_file(ReplacementCalls& calls, std::string_view description, std::string_view bytes) {
  IoResult done = calls.write_new(bytes);
  if (done) done = calls.flush_new();
  if (done) done = calls.rename_new();
  if (done) done = calls.flush_directory();
  if (!done) return fail(Error::system(fmt::format("cannot write '{}'", description), done.error()));
  return {};
}

IoResult FileInDirectory::write_new(std::string_view bytes) {
  const std::string path = name_ + ".new";
  // O_NOFOLLOW, and O_NONBLOCK for a pipe: nobody else should have made the file.
  new_ = OwnedFd(::openat(directory_, path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
                          S_IRUSR | S_IWUSR));
  if (!new_) return std::unexpected(Errno::last());
  struct stat status{};
  if (::fstat(new_.get(), &status) != 0) return std::unexpected(Errno::last());
  if (!S_ISREG(status.st_mode)) return std::unexpected(Errno(EEXIST));
  while (!bytes.empty()) {
    const ssize_t count = ::write(new_.get(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::unexpected(Errno::last());
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

IoResult FileInDirectory::flush_new() {
  IoResult flushed = outcome(::fsync(new_.get()));
  new_.reset();
  return flushed;
}

IoResult FileInDirectory::rename_new() {
  return outcome(::renameat(directory_, (name_ + ".new").c_str(), directory_, name_.c_str()));
}

IoResult FileInDirectory::flush_directory() {
  return outcome(::fsync(directory_));
}

}  // namespace blockexport
