// ImageGraph: images that the tool opens in its own process: a reactor, a block graph and the built-in drivers.
//
// One for each run of a verb; the destructor closes the images. Main thread. Locks are those of the daemon's nodes, so
// an image that a daemon writes is refused, unless the share is forced.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "base/error.h"
#include "base/log.h"
#include "base/trace.h"
#include "block/graph.h"
#include "block/image_reference.h"
#include "client/image/image_secrets.h"
#include "client/image/image_source.h"
#include "drivers/driver_table.h"
#include "json/value.h"

namespace blockexport::image {

enum class Access { kRead, kReadShared, kWrite };  // kReadShared: also while another process writes

enum class Backing : bool { kNone, kNamed };

class ImageGraph {
 public:
  static constexpr std::string_view kImageNode = "image";
  static constexpr std::string_view kFileNode = "file";

  // With the secrets that `objects` defines, which are read here; or with those of another graph.
  static Result<std::unique_ptr<ImageGraph>> create(const ObjectTexts& objects);
  static Result<std::unique_ptr<ImageGraph>> create(ImageSecrets secrets);
  ~ImageGraph();
  ImageGraph(const ImageGraph&) = delete;
  ImageGraph& operator=(const ImageGraph&) = delete;

  block::Graph& graph() { return graph_; }
  aio::Reactor& reactor() { return *reactor_; }
  ImageSecrets& secrets() { return secrets_; }

  // Runs a task to its end, and gives its result.
  template <class T>
  T run(aio::Task<T> task) {
    std::optional<T> result;
    scope_.spawn("image", keep(*this, std::move(task), result));
    reactor_->run();
    return std::move(*result);
  }

  // Opens the file itself, without a format, as the node "file" and keeps it in use.
  Result<block::Node*> open_file(const std::string& filename, Access access);
  // Opens an image of that format, with its data file and perhaps the backing files that headers name, as the node
  // `name`, and keeps it in use.
  Result<block::Node*> open_image(const std::string& filename, const std::string& format, Access access,
                                  Backing backing, std::string_view name = kImageNode);
  // The same for an image as a command line tells it. The format is that of the node's driver.
  Result<block::Node*> open_image(const ImageSource& source, Access access, Backing backing,
                                  std::string_view name = kImageNode);
  // The same from options of the node in the form of --image-opts, without "node-name".
  Result<block::Node*> open_options(json::Object options, const std::string& text, Access access, Backing backing,
                                    std::string_view name = kImageNode);
  // Opens the file below an image, as the node "file", and keeps it in use. Sets `format` to the image's.
  Result<block::Node*> open_file_of(const ImageSource& source, Access access, std::string& format);
  // Opens, for reading, what the header of the image at `image_path` is to name, with the images below it, as the node
  // "image", and keeps it in use.
  Result<block::Node*> open_backing(block::ImageReference reference, const std::string& image_path);
  // The format that the begin of the file tells; "raw" when it tells none.
  Result<std::string> probe(const std::string& filename, Access access);

 private:
  ImageGraph(std::unique_ptr<Log> log, std::unique_ptr<aio::Reactor> reactor, ImageSecrets secrets);

  template <class T>
  static aio::Task<void> keep(ImageGraph& images, aio::Task<T> task, std::optional<T>& result) {
    result.emplace(co_await std::move(task));
    images.reactor_->stop();
  }
  aio::Task<Result<block::Node*>> open(schema::BlockdevOptions options, std::string node, Access access);
  // Adds the format that the begin of the file tells, if the options name none.
  Result<> complete(json::Object& options, Access access);
  aio::Task<Result<block::Node*>> open_reference(block::ImageReference reference, std::string image_path);
  aio::Task<Result<std::string>> read_format(block::Node& file);
  // Closes the file of probe().
  aio::Task<Result<>> close_file();
  aio::Task<void> close_all();

  std::unique_ptr<Log> log_;  // the reactor keeps a reference
  Trace trace_;
  std::unique_ptr<aio::Reactor> reactor_;
  aio::Scope scope_;
  ImageSecrets secrets_;
  drivers::BuiltInDrivers drivers_;
  block::Graph graph_;
  std::vector<std::unique_ptr<block::Edge>> edges_;
};

}  // namespace blockexport::image
