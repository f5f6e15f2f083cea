// ExportNames: the NBD exports of the process by name, which all servers share, and the number of the newest client.
//
// An export is published once, under one name; each server shows those exports that its view contains (server_state.h).
// Owned by the control layer; outlives exports and servers. Thread: the control reactor.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/intrusive_list.h"
#include "export/nbd/wire/export_info.h"

namespace blockexport::nbd {

// The servers' view of an export that clients can name.
class PublishedExport {
 public:
  // The description that new clients get.
  virtual const ExportInfo& current_info() = 0;

 protected:
  ~PublishedExport() = default;
};

class ExportNames {
 public:
  // A server, as far as exports come and go.
  class Viewer : public ListLink<Viewer> {
   public:
    virtual void published(PublishedExport& added, const ExportInfo& info) = 0;
    virtual void withdrawn(const ExportInfo& removed) = 0;

   protected:
    ~Viewer() = default;
  };

  // True if an export has that name, on whatever server.
  bool contains(std::string_view name) const { return by_name_.contains(name); }
  // Makes an export visible under the name in `info`, which is free, and sets the sequence number there. Both stay
  // valid until withdraw().
  void publish(PublishedExport& added, ExportInfo& info);
  // Reports it anew: other servers show it. Its sequence number stays.
  void report_change(PublishedExport& changed, const ExportInfo& info);
  // Hides it.
  void withdraw(const ExportInfo& removed);

  // Reports all exports to `viewer`, oldest first, now and as they come and go. It leaves by unlink().
  void join(Viewer& viewer);
  // Reports all present exports, oldest first.
  void report_to(Viewer& viewer);

  // Number for the next client of any server: it distinguishes clients in the log.
  std::uint64_t number_client() { return ++newest_client_; }
  std::uint64_t newest_client() const { return newest_client_; }

 private:
  struct Entry {
    PublishedExport* published;
    const ExportInfo* info;
  };

  std::map<std::uint64_t, Entry> by_sequence_;  // oldest first
  std::map<std::string_view, std::uint64_t> by_name_;
  std::uint64_t last_sequence_ = 0;
  std::uint64_t newest_client_ = 0;
  IntrusiveList<Viewer> viewers_;
};

}  // namespace blockexport::nbd
