#include "control/backup/scratch_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <memory>

#include "aio/reactor/reactor.h"
#include "aio/sync/shielded.h"
#include "aio/task/current.h"
#include "base/absolute_path.h"
#include "base/owned_fd.h"

namespace blockexport::control {
namespace {

// Shared by the task and by the worker, which may go on after the task was cancelled.
struct Making {
  enum class State : std::uint8_t { kRunning, kMade, kAbandoned };

  std::string path_start;
  std::uint64_t size_bytes;
  std::string path = {};  // written by the worker before kMade
  std::atomic<State> state = State::kRunning;

  // Called through Reactor::call_abandonably.
  static std::int64_t run(void* argument) {
    auto& making = *static_cast<Making*>(argument);
    const int error = making.make();
    if (error == 0 && making.state.exchange(State::kMade) == State::kAbandoned) unlink(making.path.c_str());
    return -error;
  }

  // Returns 0 or the error number.
  int make() {
    OwnedFd made;
    for (int i = 0; i < kScratchNamesMax && !made; ++i) {
      path = fmt::format("{}.{}.{}", path_start, getpid(), i);
      made = OwnedFd(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR));
      if (!made && errno != EEXIST) return errno;
    }
    if (!made) return EEXIST;
    if (ftruncate(made.get(), static_cast<off_t>(size_bytes)) == 0) return 0;
    const int error = errno;
    unlink(path.c_str());
    return error;
  }
};

// Called through Reactor::call.
std::int64_t remove_name(void* argument) {
  return unlink(static_cast<const std::string*>(argument)->c_str()) == 0 ? 0 : -errno;
}

aio::Task<Result<>> remove(std::string path) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  auto removed = co_await reactor.call(remove_name, &path);
  if (removed || removed.error() == Errno(ENOENT)) co_return Result<>();
  co_return fail(Error::system(fmt::format("Cannot remove the scratch file '{}'", path), removed.error()));
}

}  // namespace

aio::Task<Result<std::string>> make_scratch_file(std::string directory, std::string name, std::uint64_t size_bytes) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  const auto making = std::make_shared<Making>(absolute_path(directory) + "/" + name, size_bytes);
  const std::shared_ptr<void> shared = making;
  const auto made = co_await reactor.call_abandonably(Making::run, shared);
  if (made) co_return making->path;
  if (made.error() == Errno(ECANCELED) && making->state.exchange(Making::State::kAbandoned) == Making::State::kMade) {
    (void)co_await remove_scratch_name(making->path);
  }
  co_return fail(Error::system(fmt::format("Cannot make a scratch file of {} bytes in '{}'", size_bytes, directory),
                               made.error()));
}

aio::Task<Result<>> remove_scratch_name(std::string path) {
  aio::Task<Result<>> removing = remove(std::move(path));
  co_return co_await aio::shielded("scratch file removal", std::move(removing));
}

}  // namespace blockexport::control
