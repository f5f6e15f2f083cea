#include "authz/list_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <utility>

#include "aio/sync/with_deadline.h"
#include "base/absolute_path.h"

namespace blockexport::authz {

aio::Task<Result<std::string>> ListFile::read_text() {
  auto failure = [this](std::string_view why) { return fail(fmt::format("Unable to read '{}': {}", filename_, why)); };
  // O_NONBLOCK, since the path may name a pipe that nobody writes to.
  auto fd = co_await reactor_.open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (!fd) co_return failure(errno_text(fd.error()));
  path_ = absolute_path(path_);
  aio::FileInfo info;
  std::string text(kListFileBytesMax + 1, '\0');
  std::size_t filled = 0;
  IoResult outcome = co_await reactor_.stat(*fd, info);
  while (outcome && info.type == S_IFREG && filled < text.size()) {
    iovec rest{text.data() + filled, text.size() - filled};
    auto count = co_await reactor_.read(*fd, std::span(&rest, 1), filled);
    if (!count) outcome = fail(count.error());
    if (!count || *count == 0) break;
    filled += *count;
  }
  (void)co_await reactor_.close(*fd);
  if (!outcome) co_return failure(errno_text(outcome.error()));
  if (info.type != S_IFREG) co_return failure("it is not a regular file");
  if (filled > kListFileBytesMax) co_return failure(fmt::format("it is longer than {} bytes", kListFileBytesMax));
  text.resize(filled);
  co_return text;
}

aio::Task<Result<>> ListFile::load() {
  CO_TRY_ASSIGN(std::string text, co_await read_text());
  if (failure_.empty() && text == text_) co_return Result<>();
  CO_TRY_ASSIGN(list_, parse_(filename_, text));
  text_ = std::move(text);
  failure_.clear();
  co_return Result<>();
}

aio::Task<void> ListFile::refresh() {
  std::string text_before = text_;
  bool was_broken = !failure_.empty();
  Result<> loaded = co_await load();
  if (!loaded) {
    if (!co_await reactor_.sleep_until(reactor_.now_ns() + kListFileGraceNs)) co_return;
    loaded = co_await load();
  }
  if (!loaded) {
    std::string failure = loaded.error().message();
    denial_.happened(fmt::format("everyone is denied: {}", failure));
    failure_ = std::move(failure);
  } else if (was_broken || text_ != text_before) {
    denial_.clear();
    log_.info(fmt::format("authorization list '{}': {} rules in use", filename_, list_.rules.size()));
  }
}

aio::Task<IoResult> ListFile::wait_for_change(ChangeSource& changes) {
  if (failure_.empty()) co_return co_await changes.changed();
  const std::uint64_t retry_ns = aio::deadline_after(reactor_, kListFileRetryNs);
  aio::Task<IoResult> waiting = changes.changed();
  auto [changed, is_late] = co_await aio::with_deadline("list file", retry_ns, std::move(waiting));
  co_return is_late ? IoResult() : changed;
}

aio::Task<IoResult> ListFile::follow(ChangeSource& changes) {
  for (;;) {
    co_await refresh();
    CO_TRY(co_await reactor_.sleep_until(reactor_.now_ns() + kListFilePauseNs));
    CO_TRY(co_await wait_for_change(changes));
  }
}

aio::Task<Verdict> ListFile::check(std::string identity) {
  if (!failure_.empty()) {
    co_return Verdict{.allowed = false, .rule = {}, .reason = fmt::format("there are no rules: {}", failure_)};
  }
  co_return list_.decide(identity);
}

}  // namespace blockexport::authz
