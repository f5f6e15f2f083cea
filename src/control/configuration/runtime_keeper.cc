#include "control/configuration/runtime_keeper.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <type_traits>

#include "aio/sync/shielded.h"
#include "aio/sync/with_deadline.h"
#include "base/file_replacement.h"
#include "base/owned_fd.h"
#include "configuration/files.h"
#include "configuration/runtime_state.h"
#include "control/core/control.h"
#include "schema/block_core_commands.h"
#include "schema/block_export_commands.h"
#include "schema/char_commands.h"
#include "schema/qom_commands.h"
#include "schema/server_commands.h"

namespace blockexport::control {
namespace {

using configuration::Section;

constexpr std::uint64_t kBusyPauseNs = 20'000'000;
constexpr std::size_t kRuntimeBytesMax = configuration::kConfigurationFileBytesMax;

Error state_dir_error(const std::string& directory, Errno cause) {
  return Error::system(fmt::format("daemon.state-dir: cannot use '{}'", directory), cause);
}

}  // namespace

// The directory, which workers use; a write that was given up may still run.
struct RuntimeKeeper::Shared {
  std::mutex mutex;
  OwnedFd directory;
  std::atomic<std::uint64_t> newest = 0;  // number of the last write
};

struct RuntimeKeeper::Opening {
  std::string path;
  std::shared_ptr<Shared> shared;
  Result<> opened = {};
  std::string text = {};
  schema::RuntimeState state = {.version = configuration::kRuntimeStateVersion};
  configuration::Findings findings = {};

  static std::int64_t run(void* opening) {
    auto& self = *static_cast<Opening*>(opening);
    self.opened = self.open();
    if (self.opened) self.read();
    return 0;
  }

  Result<> open() const {
    const std::string directory = path.substr(0, path.rfind('/'));
    OwnedFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return fail(state_dir_error(directory, Errno::last()));
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return fail(state_dir_error(directory, Errno::last()));
      return fail(Error(fmt::format("daemon.state-dir: another process uses '{}'", directory)).as_busy());
    }
    const std::lock_guard lock(shared->mutex);
    shared->directory = std::move(fd);
    return {};
  }

  void read() {
    if (::access(path.c_str(), F_OK) != 0 && errno == ENOENT) return;
    auto file = configuration::read_file(path, findings);
    if (!file) return;
    text = std::string(file->view());
    state = configuration::parse_runtime_state(path, text, findings);
  }
};

struct RuntimeKeeper::Writing {
  std::string path;
  std::shared_ptr<Shared> shared;
  std::uint64_t number;
  std::string text;
  Result<> written = {};

  static std::int64_t run(void* writing) {
    auto& self = *static_cast<Writing*>(writing);
    const std::lock_guard lock(self.shared->mutex);
    // A write that was given up does not replace a later one.
    if (self.number != self.shared->newest.load()) return 0;
    FileInDirectory file(self.shared->directory.get(), kRuntimeFileName);
    self.written = replace_file(file, self.path, self.text);
    return 0;
  }
};

RuntimeKeeper::RuntimeKeeper(Control& control, PlaceOf place_of, std::string directory)
    : control_(control),
      place_of_(std::move(place_of)),
      path_(fmt::format("{}/{}", directory, kRuntimeFileName)),
      shared_(std::make_shared<Shared>()),
      record_(control),
      failing_(control.log()),
      mutex_(control.reactor()) {}

RuntimeKeeper::~RuntimeKeeper() = default;

aio::Task<Result<>> RuntimeKeeper::start() {
  auto opened = co_await while_busy([this] { return open(); });
  if (!opened) co_return fail(std::move(opened).error());
  co_await restore(std::move(*opened));
  // A directory that cannot be written is an error now, not at the first command.
  std::string text = configuration::text_of(content());
  if (text == saved_) co_return Result<>();
  CO_TRY(co_await write(text));
  saved_ = std::move(text);
  co_return Result<>();
}

aio::Task<Result<schema::RuntimeState>> RuntimeKeeper::open() {
  auto opening = std::make_shared<Opening>(Opening{.path = path_, .shared = shared_});
  const std::shared_ptr<void> shared = opening;
  auto done = co_await control_.reactor().call_abandonably(Opening::run, shared);
  if (!done) co_return fail(Error::system(fmt::format("cannot read '{}'", path_), done.error()));
  CO_TRY(std::move(opening->opened));
  if (!opening->findings.empty()) {
    co_return fail(
        Error(opening->findings.text()).with_hint("Nothing of this file is used. Correct it, or move it away."));
  }
  saved_ = std::move(opening->text);
  co_return std::move(opening->state);
}

template <class Begin>
auto RuntimeKeeper::while_busy(Begin begin) -> decltype(begin()) {
  aio::Reactor& reactor = control_.reactor();
  const std::uint64_t deadline_ns = reactor.now_ns() + kRuntimeBusyMaxNs;
  for (;;) {
    auto begun = co_await begin();
    if (begun || !begun.error().is_busy() || reactor.now_ns() >= deadline_ns) co_return begun;
    if (!co_await reactor.sleep_until(reactor.now_ns() + kBusyPauseNs)) co_return begun;
  }
}

// --- restoration ---

bool RuntimeKeeper::is_taken(Section section, const std::string& id) const {
  switch (section) {
    case Section::kObjects:
    case Section::kMonitors:
      return control_.objects().find(id) != nullptr;
    case Section::kChardevs:
      return control_.chardevs().find(id) != nullptr;
    case Section::kNodes:
      return control_.graph().find(id) != nullptr;
    case Section::kServers:
      return control_.servers().find(id) != nullptr;
    case Section::kExports:
      return control_.exports().find(id) != nullptr;
  }
  __builtin_unreachable();
}

void RuntimeKeeper::report(Section section, const std::string& id, const std::string& reason) {
  reasons_.insert_or_assign({section, id}, reason);
  control_.log().error(
      fmt::format("{}: {}.{} is not made again: {}", path_, configuration::name_of(section), id, reason));
}

void RuntimeKeeper::tell_left_out(Section section, const std::string& id) const {
  const std::string place = place_of_(section, id);
  control_.log().warning(fmt::format("{}: {}.{} is left out from now on, because {} has this ID", path_,
                                     configuration::name_of(section), id,
                                     place.empty() ? "another object" : "that of " + place));
}

template <class T, class Make>
aio::Task<void> RuntimeKeeper::restore_each(Section section, std::vector<T> wanted,
                                            std::vector<T> schema::RuntimeState::* lost, Make make) {
  for (const T& one : wanted) {
    const std::string id = id_of(one);
    if (is_taken(section, id)) {
      tell_left_out(section, id);
      continue;
    }
    Result<> made = co_await while_busy([&] { return make(one); });
    if (!made) {
      report(section, id, made.error().message());
      (lost_.*lost).push_back(one);
    } else if constexpr (!std::is_same_v<T, schema::BlockdevOptions>) {
      record_.note(one);
    }
  }
}

aio::Task<void> RuntimeKeeper::restore_default_server(std::optional<schema::NbdServerOptionsLegacy> options) {
  if (!options) co_return;
  const std::string id = "default";
  if (is_taken(Section::kServers, id)) {
    tell_left_out(Section::kServers, id);
    co_return;
  }
  Result<> made = co_await while_busy([&] { return nbd_server_start(control_, *options); });
  if (made) {
    record_.note(std::move(*options));
  } else {
    report(Section::kServers, id, made.error().message());
    lost_.default_server = std::move(options);
  }
}

aio::Task<void> RuntimeKeeper::restore(schema::RuntimeState state) {
  using State = schema::RuntimeState;
  auto make_object = [this](const schema::ObjectOptions& one) -> aio::Task<Result<>> {
    return object_add(control_, one);
  };
  co_await restore_each(Section::kObjects, std::move(state.objects), &State::objects, make_object);
  co_await restore_each(Section::kChardevs, std::move(state.chardevs), &State::chardevs,
                        [this](const schema::RuntimeChardev& one) {
                          return chardev_add(control_, {.id = one.id, .backend = one.backend});
                        });
  co_await restore_each(Section::kMonitors, std::move(state.monitors), &State::monitors, make_object);
  co_await restore_each(Section::kNodes, std::move(state.nodes), &State::nodes,
                        [this](const schema::BlockdevOptions& one) { return blockdev_add(control_, one); });
  co_await restore_default_server(std::move(state.default_server));
  co_await restore_each(Section::kServers, std::move(state.servers), &State::servers,
                        [this](const schema::NbdServersAddArguments& one) { return nbd_servers_add(control_, one); });
  co_await restore_each(Section::kExports, std::move(state.exports), &State::exports,
                        [this](const schema::BlockExportOptions& one) { return block_export_add(control_, one); });
}

// --- saving ---

aio::Task<void> RuntimeKeeper::command_succeeded(std::string_view name, const json::Value* arguments) {
  if (name.starts_with("query-") || name.starts_with("qmp_") || name == "quit") co_return;
  record_.note(name, arguments);
  // At the end of the process everything goes, and is to come back. A monitor that is closed meanwhile changes nothing.
  if (!control_.is_shutting_down()) co_await aio::shielded("runtime state", save());
}

// All things that commands have made, and those that could not be made again unless another one has their ID.
schema::RuntimeState RuntimeKeeper::content() {
  schema::RuntimeState state = record_.present();
  auto add_lost = [&](Section section, auto& lost, auto& list) {
    std::erase_if(lost, [&](const auto& one) { return is_taken(section, id_of(one)); });
    list.insert(list.end(), lost.begin(), lost.end());
  };
  add_lost(Section::kObjects, lost_.objects, state.objects);
  add_lost(Section::kChardevs, lost_.chardevs, state.chardevs);
  add_lost(Section::kMonitors, lost_.monitors, state.monitors);
  add_lost(Section::kNodes, lost_.nodes, state.nodes);
  add_lost(Section::kServers, lost_.servers, state.servers);
  add_lost(Section::kExports, lost_.exports, state.exports);
  if (is_taken(Section::kServers, "default")) lost_.default_server.reset();
  if (!state.default_server) state.default_server = lost_.default_server;
  return state;
}

aio::Task<void> RuntimeKeeper::save() {
  auto turn = co_await mutex_.lock();
  if (!turn) co_return;
  std::string text = configuration::text_of(content());
  if (text == saved_) co_return;
  Result<> written = fail("");
  if (text.size() > kRuntimeBytesMax) {
    written = fail(fmt::format("cannot write '{}': it would have more than {} bytes", path_, kRuntimeBytesMax));
  } else {
    written = co_await write(text);
  }
  if (written) {
    saved_ = std::move(text);
    error_.reset();
    if (failing_.is_on()) failing_.ended(fmt::format("'{}' has the state of the daemon again", path_));
  } else {
    error_ = written.error().message();
    failing_.happened(fmt::format("a restart would lose changes by QMP: {}", *error_));
  }
}

aio::Task<Result<>> RuntimeKeeper::write(std::string text) {
  auto writing =
      std::make_shared<Writing>(Writing{.path = path_, .shared = shared_, .number = 0, .text = std::move(text)});
  writing->number = ++shared_->newest;
  const std::uint64_t deadline_ns = aio::deadline_after(control_.reactor(), kRuntimeWriteMaxNs);
  auto [done, is_late] = co_await aio::with_deadline("runtime state", deadline_ns, run(writing));
  if (is_late || !done) co_return fail(Error::system(fmt::format("cannot write '{}'", path_), Errno(ETIMEDOUT)));
  co_return std::move(writing->written);
}

aio::Task<bool> RuntimeKeeper::run(std::shared_ptr<Writing> writing) {
  const std::shared_ptr<void> shared = writing;
  auto done = co_await control_.reactor().call_abandonably(Writing::run, shared);
  co_return done.has_value();
}

schema::RuntimeInfo RuntimeKeeper::info() const {
  schema::RuntimeInfo info{.file = path_, .error = error_};
  for (const auto& [key, reason] : reasons_) {
    const auto& [section, id] = key;
    if (is_taken(section, id)) continue;
    info.not_restored.push_back({.section = std::string(configuration::name_of(section)), .id = id, .reason = reason});
  }
  return info;
}

}  // namespace blockexport::control
