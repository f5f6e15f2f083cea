#include "drivers/qcow2/check/check.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/byte_writer.h"
#include "drivers/qcow2/check/check_state.h"
#include "drivers/qcow2/check/copied_flags.h"
#include "drivers/qcow2/check/count_references.h"
#include "drivers/qcow2/check/refcount_comparison.h"
#include "drivers/qcow2/check/refcount_rebuild.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kIncompatibleFeaturesField = 72;  // in the header
constexpr std::uint64_t kAutoclearFeaturesField = 88;

aio::Task<Result<CheckState>> begin_check(block::Node& file, CheckOptions options) {
  std::vector<std::byte> begin(kHeaderBytesVersion3);
  IoResult read = co_await read_file(file, 0, begin);
  if (!read) co_return fail(Error::system("Could not read the qcow2 header", read.error()));
  CO_TRY_ASSIGN(const std::uint64_t cluster_bytes, parse_cluster_bytes(begin));
  begin.resize(static_cast<std::size_t>(cluster_bytes));
  read = co_await read_file(file, 0, begin);
  if (!read) co_return fail(Error::system("Could not read the qcow2 header", read.error()));
  CO_TRY_ASSIGN(Header header, parse_header(begin, HeaderUse::kCheck));
  CO_TRY_ASSIGN(HeaderExtensions extensions, parse_header_extensions(header, begin));
  if (header.has_raw_data_file() && !header.has_data_file()) co_return fail("data-file-raw requires a data file");
  const Geometry geometry = header.geometry();
  CheckState state{.file = file,
                   .options = options,
                   .header = std::move(header),
                   .extensions = std::move(extensions),
                   .geometry = geometry,
                   .references = ReferenceCounts(geometry.refcount_order, options.memory_bytes_max),
                   .refcount_ones = ReferenceCounts(0, options.memory_bytes_max)};
  if (state.file_clusters() > kCheckClustersMax) {
    co_return fail(
        fmt::format("The image has more than {} clusters, which the check does not count", kCheckClustersMax));
  }
  co_return state;
}

// All passes that only read.
aio::Task<Result<>> find_damage(CheckState& state) {
  state.report.total_clusters = state.geometry.cluster_of(state.geometry.round_up(state.header.disk_bytes()));
  CO_TRY(co_await count_references(state, CountedStructures::kAll));
  CO_TRY(co_await compare_refcounts(state));
  co_return co_await compare_copied_flags(state);
}

aio::Task<Result<>> write_word(CheckState& state, std::uint64_t offset, std::uint64_t word) {
  std::array<std::byte, 8> bytes{};
  set_table_word(bytes, 0, word);
  CO_TRY(co_await write_file(state.file, offset, bytes));
  co_return co_await flush_file(state.file);
}

// A program that does not know an autoclear feature clears its bit before it changes the image.
// A repair of leaks changes no content of the disk, so the session of a bitmap store stays right.
aio::Task<Result<>> clear_unknown_features(CheckState& state) {
  const bool keeps_session = state.options.repair == CheckRepair::kLeaks;
  const std::uint64_t kept = keeps_session ? kAutoclearKnown | kAutoclearSession : kAutoclearKnown;
  if (state.header.version < 3 || (state.header.autoclear_features & ~kept) == 0) co_return Result<>();
  state.header.autoclear_features &= kept;
  co_return co_await write_word(state, kAutoclearFeaturesField, state.header.autoclear_features);
}

// Each step is durable before the next one; refcounts are right before flags permit to rely on them.
aio::Task<Result<>> repair_all(CheckState& state) {
  if (state.droppable_entries != 0) {
    CO_TRY(co_await drop_unaligned_clusters(state));
    CO_TRY(co_await count_references(state, CountedStructures::kAll));
  }
  if (state.needs_rebuild) {
    CO_TRY(co_await rebuild_refcounts(state));
  } else {
    CO_TRY(co_await correct_refcounts(state, CheckRepair::kAll));
  }
  co_return co_await correct_copied_flags(state);
}

// The obstacle to a repair of the damage; empty when there is none.
std::string obstacle(const CheckState& state) {
  if (state.is_incomplete)
    return "not repaired: not all references to clusters are known, and clusters in use could be freed";
  if (state.options.repair == CheckRepair::kLeaks && state.needs_rebuild) {
    return "leaks not repaired: the refcount structures must be rebuilt first, with a repair of all";
  }
  return {};
}

aio::Task<Result<>> repair(CheckState& state) {
  CO_TRY(co_await clear_unknown_features(state));
  if (state.options.repair == CheckRepair::kAll) co_return co_await repair_all(state);
  CO_TRY(co_await correct_refcounts(state, CheckRepair::kLeaks));
  // A refcount that was lowered to 1 asks for flags that were right before.
  if (state.report.corruptions != 0) co_return Result<>();
  co_return co_await correct_copied_flags(state);
}

// Takes the marks off an image that is right.
aio::Task<Result<>> clear_marks(CheckState& state) {
  constexpr std::uint64_t kMarks = kIncompatibleDirty | kIncompatibleCorrupt;
  if (state.report.corruptions != 0 || state.report.check_errors != 0) co_return Result<>();
  if (state.header.version < 3 || (state.header.incompatible_features & kMarks) == 0) co_return Result<>();
  CO_TRY(co_await flush_file(state.file));
  co_return co_await write_word(state, kIncompatibleFeaturesField, state.header.incompatible_features & ~kMarks);
}

// Adds the difference between the damage before the repair and after it.
void add_fixed(const CheckReport& before, CheckReport& after) {
  const auto less = [](std::uint64_t was, std::uint64_t is) { return was > is ? was - is : 0; };
  after.corruptions_fixed = less(before.corruptions, after.corruptions);
  after.leaks_fixed = less(before.leaks, after.leaks);
  std::vector<std::string> findings = before.findings;
  for (std::string& one : after.findings) {
    if (findings.size() < kCheckFindingsMax) findings.push_back(std::move(one));
  }
  after.findings_left_out +=
      before.findings_left_out + before.findings.size() + after.findings.size() - findings.size();
  after.findings = std::move(findings);
}

}  // namespace

aio::Task<Result<CheckReport>> check_image(block::Node& file, CheckOptions options) {
  CO_TRY_ASSIGN(CheckState state, co_await begin_check(file, options));
  CO_TRY(co_await find_damage(state));
  if (options.repair == CheckRepair::kNone) co_return std::move(state.report);
  const bool has_work = options.repair == CheckRepair::kAll ? !state.report.is_clean() : state.report.leaks != 0;
  if (!has_work) {
    CO_TRY(co_await clear_marks(state));
    co_return std::move(state.report);
  }
  if (std::string why_not = obstacle(state); !why_not.empty()) {
    state.note(std::move(why_not));
    co_return std::move(state.report);
  }
  CO_TRY(co_await repair(state));
  CO_TRY_ASSIGN(CheckState repaired, co_await begin_check(file, options));
  CO_TRY(co_await find_damage(repaired));
  CO_TRY(co_await clear_marks(repaired));
  add_fixed(state.report, repaired.report);
  co_return std::move(repaired.report);
}

aio::Task<Result<>> repair_dirty_image(block::Node& file) {
  CO_TRY_ASSIGN(CheckState state, co_await begin_check(file, {}));
  if (!state.header.is_dirty()) co_return Result<>();
  const CheckOptions options{.repair = CheckRepair::kAll};
  CO_TRY_ASSIGN(const CheckReport report, co_await check_image(file, options));
  if (report.check_errors == 0 && report.corruptions == 0) co_return Result<>();
  co_return fail(
      Error("Could not repair dirty image").with_hint(report.findings.empty() ? "" : report.findings.back()));
}

}  // namespace blockexport::drivers::qcow2
