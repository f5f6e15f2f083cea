// Export: one block node offered to clients under an id of its own, through some protocol: the part that is the same
// for every protocol, which is also the part that commands and queries use.
//
// Owned by the Registry. It holds the edge to its node, and the choice of the reactors that serve its clients; clients
// hold references to it, which is all that keeps a removed export alive. Thread: the control reactor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "aio/reactor_pool.h"
#include "base/error.h"
#include "block/edge.h"
#include "block/node.h"

namespace blockexport::exports {

// How an export goes away. Each mode hides it from new clients at once.
enum class RemoveMode : std::uint8_t {
  kSafe,    // refused while there are clients
  kHide,    // clients stay as they are; it is gone when the last one leaves
  kSoft,    // clients stay connected, but every further request is answered ESHUTDOWN
  kFinish,  // clients' requests under way are answered, then their connections are closed (server stop)
  kHard,    // connections are cut at once
};

// What an export of any type is made with.
struct ExportOptions {
  std::string id;
  bool writable = false;      // whether its clients may write; the edge then has the permission for it
  bool writethrough = false;  // every write of a client is durable before it is answered
  // Those that serve its clients and outlive it, each once. Empty: those of a pool, the one with the fewest clients.
  std::vector<aio::DataReactor*> reactors = {};
};

class Registry;

class Export {
 public:
  Export(ExportOptions options, std::unique_ptr<block::Edge> edge)
      : options_(std::move(options)),
        node_name_(edge->node().name()),
        edge_(std::move(edge)),
        known_size_bytes_(edge_->node().size_bytes()) {}
  virtual ~Export() = default;
  Export(const Export&) = delete;
  Export& operator=(const Export&) = delete;

  const std::string& id() const { return options_.id; }
  // The schema's name of the type: "nbd".
  virtual std::string_view type() const = 0;
  // Of the node that it exports.
  const std::string& node_name() const { return node_name_; }
  block::Edge& edge() { return *edge_; }
  bool is_writable() const { return options_.writable; }
  bool is_writethrough() const { return options_.writethrough; }
  bool shutting_down() const { return shutting_down_; }

  // The reactor that serves its next client, counted there until the client has left: one of its own, or of `pool`.
  aio::ReactorPool::Assignment assign_reactor(aio::ReactorPool& pool) const {
    return options_.reactors.empty() ? pool.assign() : aio::ReactorPool::assign_among(options_.reactors);
  }

  // Clients that use it now.
  virtual std::size_t client_count() const = 0;
  // After it was told to leave: whether all that still has to end of its clients is requests that storage has not
  // answered.
  virtual bool waits_for_storage() const = 0;

 protected:
  friend class Registry;
  // Hides it from new clients and does to the present ones what `mode` says. Called again with a sharper mode when the
  // user does not want to wait any longer.
  virtual void leave(RemoveMode mode) = 0;
  // The size of its node is another one than at the last call, and than when the export was made. A protocol that
  // can tells its clients.
  virtual void resized() {}
  // To be called by the implementation when a client has left; the export may end soon after.
  void client_left();
  // To be called when waits_for_storage() may have become true.
  void client_was_cut();

 private:
  ExportOptions options_;
  std::string node_name_;
  std::unique_ptr<block::Edge> edge_;
  std::uint64_t known_size_bytes_;
  Registry* registry_ = nullptr;
  std::uint64_t number_ = 0;  // in the registry
  RemoveMode leaving_ = RemoveMode::kSafe;
  bool shutting_down_ = false;
  bool being_erased_ = false;
};

}  // namespace blockexport::exports
