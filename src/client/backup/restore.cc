#include "client/backup/restore.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/print.h"
#include "base/printable.h"
#include "client/backup/backup_directory.h"
#include "client/backup/chain_reader.h"
#include "client/backup/image_target.h"
#include "client/backup/progress.h"
#include "json/writer.h"

namespace blockexport::backup {
namespace {

// Each point of a chain has two open files.
void allow_many_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

Result<std::uint64_t> choose_point(const BackupDirectory& directory, const std::string& id) {
  if (id.empty()) {
    TRY_ASSIGN(const auto numbers, directory.list());
    if (!numbers.empty()) return numbers.back();
    return fail(Error(fmt::format("'{}' has no points", printable(directory.path(), 1024)))
                    .with_hint("A pull with --into adds one."));
  }
  if (const auto number = number_from_id(id)) return *number;
  return fail(Error(fmt::format("'{}' is not the id of a point", printable(id)))
                  .with_hint(fmt::format("The points are listed by: blockexport restore --list {}", directory.path())));
}

Result<std::vector<OpenPoint>> open_chain(const BackupDirectory& directory, std::uint64_t number) {
  TRY_ASSIGN(auto manifests, directory.chain(number));
  allow_many_files();
  std::vector<OpenPoint> points;
  for (SummedManifest& manifest : manifests) {
    TRY_ASSIGN(OpenPoint point, directory.open(std::move(manifest)));
    points.push_back(std::move(point));
  }
  return points;
}

// Writes all pieces to the target, or with `compares` compares them with it.
Result<> walk(const std::vector<OpenPoint>& points, SparseFile& target, bool compares, Progress& progress) {
  ChainReader reader(points);
  std::vector<std::byte> written;
  std::uint64_t copied = 0;
  for (;;) {
    TRY_ASSIGN(const auto piece, reader.next());
    if (!piece) return {};
    bool is_equal = true;
    if (!piece->point) {
      if (compares) {
        TRY_ASSIGN(is_equal, target.reads_as_zeroes(piece->offset, piece->length));
      } else {
        TRY(target.zero(piece->offset, piece->length));
      }
    } else {
      TRY_ASSIGN(const auto bytes, reader.read(*piece));
      if (compares) {
        written.resize(bytes.size());
        TRY(read_all(target.file(), piece->offset, written));
        is_equal = std::ranges::equal(written, bytes);
      } else {
        TRY(target.write(piece->offset, bytes));
      }
      copied += bytes.size();
    }
    if (!is_equal) {
      return fail(fmt::format("'{}' does not hold at byte {} what was written there",
                              printable(target.file().path, 1024), piece->offset));
    }
    progress.update(piece->offset + piece->length, copied);
  }
}

Result<> write_target(const std::vector<OpenPoint>& points, ImageTarget& target, bool verifies, Progress& progress) {
  TRY(walk(points, target.sparse(), false, progress));
  progress.finish();
  TRY(target.sparse().sync_and_forget());
  if (verifies) {
    progress.show_only_bar();
    TRY(walk(points, target.sparse(), true, progress));
    progress.clear();
  }
  return target.commit();
}

void report(const RestoreOptions& options, const std::vector<OpenPoint>& points, double seconds) {
  const Manifest& newest = points.back().manifest.manifest;
  if (options.is_json) {
    std::string text;
    json::write_pretty(json::Object{{"target", options.target},
                                    {"id", id_of(newest.number)},
                                    {"time", newest.time},
                                    {"points", points.size()},
                                    {"size", newest.disk_bytes},
                                    {"size-str", size_text(newest.disk_bytes)},
                                    {"verified", options.verifies},
                                    {"seconds", seconds}},
                       text);
    print(stdout, "{}\n", text);
    return;
  }
  print(stdout, "{}: point {} of {}, {}, composed of {} point{}, in {}{}\n", printable(options.target, 1024),
        id_of(newest.number), newest.time, size_text(newest.disk_bytes), points.size(), points.size() == 1 ? "" : "s",
        duration_text(seconds), options.verifies ? ", verified" : "");
}

// A point of the list, and the reason why it cannot be restored, if any.
struct ListedPoint {
  std::uint64_t number = 0;
  std::optional<SummedManifest> manifest;
  std::string fault;
};

// The fault of a point whose manifest is intact: in its files, or in the points that it is based on.
std::string fault_of(const BackupDirectory& directory, const SummedManifest& one,
                     const std::vector<ListedPoint>& earlier) {
  if (one.manifest.parent) {
    const std::uint64_t parent = one.manifest.parent->number;
    const auto found = std::ranges::lower_bound(earlier, parent, {}, &ListedPoint::number);
    if (found == earlier.end() || found->number != parent) return fmt::format("{} is missing", id_of(parent));
    if (!found->fault.empty()) return fmt::format("{} is not usable", id_of(parent));
    if (found->manifest->sum != one.manifest.parent->sum) return fmt::format("{} is another point", id_of(parent));
  }
  auto opened = directory.open({.manifest = one.manifest, .sum = one.sum});
  return opened ? "" : opened.error().message();
}

json::Object json_of(const ListedPoint& point) {
  json::Object object{{"id", id_of(point.number)}};
  if (point.manifest) {
    const Manifest& one = point.manifest->manifest;
    object.set("type", one.parent ? "incremental" : "full");
    object.set("time", one.time);
    object.set("export", one.export_name);
    object.set("size", one.disk_bytes);
    object.set("data-bytes", one.data_bytes);
    if (one.parent) {
      object.set("parent", id_of(one.parent->number));
      object.set("bitmap", one.bitmap);
    }
  }
  object.set("usable", point.fault.empty());
  if (!point.fault.empty()) object.set("fault", point.fault);
  return object;
}

void print_row(const ListedPoint& point) {
  if (!point.manifest) {
    print(stdout, "{}  -            -                     {}\n", id_of(point.number), point.fault);
    return;
  }
  const Manifest& one = point.manifest->manifest;
  print(stdout, "{}  {:<11}  {}  {:>10}  {:>10}  {}{}{}\n", id_of(one.number), one.parent ? "incremental" : "full",
        printable(one.time), size_text(one.disk_bytes), size_text(one.data_bytes), printable(one.export_name),
        one.parent ? fmt::format("  since {}", id_of(one.parent->number)) : "",
        point.fault.empty() ? "" : fmt::format("  NOT USABLE: {}", point.fault));
}

}  // namespace

Result<> list_points(const RestoreOptions& options, bool& has_fault) {
  const BackupDirectory directory(options.directory);
  TRY_ASSIGN(const auto numbers, directory.list());
  std::vector<ListedPoint> points;
  json::Array array;
  for (const std::uint64_t number : numbers) {
    ListedPoint point{.number = number, .manifest = {}, .fault = {}};
    auto manifest = directory.read(number);
    if (manifest) {
      point.fault = fault_of(directory, *manifest, points);
      point.manifest = std::move(*manifest);
    } else {
      point.fault = manifest.error().message();
    }
    has_fault = has_fault || !point.fault.empty();
    if (options.is_json) {
      array.push_back(json_of(point));
    } else {
      print_row(point);
    }
    points.push_back(std::move(point));
  }
  if (!options.is_json) {
    if (points.empty()) print(stdout, "'{}' has no points\n", printable(directory.path(), 1024));
    return {};
  }
  std::string text;
  json::write_pretty(std::move(array), text);
  print(stdout, "{}\n", text);
  return {};
}

Result<> restore(const RestoreOptions& options) {
  const SystemClock clock;
  const std::uint64_t start_ns = clock.now_ns();
  const BackupDirectory directory(options.directory);
  TRY_ASSIGN(const std::uint64_t number, choose_point(directory, options.point_id));
  TRY_ASSIGN(const auto points, open_chain(directory, number));
  const std::uint64_t disk_bytes = points.back().manifest.manifest.disk_bytes;
  TRY_ASSIGN(Progress progress, Progress::create(options.progress, options.is_json, disk_bytes));
  TRY_ASSIGN(
      ImageTarget target,
      ImageTarget::open(
          {.path = options.target, .size_bytes = disk_bytes, .overwrites = options.overwrites, .is_resumed = false}));
  if (auto done = write_target(points, target, options.verifies, progress); !done) {
    progress.clear();
    target.discard();
    if (!target.sparse().is_device()) return done;
    const std::string hint = done.error().hint();
    return fail(std::move(done.error())
                    .with_hint(fmt::format("{}{}'{}' is incomplete now.", hint, hint.empty() ? "" : "\n",
                                           printable(options.target, 1024))));
  }
  report(options, points, static_cast<double>(clock.now_ns() - start_ns) / 1e9);
  return {};
}

}  // namespace blockexport::backup
