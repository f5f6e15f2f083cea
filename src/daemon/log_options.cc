#include "daemon/log_options.h"

#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>

namespace blockexport::daemon {

Result<> take_log_level(LogOptions& options, std::string_view word) {
  options.level = log_level_of(word);
  if (!options.level) return fail("must be 'error', 'warning', 'info' or 'debug'");
  return {};
}

Result<> take_log_format(LogOptions& options, std::string_view word) {
  options.format = std::nullopt;
  if (word == "text") options.format = LogFormat::kText;
  if (word == "json") options.format = LogFormat::kJson;
  if (word == "journal") options.format = LogFormat::kJournal;
  if (!options.format && word != "auto") return fail("must be 'auto', 'text', 'json' or 'journal'");
  return {};
}

bool standard_error_is_journal() {
  const char* stream = std::getenv("JOURNAL_STREAM");
  if (stream == nullptr) return false;
  const std::string_view text = stream;
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return false;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  const char* end = text.data() + text.size();
  const auto [device_end, device_error] = std::from_chars(text.data(), text.data() + colon, device);
  const auto [inode_end, inode_error] = std::from_chars(text.data() + colon + 1, end, inode);
  if (device_error != std::errc() || device_end != text.data() + colon || inode_error != std::errc() ||
      inode_end != end) {
    return false;
  }
  struct stat status{};
  return fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device && status.st_ino == inode;
}

Result<LogDestination> choose_log_destination(const LogOptions& options, int file) {
  const int fd = file >= 0 ? file : STDERR_FILENO;
  if (options.format == LogFormat::kJournal) {
    if (file >= 0) return fail("--log-format journal: the journal is no file, so --log-file cannot be given too");
    auto journal = LogDestination::journal();
    if (!journal) return fail(std::move(journal).error().with_prefix("--log-format journal: "));
    return journal;
  }
  if (!options.format && file < 0 && standard_error_is_journal()) {
    if (auto journal = LogDestination::journal()) return journal;
  }
  return LogDestination(options.format.value_or(LogFormat::kText), fd);
}

}  // namespace blockexport::daemon
