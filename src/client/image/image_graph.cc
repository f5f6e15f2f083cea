#include "client/image/image_graph.h"

#include <fmt/format.h>

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
// With the number of the version, of which this program has the first.
constexpr std::string_view kLuksBegin("LUKS\xba\xbe\0\1", 8);

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

// The same for options whose values are strings.
Result<schema::BlockdevOptions> decode_texts(json::Object options, std::string_view node, Access access) {
  options.set("node-name", std::string(node));
  if (access != Access::kWrite) options.set("read-only", "on");
  if (access == Access::kReadShared) options.set("force-share", "on");
  return schema::decode_keyval<schema::BlockdevOptions>(json::Value(std::move(options)));
}

Error cannot_open(const std::string& filename, const Error& error) {
  return Error(fmt::format("Could not open '{}': {}", filename, error.message())).with_hint(error.hint());
}

}  // namespace

ImageGraph::ImageGraph(std::unique_ptr<Log> log, std::unique_ptr<aio::Reactor> reactor, ImageSecrets secrets)
    : log_(std::move(log)),
      reactor_(std::move(reactor)),
      scope_(*reactor_),
      secrets_(std::move(secrets)),
      drivers_(nullptr, log_.get()),
      graph_(*reactor_, drivers_, trace_, log_.get()) {
  drivers_.set_secrets(secrets_);
}

Result<std::unique_ptr<ImageGraph>> ImageGraph::create(ImageSecrets secrets) {
  auto log = std::make_unique<Log>("blockexport", 2, LogLevel::kWarning);
  TRY_ASSIGN(auto reactor, aio::Reactor::create({.backend = aio::BackendKind::kEpoll}, *log));
  return std::unique_ptr<ImageGraph>(new ImageGraph(std::move(log), std::move(reactor), std::move(secrets)));
}

Result<std::unique_ptr<ImageGraph>> ImageGraph::create(const ObjectTexts& objects) {
  TRY_ASSIGN(auto images, create(ImageSecrets()));
  for (const std::string& text : objects) {
    TRY(images->run(images->secrets_.add(*images->reactor_, *images->log_, text)));
  }
  return images;
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

Result<> ImageGraph::complete(json::Object& options, Access access) {
  if (options.find("driver") != nullptr) return {};
  const json::Value* const file = options.find("file");
  const json::Object* const members = file == nullptr ? nullptr : file->as_object();
  const json::Value* const filename = members == nullptr ? nullptr : members->find("filename");
  if (filename == nullptr || filename->as_string() == nullptr) return fail("Must specify either driver or file");
  TRY_ASSIGN(std::string format, probe(*filename->as_string(), access));
  options.set("driver", std::move(format));
  return {};
}

Result<block::Node*> ImageGraph::open_options(json::Object options, const std::string& text, Access access,
                                              Backing backing, std::string_view name) {
  if (Result<> completed = complete(options, access); !completed) return fail(cannot_open(text, completed.error()));
  const std::string& driver = *options.find("driver")->as_string();
  if ((driver == "qcow2" || driver == "vmdk") && backing == Backing::kNone && options.find("backing") == nullptr) {
    options.set("backing", "");
  }
  auto decoded = decode_texts(std::move(options), name, access);
  if (!decoded) return fail(cannot_open(text, decoded.error()));
  auto node = run(open(std::move(*decoded), std::string(name), access));
  if (!node) return fail(cannot_open(text, node.error()));
  return *node;
}

Result<block::Node*> ImageGraph::open_image(const ImageSource& source, Access access, Backing backing,
                                            std::string_view name) {
  TRY(check_source(source));
  if (source.is_options) {
    TRY_ASSIGN(json::Object options, source_options(source));
    return open_options(std::move(options), source.text, access, backing, name);
  }
  std::string format = source.format;
  if (format.empty()) {
    TRY_ASSIGN(format, probe(source.text, access));
  }
  return open_image(source.text, format, access, backing, name);
}

Result<block::Node*> ImageGraph::open_file_of(const ImageSource& source, Access access, std::string& format) {
  TRY(check_source(source));
  format = source.format;
  if (!source.is_options) {
    if (format.empty()) {
      TRY_ASSIGN(format, probe(source.text, access));
    }
    return open_file(source.text, access);
  }
  TRY_ASSIGN(json::Object options, source_options(source));
  if (Result<> completed = complete(options, access); !completed) {
    return fail(cannot_open(source.text, completed.error()));
  }
  format = *options.find("driver")->as_string();
  const json::Value* const file = options.find("file");
  if (file == nullptr || file->as_object() == nullptr) {
    return fail(cannot_open(source.text, Error("A block device must be specified for \"file\"")));
  }
  return open_options(*file->as_object(), source.text, access, Backing::kNamed, kFileNode);
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
  if (bytes.starts_with(kLuksBegin)) co_return "luks";
  co_return std::string(drivers::probe_format(bytes));
}

Result<std::string> ImageGraph::probe(const std::string& filename, Access access) {
  TRY_ASSIGN(block::Node* const file, open_file(filename, access == Access::kReadShared ? access : Access::kRead));
  auto format = run(read_format(*file));
  TRY(run(close_file()));
  return format;
}

}  // namespace blockexport::image
