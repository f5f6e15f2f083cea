#include "drivers/replicas/content_check.h"

#include <fmt/format.h>

#include <string>

#include "base/error.h"
#include "base/log.h"

namespace blockexport::drivers {
namespace {

constexpr std::string_view kConsequence = "every request to the node fails from now on";

std::string text_of(IoResult result) {
  return result ? "success" : errno_text(result.error());
}

}  // namespace

IoResult ContentCheck::state() const {
  if (has_differed_.load(std::memory_order_relaxed)) return fail(EIO);
  return {};
}

IoResult ContentCheck::contents_differ(std::string_view node_name, block::Range range, std::uint64_t offset) {
  if (mark() && log_ != nullptr) {
    log_->error(fmt::format("{}: node '{}': offset={} bytes={} contents mismatch at offset {}; {}", format_name_,
                            node_name, range.offset, range.length, offset, kConsequence));
  }
  return fail(EIO);
}

IoResult ContentCheck::results_differ(std::string_view node_name, std::string_view operation, block::Range range,
                                      IoResult test, IoResult raw) {
  if (mark() && log_ != nullptr) {
    log_->error(fmt::format("{}: node '{}': {} offset={} bytes={} return value mismatch: {} != {}; {}", format_name_,
                            node_name, operation, range.offset, range.length, text_of(test), text_of(raw),
                            kConsequence));
  }
  return fail(EIO);
}

}  // namespace blockexport::drivers
