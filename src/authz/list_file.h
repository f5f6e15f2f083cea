// ListFile: an authorizer whose rules are in a file, which it reads again when the file changes.
//
// A new list applies from the next check on. When the file cannot be read or is not a valid list, the old rules apply
// for one second more, since the writer may not have finished; then everyone is denied until the file is valid again.
// Each change causes one log line. Owned by the object authz-list-file and by running checks; a task of the object's
// scope watches the file. Thread: the reactor's. It never blocks: it reads through the reactor, and only regular files.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "aio/reactor/reactor.h"
#include "aio/sync/sync.h"
#include "authz/rule_list.h"
#include "base/lasting_condition.h"

namespace blockexport::authz {

// A longer file is refused.
inline constexpr std::size_t kListFileBytesMax = 1u << 20;
// Time for which the old rules apply after the file became invalid, and shortest time between two reads of a file that
// changes all the time.
inline constexpr std::uint64_t kListFileGraceNs = 1'000'000'000;
inline constexpr std::uint64_t kListFilePauseNs = 100'000'000;
// Time after which an invalid file is read again even without a change: the read itself may have failed, for example
// for lack of descriptors.
inline constexpr std::uint64_t kListFileRetryNs = 1'000'000'000;

// Notification of changes in the file's directory; in the daemon, aio::DirectoryWatch implements it.
class ChangeSource {
 public:
  virtual ~ChangeSource() = default;
  // Waits for the next change. Errors: ECANCELED; after any other error it reports no more changes.
  virtual aio::Task<IoResult> changed() = 0;
};

// Parser of the rules in `text`. Errors name the file and the fault.
using ParseRules = Result<RuleList> (*)(std::string_view filename, std::string_view text);

class ListFile final : public Authorizer {
 public:
  // `log` and `reactor` outlive the ListFile. It denies until the first load().
  ListFile(aio::Reactor& reactor, const Log& log, std::string filename, ParseRules parse)
      : reactor_(reactor), log_(log), filename_(std::move(filename)), path_(filename_), parse_(parse), denial_(log) {}

  const std::string& filename() const { return filename_; }

  // Reads the file; on failure keeps the rules. Errors: the file cannot be read, or is not a valid list.
  aio::Task<Result<>> load();

  // Loads the file now and after each change, until `changes` fails or the task is cancelled. The object's scope runs
  // it.
  aio::Task<IoResult> follow(ChangeSource& changes);

  // Loads the file. If it is invalid, waits kListFileGraceNs and tries again; then denies everyone.
  aio::Task<void> refresh();

  aio::Task<Verdict> check(std::string identity) override;

 private:
  aio::Task<Result<std::string>> read_text();
  // Waits for a change, for at most kListFileRetryNs while everyone is denied.
  aio::Task<IoResult> wait_for_change(ChangeSource& changes);

  aio::Reactor& reactor_;
  const Log& log_;
  std::string filename_;  // as the user wrote it
  std::string path_;      // the path that is opened: absolute once the file has been read
  ParseRules parse_;
  LastingCondition denial_;
  RuleList list_;
  std::string text_;                                  // the text that list_ was parsed from
  std::string failure_ = "it has not been read yet";  // reason why everyone is denied; empty while list_ applies
};

}  // namespace blockexport::authz
