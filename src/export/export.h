// Export: base class of one block node offered to clients under an id. It is the part that all protocols share, and
// that commands and queries use.
//
// Owned by the Registry. Holds the edge to its node, and chooses the reactors that serve its clients. Clients hold
// references to it, which keep a removed export alive. Thread: the control reactor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "aio/threads/reactor_pool.h"
#include "base/error.h"
#include "base/origin.h"
#include "block/edge.h"
#include "block/node.h"
#include "export/engine/operation_counters.h"
#include "export/served_client.h"

namespace blockexport::exports {

// Mode of the removal of an export. Each mode hides it from new clients at once.
enum class RemoveMode : std::uint8_t {
  kSafe,    // refused while there are clients
  kHide,    // clients are not affected; the export ends when the last one leaves
  kSoft,    // clients stay connected, but every further request is answered with ESHUTDOWN
  kFinish,  // running requests are answered, then the connections are closed (server stop)
  kHard,    // connections are cut at once
};

// Options of every type of export.
struct ExportOptions {
  std::string id;
  bool writable = false;      // whether clients may write; the edge then has the permission to write
  bool writethrough = false;  // every write of a client is durable before its reply
  // The reactors that serve its clients and outlive it, each once. Empty: the reactor of a pool with the fewest
  // clients.
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
  // Name of the type in the schema, as "nbd".
  virtual std::string_view type() const = 0;
  // Name of the node that it exports, as users know it: filters that a backup has put above the node do not count.
  const std::string& node_name() const { return node_name_; }
  block::Edge& edge() { return *edge_; }
  bool is_writable() const { return options_.writable; }
  bool is_writethrough() const { return options_.writethrough; }
  bool shutting_down() const { return shutting_down_; }
  // In the registry; never reused.
  std::uint64_t number() const { return number_; }
  // True if the edge to the node is this one.
  bool uses(const block::Edge& edge) const { return edge_.get() == &edge; }

  Origin origin = Origin::kCommand;

  // Chooses the reactor for the next client, which counts there until it has left: one of the export's own, or of
  // `pool`.
  aio::ReactorPool::Assignment assign_reactor(aio::ReactorPool& pool) const {
    return options_.reactors.empty() ? pool.assign() : aio::ReactorPool::assign_among(options_.reactors);
  }

  // Counters of its clients' requests since it was added.
  ExportCounters& counters() { return counters_; }
  const ExportCounters& counters() const { return counters_; }

  // The clients that use it now, in the order in which they came. Do not keep the pointers over an await.
  virtual std::vector<ServedClient*> clients() const { return {}; }
  // Number of clients that use it now.
  virtual std::size_t client_count() const = 0;
  // After a removal has begun: whether the only remaining work of its clients is requests that the storage has not
  // completed.
  virtual bool waits_for_storage() const = 0;

 protected:
  friend class Registry;
  // Hides it from new clients, and treats the present ones as `mode` says. May be called again with a sharper mode when
  // the user does not want to wait any longer.
  virtual void leave(RemoveMode mode) = 0;
  // The size of the node differs from the size at the last call, or at the start. A protocol that supports it notifies
  // its clients.
  virtual void resized() {}
  // Ends its use of nodes and bitmaps when it has no client left, and returns its edges.
  virtual std::vector<std::unique_ptr<block::Edge>> give_up_edges() {
    std::vector<std::unique_ptr<block::Edge>> edges;
    edges.push_back(std::move(edge_));
    return edges;
  }
  // The implementation calls this when a client has come, and when its last request has ended.
  void announce_arrival(const ServedClient& client) const;
  void announce_departure(const ServedClient& client) const;
  // The implementation calls this when a client has left; the export may be destroyed soon after.
  void client_left();
  // The implementation calls this when waits_for_storage() may have become true.
  void client_was_cut();

 private:
  ExportOptions options_;
  std::string node_name_;
  std::unique_ptr<block::Edge> edge_;
  std::uint64_t known_size_bytes_;
  ExportCounters counters_;
  Registry* registry_ = nullptr;
  std::uint64_t number_ = 0;  // in the registry
  RemoveMode leaving_ = RemoveMode::kSafe;
  bool shutting_down_ = false;
  bool being_erased_ = false;
};

}  // namespace blockexport::exports
