#include "daemon/default_monitor.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>

#include "control/commands/chardev.h"
#include "schema/qom_commands.h"

namespace blockexport::daemon {
namespace {

constexpr mode_t kSocketMode = 0660;

std::string runtime_directory() {
  const char* given = std::getenv("RUNTIME_DIRECTORY");  // NOLINT(concurrency-mt-unsafe): nobody changes it
  if (given == nullptr || *given == '\0') return kRuntimeDirectory;
  const std::string list = given;
  return list.substr(0, list.find(':'));
}

aio::Task<Result<>> make_monitor(control::Control& control, std::string path) {
  chardev::SocketOptions socket;
  socket.address = net::UnixAddress{.path = path};
  socket.server = true;
  CO_TRY(co_await control::add_chardev(control, kDefaultMonitorId, std::move(socket)));
  // Until here nobody but the user could connect, because others may not write to the socket.
  if (chmod(path.c_str(), kSocketMode) != 0) {
    const Errno cause = Errno::last();
    // Clients would wait there for ever.
    (void)control.chardevs().remove(kDefaultMonitorId);
    co_return fail(Error::system("cannot set its mode", cause));
  }
  schema::ObjectOptions object{.id = kDefaultMonitorId};
  object.branch = schema::MonitorQMPProperties{.chardev = kDefaultMonitorId};
  CO_TRY(co_await control::object_add(control, std::move(object)));
  control.objects().find(kDefaultMonitorId)->origin = Origin::kCommandLine;
  co_return Result<>();
}

}  // namespace

aio::Task<void> make_default_monitor(control::Control& control) {
  const bool has_monitor =
      std::ranges::any_of(control.objects().all(), [](const auto& object) { return object->serves_commands(); });
  const std::string directory = runtime_directory();
  if (has_monitor || access(directory.c_str(), W_OK | X_OK) != 0) co_return;
  const std::string path = fmt::format("{}/{}", directory, kDefaultMonitorSocket);
  Result<> made = co_await make_monitor(control, path);
  if (!made) control.log().warning(fmt::format("there is no monitor at {}: {}", path, made.error().message()));
}

}  // namespace blockexport::daemon
