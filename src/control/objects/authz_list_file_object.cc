#include <fmt/format.h>

#include "base/absolute_path.h"
#include "control/core/control.h"
#include "control/objects/authz_objects.h"
#include "control/objects/authz_rules.h"

namespace blockexport::control {
namespace {

// Interval of attempts to watch a directory that is missing, or that could not be watched.
constexpr std::uint64_t kWatchRetryNs = 1'000'000'000;

class WatchedDirectory final : public authz::ChangeSource {
 public:
  explicit WatchedDirectory(aio::DirectoryWatch& watch) : watch_(watch) {}
  aio::Task<IoResult> changed() override { return watch_.changed(); }

 private:
  aio::DirectoryWatch& watch_;
};

// The directory of a file to watch. Errors: a file name without a directory, or a path without a file name.
Result<std::string> directory_of(const std::string& filename) {
  std::size_t slash = filename.rfind('/');
  if (slash == std::string::npos) return fail("Filename must be an absolute path");
  if (slash + 1 == filename.size()) return fail("Path has no trailing filename component");
  return filename.substr(0, slash == 0 ? 1 : slash);
}

schema::AuthZListFileProperties with_defaults(schema::AuthZListFileProperties properties) {
  if (!properties.refresh) properties.refresh = true;
  return properties;
}

}  // namespace

AuthzListFileObject::AuthzListFileObject(Control& control, std::string id, schema::AuthZListFileProperties properties)
    : ObjectOf(std::move(id), with_defaults(std::move(properties))),
      reactor_(control.reactor()),
      file_(std::make_shared<authz::ListFile>(control.reactor(), control.log(), shown().filename, parse_rule_list)),
      scope_(control.reactor()) {}

Result<std::unique_ptr<UserObject>> AuthzListFileObject::create(Control& control,
                                                                const schema::ObjectOptions& options) {
  const auto& properties = options.qom_type() == schema::ObjectType::kAuthzListfile
                               ? options.as<schema::ObjectType::kAuthzListfile>()
                               : options.as<schema::ObjectType::kAuthzListFile>();
  return std::unique_ptr<UserObject>(new AuthzListFileObject(control, options.id, properties));
}

aio::Task<Result<>> AuthzListFileObject::complete() {
  CO_TRY(co_await file_->load());
  if (!*shown().refresh) co_return Result<>();
  CO_TRY_ASSIGN(std::string directory, directory_of(file_->filename()));
  auto watch = co_await aio::DirectoryWatch::create(reactor_, directory);
  if (!watch) co_return fail(Error::system(fmt::format("Unable to watch '{}'", directory), watch.error()));
  scope_.spawn("authz list file", follow(absolute_path(directory), std::move(*watch)));
  co_return Result<>();
}

aio::Task<void> AuthzListFileObject::follow(std::string directory, std::unique_ptr<aio::DirectoryWatch> watch) {
  while (!scope_.cancelled()) {
    if (watch != nullptr) {
      WatchedDirectory changes(*watch);
      (void)co_await file_->follow(changes);
      watch.reset();
    } else {
      auto again = co_await aio::DirectoryWatch::create(reactor_, directory);
      if (again) watch = std::move(*again);
      co_await file_->refresh();
    }
    if (watch == nullptr) (void)co_await reactor_.sleep_until(reactor_.now_ns() + kWatchRetryNs);
  }
}

aio::Task<void> AuthzListFileObject::close() {
  scope_.cancel();
  co_await scope_.join();
}

}  // namespace blockexport::control
