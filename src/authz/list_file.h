// ListFile: an authorizer whose rules stand in a file, and which follows the file when it changes.
//
// A new list decides from the next check on. When the file cannot be read or is no list, the old rules decide for one
// second more, since whoever writes it may not be done; then everyone is denied until it is whole again. The log tells
// of each change once. Owned by the object authz-list-file and by whoever asks just now; what watches the file is a
// task of the object's scope. Thread: the reactor's. It never blocks: files are read through the reactor, and only
// regular ones.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "aio/reactor.h"
#include "aio/sync.h"
#include "authz/rule_list.h"
#include "base/lasting_condition.h"

namespace blockexport::authz {

// A longer file is no list.
inline constexpr std::size_t kListFileBytesMax = 1u << 20;
// How long the rules of before are kept when the file is broken, and how often a file that changes all the time is
// read.
inline constexpr std::uint64_t kListFileGraceNs = 1'000'000'000;
inline constexpr std::uint64_t kListFilePauseNs = 100'000'000;
// Pause before a broken file is read again without a change of it: the read itself may have failed, as in a process
// that has no descriptors left.
inline constexpr std::uint64_t kListFileRetryNs = 1'000'000'000;

// Tells of changes beside the file; the daemon's is aio::DirectoryWatch.
class ChangeSource {
 public:
  virtual ~ChangeSource() = default;
  // Waits for the next change. ECANCELED; any other error: it will tell of no more.
  virtual aio::Task<IoResult> changed() = 0;
};

// Reads rules out of the text of the file of that name. Errors: what is wrong with it, the name included.
using ParseRules = Result<RuleList> (*)(std::string_view filename, std::string_view text);

class ListFile final : public Authorizer {
 public:
  // `log` and `reactor` outlive it. It denies until the first load().
  ListFile(aio::Reactor& reactor, const Log& log, std::string filename, ParseRules parse)
      : reactor_(reactor), log_(log), filename_(std::move(filename)), path_(filename_), parse_(parse), denial_(log) {}

  const std::string& filename() const { return filename_; }

  // Reads the file; on failure the rules stay as they are. Errors: it cannot be read, or is no list of rules.
  aio::Task<Result<>> load();

  // Follows the file as `changes` tells, until it tells of no more or the task is cancelled. The object's scope runs
  // it; the file may have changed before.
  aio::Task<IoResult> follow(ChangeSource& changes);

  // Loads, and gives a file that is broken the time to become whole; then denies everyone.
  aio::Task<void> refresh();

  aio::Task<Verdict> check(std::string identity) override;

 private:
  aio::Task<Result<std::string>> read_text();
  // Waits for a change; not for ever while everyone is denied.
  aio::Task<IoResult> wait_for_change(ChangeSource& changes);
  static aio::Task<void> wait_into(ChangeSource& changes, IoResult& changed);

  aio::Reactor& reactor_;
  const Log& log_;
  std::string filename_;  // as it was given
  std::string path_;      // where it is read: absolute once it has been read
  ParseRules parse_;
  LastingCondition denial_;
  RuleList list_;
  std::string text_;                             // what list_ was made of
  std::string trouble_ = "it was not read yet";  // why everyone is denied; empty when the list decides
};

}  // namespace blockexport::authz
