#include "client/backup/pull.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <optional>

#include "base/clock.h"
#include "base/print.h"
#include "base/printable.h"
#include "client/backup/backup_directory.h"
#include "client/backup/copier.h"
#include "client/backup/journal.h"
#include "client/backup/pull_choice.h"
#include "json/writer.h"

namespace blockexport::backup {
namespace {

constexpr unsigned kConnectionsDefault = 4;
constexpr unsigned kRequestsDefault = 32;  // over all connections

// The files of an unfinished pull.
struct PullPaths {
  std::string data;
  std::string table;
  std::string journal;
};

// A pull of one kind: its source, and its files as far as they are open.
class Pull {
 public:
  explicit Pull(const PullOptions& options) : options_(options) {}
  Result<> run();

 private:
  Result<> open_source();
  Result<> choose_parent();
  Result<> open_target();
  Result<> open_files(const PullPaths& paths);
  Result<> open_device();
  Result<> copy(Progress& progress);
  Result<> finish(Progress& progress);
  Result<> commit_point();
  Result<> commit_image();
  void report() const;

  bool has_point() const { return !options_.directory.empty(); }
  CopyOptions copy_options() const;
  PullIdentity identity() const;
  TableBounds bounds() const;
  SparseFile& data() { return image_ ? image_->sparse() : point_data_; }
  Error with_resume_hint(Error error) const;

  const PullOptions& options_;
  const SystemClock clock_;
  std::uint64_t start_ns_ = clock_.now_ns();
  CopyMemory memory_;  // outlives the client
  std::unique_ptr<ExportClient> client_;
  std::optional<std::string> bitmap_;
  std::vector<std::string> contexts_;
  bool has_allocation_ = false;
  std::uint64_t chunk_bytes_ = kChunkBytesMax;
  unsigned connections_ = 1;
  unsigned requests_ = 1;

  std::optional<BackupDirectory> directory_;
  OwnedFd directory_lock_;
  std::uint64_t number_ = 0;
  std::optional<SummedManifest> parent_;

  PullPaths paths_;
  NamedFile table_;
  SparseFile point_data_;
  std::optional<ImageTarget> image_;
  bool is_resumed_ = false;
  CopyTotals totals_;
};

Result<> Pull::open_source() {
  TRY_ASSIGN(client_, connect_export(options_.uri));
  const std::vector<std::string>& offered = client_->offered_contexts();
  TRY_ASSIGN(bitmap_, choose_bitmap(options_, offered));
  if (bitmap_) contexts_.push_back(std::string(kBitmapContextPrefix) + *bitmap_);
  has_allocation_ = std::ranges::find(offered, kAllocationContext) != offered.end();
  if (has_allocation_) contexts_.emplace_back(kAllocationContext);
  TRY(client_->select(contexts_));
  const ExportInformation& information = client_->information();
  chunk_bytes_ = std::min(kChunkBytesMax, std::bit_floor(information.read_bytes_max));
  if (chunk_bytes_ < kChunkBytesMin) {
    return fail(fmt::format("the server reads at most {} bytes at a time", information.read_bytes_max));
  }
  connections_ = options_.connections;
  if (connections_ == 0) connections_ = information.allows_multi_conn ? kConnectionsDefault : 1;
  // Without multi-conn a second connection may see other data than the first one, or be refused.
  if (connections_ > 1 && !information.allows_multi_conn) {
    print(stderr, "blockexport: one connection is used, because the server does not offer multi-conn\n");
    connections_ = 1;
  }
  requests_ = options_.requests != 0 ? options_.requests * connections_ : std::max(kRequestsDefault, connections_);
  if (requests_ > kRequestsMax) {
    return fail(fmt::format("{} requests for each of {} connections are more than {}", options_.requests, connections_,
                            kRequestsMax));
  }
  return client_->connect_more(connections_);
}

Result<> Pull::choose_parent() {
  directory_.emplace(options_.directory);
  TRY(directory_->create());
  TRY_ASSIGN(directory_lock_, directory_->lock());
  TRY_ASSIGN(const auto numbers, directory_->list());
  const ExportInformation& information = client_->information();
  if (numbers.empty()) {
    number_ = 1;
    if (!bitmap_) return {};
    return fail(Error(fmt::format("'{}' has no point on which the changes of bitmap '{}' could be based",
                                  printable(directory_->path(), 1024), printable(*bitmap_)))
                    .with_hint("Begin with a full point: use --full, with an export of the whole disk."));
  }
  if (numbers.back() == kPointNumberMax || numbers.size() == kPointsMax) {
    return fail(Error(fmt::format("'{}' has no number for another point", printable(directory_->path(), 1024)))
                    .with_hint("Start another directory."));
  }
  number_ = numbers.back() + 1;
  // A pull that ended between its manifest and its journal has left this file.
  TRY(remove_file(directory_->journal_path(numbers.back())));
  auto read = directory_->read(numbers.back());
  if (!read && !bitmap_) {
    print(stderr, "blockexport: warning: {}\n", read.error().message());
    return {};
  }
  TRY_ASSIGN(SummedManifest newest, std::move(read));
  TRY(check_follows(options_, newest.manifest, information.name, information.size_bytes, bitmap_.has_value()));
  if (!bitmap_) {
    if (!options_.is_full) {
      print(stderr, "blockexport: this will be a full point, because the export offers no dirty bitmap\n");
    }
    return {};
  }
  TRY_ASSIGN(const auto chain, directory_->chain(numbers.back()));
  if (chain.size() >= kChainPointsMax) {
    return fail(Error(fmt::format("the chain of point {} has {} points already", id_of(numbers.back()), chain.size()))
                    .with_hint("Make a full point: use --full."));
  }
  parent_ = std::move(newest);
  return {};
}

PullIdentity Pull::identity() const {
  const ExportInformation& information = client_->information();
  PullIdentity identity{.export_name = information.name,
                        .disk_bytes = information.size_bytes,
                        .chunk_bytes = chunk_bytes_,
                        .bitmap = bitmap_.value_or(""),
                        .parent = {}};
  if (parent_) identity.parent = ParentPoint{.number = parent_->manifest.number, .sum = parent_->sum};
  return identity;
}

Result<> Pull::open_target() {
  if (has_point()) {
    TRY(choose_parent());
    paths_ = {.data = directory_->data_path(number_),
              .table = directory_->table_path(number_),
              .journal = directory_->journal_path(number_)};
    TRY(open_files(paths_));
    TRY_ASSIGN(NamedFile file, open_file(paths_.data, O_RDWR | O_CREAT));
    if (!is_resumed_) TRY(resize(file, 0));
    point_data_ = SparseFile(std::move(file), !is_resumed_, false);
    return {};
  }
  TRY(check_target(options_.target, options_.overwrites));
  if (is_block_device(options_.target)) return open_device();
  const std::string partial = partial_path(options_.target);
  paths_ = {.data = partial, .table = partial + ".chunks", .journal = partial + ".unfinished"};
  TRY(open_files(paths_));
  TRY_ASSIGN(image_, ImageTarget::open({.path = options_.target,
                                        .size_bytes = client_->information().size_bytes,
                                        .overwrites = options_.overwrites,
                                        .is_resumed = is_resumed_}));
  return {};
}

// Opens the table, which is locked against other pulls, and finds or writes the journal.
Result<> Pull::open_files(const PullPaths& paths) {
  TRY_ASSIGN(table_, open_file(paths.table, O_RDWR | O_CREAT));
  if (::flock(table_.fd.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return fail(Error(fmt::format("another blockexport pull writes to '{}'", printable(paths.data, 1024)))
                    .with_hint("Try again when that has ended."));
  }
  TRY_ASSIGN(const std::string text, encode_journal(identity()));
  TRY_ASSIGN(const auto old_text, read_small_file(paths.journal, kJournalBytesMax));
  if (old_text && options_.is_resumed) {
    TRY(check_journal(paths.journal, *old_text, identity()));
    is_resumed_ = true;
    return {};
  }
  if (old_text) {
    print(stderr, "blockexport: the unfinished pull of '{}' is discarded, because --resume was not given\n",
          printable(paths.data, 1024));
  }
  TRY(resize(table_, 0));
  return write_small_file(paths.journal, text);
}

// A block device has no journal; its table is a file without a name.
Result<> Pull::open_device() {
  if (options_.is_resumed) {
    return fail(Error("a pull to a block device cannot be resumed, because it keeps no journal")
                    .with_hint("Pull to a file or a directory, or run the command without --resume."));
  }
  const char* wished = std::getenv("TMPDIR");
  const std::string folder = wished != nullptr && *wished != '\0' ? wished : "/var/tmp";
  TRY_ASSIGN(table_, open_file(folder, O_RDWR | O_TMPFILE));
  TRY_ASSIGN(image_, ImageTarget::open({.path = options_.target,
                                        .size_bytes = client_->information().size_bytes,
                                        .overwrites = options_.overwrites,
                                        .is_resumed = false}));
  return {};
}

CopyOptions Pull::copy_options() const {
  return {.contexts = contexts_,
          .has_changes = bitmap_.has_value(),
          .has_allocation = has_allocation_,
          .changed_from = parent_ ? parent_->manifest.disk_bytes : UINT64_MAX,
          .chunk_bytes = chunk_bytes_,
          .is_packed = has_point(),
          .is_resumed = is_resumed_,
          .requests = requests_,
          .timeout_ms = static_cast<int>(options_.timeout_seconds) * 1000};
}

TableBounds Pull::bounds() const {
  return {.records = totals_.records,
          .disk_bytes = client_->information().size_bytes,
          .data_bytes = has_point() ? totals_.data_bytes : client_->information().size_bytes,
          .covers_whole_disk = !bitmap_,
          .is_packed = has_point()};
}

Result<> Pull::copy(Progress& progress) {
  TRY_ASSIGN(totals_, copy_export(*client_, memory_, copy_options(), data(), table_, progress));
  // A longer part is left from before an interruption.
  TRY(resize(table_, totals_.records * kRecordBytes));
  if (has_point()) TRY(resize(point_data_.file(), totals_.data_bytes));
  progress.finish();
  return sync(data().file());
}

Result<> Pull::finish(Progress& progress) {
  if (options_.verifies) {
    progress.show_only_bar();
    TRY(verify_copy(data(), table_, bounds(), progress));
    progress.clear();
  }
  return has_point() ? commit_point() : commit_image();
}

Result<> Pull::commit_point() {
  TRY(sync(table_));
  const ExportInformation& information = client_->information();
  TRY_ASSIGN(const Sha256 table_sum, sum_of_table(table_, totals_.records));
  const Manifest manifest{.number = number_,
                          .time = time_text(clock_.wall_us() / 1'000'000),
                          .export_name = information.name,
                          .disk_bytes = information.size_bytes,
                          .parent = identity().parent,
                          .bitmap = bitmap_.value_or(""),
                          .records = totals_.records,
                          .table_sum = table_sum,
                          .data_bytes = totals_.data_bytes,
                          .zero_bytes = totals_.zero_bytes};
  TRY_ASSIGN(const std::string text, encode_manifest(manifest));
  // The names of the other two files are durable before that of the manifest.
  TRY(sync_directory(directory_->path()));
  TRY(write_small_file(directory_->manifest_path(number_), text));
  return remove_file(paths_.journal);
}

Result<> Pull::commit_image() {
  TRY(image_->commit());
  if (paths_.journal.empty()) return {};
  TRY(remove_file(paths_.table));
  return remove_file(paths_.journal);
}

void Pull::report() const {
  const double seconds = static_cast<double>(clock_.now_ns() - start_ns_) / 1e9;
  const std::string target = has_point() ? directory_->path() : options_.target;
  const std::string_view type = bitmap_ ? "incremental" : "full";
  const std::uint64_t size = client_->information().size_bytes;
  if (options_.is_json) {
    json::Object result{{"target", target}, {"type", type}};
    if (has_point()) result.set("id", id_of(number_));
    if (parent_) result.set("parent", id_of(parent_->manifest.number));
    if (bitmap_) result.set("bitmap", *bitmap_);
    result.set("export", client_->information().name);
    result.set("size", size);
    result.set("size-str", size_text(size));
    result.set("data-bytes", totals_.data_bytes);
    result.set("data-str", size_text(totals_.data_bytes));
    result.set("zero-bytes", totals_.zero_bytes);
    result.set("kept-bytes", totals_.kept_bytes);
    result.set("verified", options_.verifies);
    result.set("seconds", seconds);
    std::string text;
    json::write_pretty(std::move(result), text);
    print(stdout, "{}\n", text);
    return;
  }
  std::string text = has_point() ? fmt::format("point {} in {}: {}", id_of(number_), printable(target, 1024), type)
                                 : fmt::format("{}: full image", printable(target, 1024));
  if (parent_) text += fmt::format(" since {}", id_of(parent_->manifest.number));
  text += fmt::format(", {} of data and {} of zeroes", size_text(totals_.data_bytes), size_text(totals_.zero_bytes));
  if (totals_.kept_bytes > 0)
    text += fmt::format(", {} of it from before the interruption", size_text(totals_.kept_bytes));
  print(stdout, "{}, in {}{}\n", text, duration_text(seconds), options_.verifies ? ", verified" : "");
}

Error Pull::with_resume_hint(Error error) const {
  if (paths_.journal.empty()) {
    return std::move(error).with_hint(fmt::format("'{}' is incomplete now.", printable(options_.target, 1024)));
  }
  std::string hint = error.hint().empty() ? "" : error.hint() + "\n";
  hint +=
      "What was copied is kept. Run the same command with --resume to continue, as long as the export shows the same "
      "point in time.";
  return std::move(error).with_hint(std::move(hint));
}

Result<> Pull::run() {
  TRY(open_source());
  TRY(open_target());
  TRY_ASSIGN(Progress progress,
             Progress::create(options_.progress, options_.is_json, client_->information().size_bytes));
  for (auto step : {&Pull::copy, &Pull::finish}) {
    Result<> done = (this->*step)(progress);
    if (done) continue;
    progress.clear();
    return fail(with_resume_hint(std::move(done.error())));
  }
  report();
  return {};
}

}  // namespace

Result<> pull(const PullOptions& options) {
  Pull one(options);
  return one.run();
}

}  // namespace blockexport::backup
