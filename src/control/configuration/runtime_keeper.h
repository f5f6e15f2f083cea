// RuntimeKeeper: keeps in a file what QMP commands have made, and makes it again when the daemon starts.
//
// The file is runtime.json in the state directory, which one process uses at a time. After each command that changes
// something, the file is replaced as a whole before the reply is sent; a power cut leaves the old content or the new
// one. A failure to write it is logged; the command has taken effect nevertheless. Owned by the daemon; thread: the
// control reactor, with worker threads for the file.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "aio/sync/sync.h"
#include "base/lasting_condition.h"
#include "configuration/reading.h"
#include "control/configuration/runtime_record.h"
#include "control/core/command_observer.h"
#include "schema/config.h"

namespace blockexport::control {

class Control;

// Longest wait for the directory of the file. A write that takes longer goes on in the background.
inline constexpr std::uint64_t kRuntimeWriteMaxNs = 10'000'000'000;
// Time for which a thing is tried again whose image or address is busy: a killed process may still hold it.
inline constexpr std::uint64_t kRuntimeBusyMaxNs = 1'000'000'000;

inline constexpr const char* kRuntimeFileName = "runtime.json";

class RuntimeKeeper final : public CommandObserver {
 public:
  // The place of an object in the configuration files; empty when they define none of that ID.
  using PlaceOf = std::function<std::string(configuration::Section, const std::string&)>;

  // `directory`: exists, and is this process's own.
  RuntimeKeeper(Control& control, PlaceOf place_of, std::string directory);
  ~RuntimeKeeper();

  // Reads the file, if there is one, and makes what it says. A thing that cannot be made is logged, and stays in the
  // file; one whose ID is taken by the configuration files or the command line is logged, and leaves it. Errors: a file
  // with errors, of which nothing is used; a directory that cannot be used or is used by another process.
  aio::Task<Result<>> start();

  aio::Task<void> command_succeeded(std::string_view name, const json::Value* arguments) override;

  schema::RuntimeInfo info() const;

 private:
  struct Shared;
  struct Opening;
  struct Writing;

  aio::Task<Result<schema::RuntimeState>> open();
  aio::Task<void> restore(schema::RuntimeState state);
  template <class T, class Make>
  aio::Task<void> restore_each(configuration::Section section, std::vector<T> wanted,
                               std::vector<T> schema::RuntimeState::* lost, Make make);
  aio::Task<void> restore_default_server(std::optional<schema::NbdServerOptionsLegacy> options);
  template <class Begin>
  auto while_busy(Begin begin) -> decltype(begin());
  bool is_taken(configuration::Section section, const std::string& id) const;
  void tell_left_out(configuration::Section section, const std::string& id) const;
  void report(configuration::Section section, const std::string& id, const std::string& reason);
  schema::RuntimeState content();
  aio::Task<void> save();
  aio::Task<Result<>> write(std::string text);
  aio::Task<bool> run(std::shared_ptr<Writing> writing);

  Control& control_;
  const PlaceOf place_of_;
  const std::string path_;
  std::shared_ptr<Shared> shared_;
  RuntimeRecord record_;
  schema::RuntimeState lost_{.version = 1};  // what could not be made
  std::map<std::pair<configuration::Section, std::string>, std::string> reasons_;
  std::string saved_;  // the content of the file
  std::optional<std::string> error_;
  LastingCondition failing_;
  aio::Mutex mutex_;
};

}  // namespace blockexport::control
