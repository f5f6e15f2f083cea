// PlacedTransmission: a transmission at the reactor that serves it, as the control reactor sees it.
//
// Lives in the frame of its Connection; the export lists it from before run() until that has ended. What an export's
// removal does to its clients goes to the other reactor as posted work, in the order of the calls; destroy() is called
// when nobody can post any more and is posted behind it all, so that the work always finds this object.
// Thread: the control reactor; the transmission itself is made, runs and is destroyed on the thread of `place`.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "aio/data_reactor.h"
#include "export/nbd/transmission/transmission.h"

namespace blockexport::nbd {

class PlacedTransmission {
 public:
  // Whoever wants to know when waits_for_storage() becomes true.
  class Observer {
   public:
    virtual void client_waits_for_storage() = 0;

   protected:
    ~Observer() = default;
  };

  // `control` is the reactor of whoever calls; `context` names the reactor and the pool of `place`.
  PlacedTransmission(aio::Reactor& control, aio::DataReactor& place, TransmissionContext context)
      : control_(control), place_(place), context_(context) {
    context_.refused = &refused_;
  }
  ~PlacedTransmission();
  PlacedTransmission(const PlacedTransmission&) = delete;
  PlacedTransmission& operator=(const PlacedTransmission&) = delete;

  aio::DataReactor& place() const { return place_; }

  // Before run(): it is client `number` of its export, whose newest client has `newest_number`, which outlives it.
  void attached(const std::atomic<std::uint64_t>& newest_number, std::uint64_t number);

  // Carries the stream to the place, and serves the client there until it leaves or one of the calls below ends it.
  aio::Task<void> run(std::unique_ptr<net::Stream> stream, SessionState state, std::vector<std::byte> early);
  // After run(), when none of the calls below will come: frees what it had there.
  aio::Task<void> destroy();

  // Before run().
  void observe(Observer& observer) { observer_ = &observer; }
  // Nothing more is taken from the client; requests that storage has not answered are all that is left to wait for.
  bool waits_for_storage() const { return waits_for_storage_; }

  // See Transmission. Before run() they wait for its beginning.
  void drop() { tell(&Transmission::drop); }
  void finish() { tell(&Transmission::finish); }
  // As Transmission::refuse(), but not posted: no request that is sent from now on is served.
  void refuse() { refused_.store(true, std::memory_order_release); }

 private:
  using Call = void (Transmission::*)();
  void tell(Call call);
  void take(Call call);
  aio::Task<void> serve(std::unique_ptr<net::Stream> stream, SessionState state, std::vector<std::byte> early);
  aio::Task<void> free();
  void requests_are_left();

  aio::Reactor& control_;
  aio::DataReactor& place_;
  TransmissionContext context_;
  Observer* observer_ = nullptr;
  bool waits_for_storage_ = false;
  std::atomic<bool> refused_ = false;                          // read by the place's thread
  const std::atomic<std::uint64_t>* newest_number_ = nullptr;  // null: it is nobody's client
  std::uint64_t number_ = 0;

  // --- of the place's thread ---
  std::vector<Call> early_calls_;  // that came before the transmission was made
  std::optional<Transmission> transmission_;
};

}  // namespace blockexport::nbd
