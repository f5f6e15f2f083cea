// PlacedTransmission: handle of the control reactor to a transmission on another reactor.
//
// Lives in the frame of its Connection; the export lists it from before run() until run() has ended. The effects of an
// export's removal on its clients go to the other reactor as posted work, in the order of the calls. destroy() is
// called when no other call can follow, and is posted last, so the posted work always finds this object. Thread: the
// control reactor; the transmission itself is made, runs and is destroyed on the thread of `data_reactor`.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "aio/threads/data_reactor.h"
#include "base/intrusive_list.h"
#include "export/nbd/transmission/transmission.h"
#include "export/served_client.h"

namespace blockexport::nbd {

// The link is that of its server's list.
class PlacedTransmission final : public exports::ServedClient, public ListLink<PlacedTransmission> {
 public:
  // Interface for an object that wants to know when waits_for_storage() becomes true.
  class Observer {
   public:
    virtual void client_waits_for_storage() = 0;

   protected:
    ~Observer() = default;
  };

  // `control` is the reactor of the caller; `context` names the reactor and the pool of `data_reactor`.
  PlacedTransmission(aio::Reactor& control, aio::DataReactor& data_reactor, TransmissionContext context)
      : control_(control), data_reactor_(data_reactor), context_(context) {
    context_.refused = &refused_;
    context_.client_counters = &counters();
  }
  ~PlacedTransmission();
  PlacedTransmission(const PlacedTransmission&) = delete;
  PlacedTransmission& operator=(const PlacedTransmission&) = delete;

  aio::DataReactor& data_reactor() const override { return data_reactor_; }

  // Before run(): the client is number `number` of its export, whose newest client has `newest_number`, which outlives
  // it.
  void attached(const std::atomic<std::uint64_t>& newest_number, std::uint64_t number);

  // Moves the stream to the data reactor, and serves the client there until it leaves or one of the calls below ends
  // it.
  aio::Task<void> run(std::unique_ptr<net::Stream> stream, SessionState state, std::vector<std::byte> early);
  // After run(): the reason for the end of the session.
  exports::Ending ending() const { return transmission_->states().ending(); }
  // After run(), when none of the calls below can follow: frees the transmission on its reactor.
  aio::Task<void> destroy();

  // Before run().
  void observe(Observer& observer) { observer_ = &observer; }
  // True if no more requests of the client are read, and its only remaining work is requests that storage has not
  // completed.
  bool waits_for_storage() const { return waits_for_storage_; }

  // As in Transmission. Before run() they wait for its beginning.
  void drop() { tell(&Transmission::drop); }
  void finish() { tell(&Transmission::finish); }
  void disconnect() override { drop(); }
  // As Transmission::refuse(), but takes effect at once: no request that is sent from now on is served.
  void refuse() { refused_.store(true, std::memory_order_release); }

 private:
  using Call = void (Transmission::*)();
  void tell(Call call);
  void take(Call call);
  aio::Task<void> serve(std::unique_ptr<net::Stream> stream, SessionState state, std::vector<std::byte> early);
  aio::Task<void> free();
  void requests_are_left();

  aio::Reactor& control_;
  aio::DataReactor& data_reactor_;
  TransmissionContext context_;
  Observer* observer_ = nullptr;
  bool waits_for_storage_ = false;
  std::atomic<bool> refused_ = false;                          // read by the thread of data_reactor_
  const std::atomic<std::uint64_t>* newest_number_ = nullptr;  // null: not attached to an export
  std::uint64_t number_ = 0;

  // --- used by the thread of data_reactor_ ---
  std::vector<Call> early_calls_;  // calls from before the transmission was made
  std::optional<Transmission> transmission_;
};

}  // namespace blockexport::nbd
