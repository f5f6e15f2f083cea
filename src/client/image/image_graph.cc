#include "client/image/image_graph.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "block/buffers.h"
#include "drivers/image_names.h"
#include "schema/codec.h"

namespace blockexport::image {
namespace {

using block::Permission;
using block::Permissions;

constexpr std::string_view kQcow2Magic = "QFI\xfb";

// The permissions that a reader or a repair uses, and those that it shares.
Permissions permissions_for(Access access) {
  switch (access) {
    case Access::kRead:
      return {.used = Permission::kConsistentRead, .shared = Permission::kConsistentRead | Permission::kWriteUnchanged};
    case Access::kReadShared:
      return {.used = Permission::kConsistentRead};
    case Access::kWrite:
      break;
  }
  return {.used = Permission::kConsistentRead | Permission::kWrite | Permission::kResize,
          .shared = Permission::kConsistentRead};
}

Result<schema::BlockdevOptions> decode(json::Object options, std::string_view node, Access access) {
  options.set("node-name", std::string(node));
  options.set("read-only", access != Access::kWrite);
  if (access == Access::kReadShared) options.set("force-share", true);
  return schema::decode<schema::BlockdevOptions>(json::Value(std::move(options)));
}

Error cannot_open(const std::string& filename, const Error& error) {
  return Error(fmt::format("Could not open '{}': {}", filename, error.message())).with_hint(error.hint());
}

}  // namespace

bool is_block_device(const std::string& filename) {
  struct stat status{};
  return stat(filename.c_str(), &status) == 0 && S_ISBLK(status.st_mode);
}

json::Object file_options(const std::string& filename) {
  return {{"driver", is_block_device(filename) ? "host_device" : "file"}, {"filename", filename}};
}

ImageGraph::ImageGraph(std::unique_ptr<Log> log, std::unique_ptr<aio::Reactor> reactor)
    : log_(std::move(log)),
      reactor_(std::move(reactor)),
      scope_(*reactor_),
      drivers_(nullptr, log_.get()),
      graph_(*reactor_, drivers_, trace_, log_.get()) {}

Result<std::unique_ptr<ImageGraph>> ImageGraph::create() {
  auto log = std::make_unique<Log>("blockexport", 2, LogLevel::kWarning);
  TRY_ASSIGN(auto reactor, aio::Reactor::create({.backend = aio::BackendKind::kEpoll}, *log));
  return std::unique_ptr<ImageGraph>(new ImageGraph(std::move(log), std::move(reactor)));
}

ImageGraph::~ImageGraph() {
  const auto close = [](ImageGraph& images) -> aio::Task<Result<>> {
    co_await images.close_all();
    co_return Result<>();
  };
  (void)run(close(*this));
}

aio::Task<Result<>> ImageGraph::close_file() {
  co_await graph_.detach(std::move(edges_.back()));
  edges_.pop_back();
  co_return co_await graph_.remove(std::string(kFileNode));
}

aio::Task<void> ImageGraph::close_all() {
  for (; !edges_.empty(); edges_.pop_back()) co_await graph_.detach(std::move(edges_.back()));
  co_await graph_.close();
}

aio::Task<Result<block::Node*>> ImageGraph::open(schema::BlockdevOptions options, std::string node, Access access) {
  CO_TRY(co_await graph_.add(std::move(options)));
  block::EdgeParent parent{.name = "root", .description = std::string(block::kUnnamedUser)};
  CO_TRY_ASSIGN(auto edge, co_await graph_.attach(node, std::move(parent), permissions_for(access)));
  edges_.push_back(std::move(edge));
  co_return &edges_.back()->node();
}

Result<block::Node*> ImageGraph::open_file(const std::string& filename, Access access) {
  TRY_ASSIGN(schema::BlockdevOptions options, decode(file_options(filename), kFileNode, access));
  auto node = run(open(std::move(options), std::string(kFileNode), access));
  if (!node) return fail(cannot_open(filename, node.error()));
  return *node;
}

Result<block::Node*> ImageGraph::open_image(const std::string& filename, const std::string& format, Access access,
                                            Backing backing, std::string_view name) {
  json::Object image{{"driver", format}, {"file", file_options(filename)}};
  if ((format == "qcow2" || format == "vmdk") && backing == Backing::kNone) image.set("backing", json::Null());
  TRY_ASSIGN(schema::BlockdevOptions options, decode(std::move(image), name, access));
  auto node = run(open(std::move(options), std::string(name), access));
  if (!node) return fail(cannot_open(filename, node.error()));
  return *node;
}

aio::Task<Result<block::Node*>> ImageGraph::open_reference(block::ImageReference reference, std::string image_path) {
  CO_TRY_ASSIGN(schema::BlockdevOptions options,
                co_await drivers_.resolve(std::move(reference), std::move(image_path)));
  options.node_name = kImageNode;
  options.read_only = true;
  co_return co_await open(std::move(options), std::string(kImageNode), Access::kRead);
}

Result<block::Node*> ImageGraph::open_backing(block::ImageReference reference, const std::string& image_path) {
  const std::string name = reference.name;
  auto node = run(open_reference(std::move(reference), image_path));
  if (!node) return fail(cannot_open(name, node.error()));
  return *node;
}

aio::Task<Result<std::string>> ImageGraph::read_format(block::Node& file) {
  std::array<char, drivers::kProbeBytesMax> begin{};
  const std::size_t length = std::min<std::uint64_t>(file.size_bytes(), begin.size());
  if (length == 0) co_return "raw";
  const iovec vector{.iov_base = begin.data(), .iov_len = length};
  const IoResult read = co_await file.read({0, length}, {&vector, 1});
  if (!read) co_return fail(Error::system("Could not read image for determining its format", read.error()));
  const std::string_view bytes(begin.data(), length);
  // An image of an old version, too: its opening says so.
  if (bytes.starts_with(kQcow2Magic)) co_return "qcow2";
  co_return std::string(drivers::probe_format(bytes));
}

Result<std::string> ImageGraph::probe(const std::string& filename, Access access) {
  TRY_ASSIGN(block::Node* const file, open_file(filename, access == Access::kReadShared ? access : Access::kRead));
  auto format = run(read_format(*file));
  TRY(run(close_file()));
  return format;
}

}  // namespace blockexport::image
