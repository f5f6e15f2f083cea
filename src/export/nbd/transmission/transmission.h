// Transmission: one connection's life after the handshake, from the first request to the last reply.
//
// It works in batches: one receive takes all requests that wait; each is checked and, when the node can answer at once,
// answered in place by plain calls; the rest become tasks of a scope; all ready replies leave with one send. Nothing
// here knows a socket: bytes come through a Stream, what was negotiated through a SessionState.
//
// Its states, its waits and the legal transitions stand in export/engine/session_states.h. Owned by a
// PlacedTransmission; lives until run() has ended. Thread: one reactor's. It never waits for one request while another
// that is ready could be answered, and never holds more memory than its budget (docs/limits.md).
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "aio/buffer_pool.h"
#include "aio/hang_up_watch.h"
#include "aio/memory_budget.h"
#include "aio/scope.h"
#include "aio/sync.h"
#include "base/peer_log.h"
#include "base/trace.h"
#include "block/edge.h"
#include "block/node.h"
#include "export/engine/session_states.h"
#include "export/engine/write_fence.h"
#include "export/nbd/transmission/payload.h"
#include "export/nbd/transmission/read_plan.h"
#include "export/nbd/transmission/receive_window.h"
#include "export/nbd/transmission/reply_queue.h"
#include "export/nbd/transmission/request_memory.h"
#include "export/nbd/transmission/status_reply.h"
#include "export/nbd/transmission/suspended_session.h"
#include "export/nbd/wire/reply_encoder.h"
#include "export/nbd/wire/request_check.h"
#include "export/nbd/wire/session_state.h"
#include "export/nbd/wire/wire_codec.h"
#include "export/nbd/wire/write_run.h"
#include "net/stream.h"

namespace blockexport::nbd {

// Requests of one connection that may wait for storage, or for the client to take their data from a file, at the same
// time.
inline constexpr std::uint32_t kRequestsInFlightMax = 1024;
static_assert(kReadHeadBytesMax <= kReplyDataStart);
// Data read inline for one connection before others get their turn.
inline constexpr std::uint64_t kInlineBytesPerTurnMax = 1u << 20;
// How long a request waits for memory that other connections hold. Then it is served with less: a large READ is read
// piece by piece as its reply leaves, a large WRITE is written piece by piece as it comes, an answer to BLOCK_STATUS is
// short. A connection's own allowance is enough for that.
inline constexpr std::uint64_t kMemoryPatienceNs = 100'000'000;
// How long a connection that is being closed in order may take to take its last replies.
inline constexpr std::uint64_t kCloseGraceNs = 5'000'000'000;

// What a transmission borrows from its surroundings; all of it outlives run().
struct TransmissionContext {
  aio::Reactor& reactor;
  aio::BufferPool& pool;
  aio::ProcessBudget& process_budget;
  block::Edge& edge;           // the export's right to its node
  exports::WriteFence& fence;  // the export's
  const Trace& trace;
  std::string_view peer;                       // whom events name
  bool writethrough = false;                   // every write is durable before it is answered
  const PeerLog* log = nullptr;                // null: nothing is logged
  const std::atomic<bool>* refused = nullptr;  // once true, it is as after refuse(); null: never
  std::uint64_t close_grace_ns = kCloseGraceNs;
  bool was_overtaken = false;  // clients that came later may have been served before this one
};

class Transmission final : private aio::HangUpWatch {
 public:
  // `early` is what the client sent behind its last option.
  Transmission(TransmissionContext context, std::unique_ptr<net::Stream> stream, SessionState state,
               std::span<const std::byte> early);
  ~Transmission();

  // Serves until the client leaves or one of the calls below ends it; every request has ended when it returns.
  aio::Task<void> run();
  // run() in two steps: until nothing more is taken from the client, and until every request has ended.
  aio::Task<void> take_requests();
  aio::Task<void> end();
  // Requests that were begun and have not ended.
  bool has_requests_in_flight() const { return requests_in_flight_ > 0; }
  // After run(), once nobody counts the client any longer: what it sees as the end must not come before that. A
  // suspended session has no end that it could see.
  void close();

  // Ends at once: the connection is cut both ways, requests that run are finished and not answered. (hard removal)
  void drop();
  // Ends in order: requests that run are answered, those that were received and not begun get ESHUTDOWN. (server stop)
  void finish();
  // Goes on, but every further request is answered ESHUTDOWN. (soft removal)
  void refuse() { refusing_ = true; }

  // Stops at the next boundary between requests, so that another Transmission can go on over the same connection: run()
  // returns when the requests that had begun have ended. A large write whose payload is arriving ends first, for which
  // the client has no deadline. False, and without effect, when the connection cannot be carried away (TLS).
  bool suspend();
  struct Suspended {
    SuspendedSession session;
    int fd;  // the connection's, which the caller owns
  };
  // After run(): the session that suspend() has stopped; nothing when it has ended otherwise.
  std::optional<Suspended> take_suspended();
  // Before run(): the replies that another session left unsent.
  void restore(std::span<const UnsentReply> unsent) { replies_.restore(unsent); }

  const SessionState& state() const { return state_; }
  const exports::SessionStates& states() const { return states_; }
  // For tests: extents that it keeps room for between READs.
  std::size_t spare_extents() const { return known_.capacity(); }

 private:
  using ReaderWait = exports::ReaderWait;
  using SenderWait = exports::SenderWait;

  // transmission.cc: the loop
  bool begin_hang_up_watch();
  void peer_hung_up() override;
  void raise_fence();
  void lower_fence_when_done();
  // Whether the writes of another lost connection have to end first.
  bool is_fenced() const { return context_.fence.is_up_beside(fence_raised_ ? 1 : 0); }
  aio::Task<void> receive_loop();
  // Whether no request is at the front of the input that has begun and was not received to its end.
  bool is_at_boundary() const { return !payload_.active() && part_rest_bytes_ == 0 && skip_bytes_ == 0; }
  bool suspend_at_boundary();
  // Whether nothing is to be sent any more, for another session does it.
  bool is_suspended() const {
    return states_.phase() == exports::Phase::kDraining && states_.ending() == exports::Ending::kSuspended;
  }
  void end_requests();
  bool has_reader_ended() const { return states_.phase() >= exports::Phase::kAnswering; }
  aio::Task<void> send_loop();
  SenderWait next_sender_wait(const IoResult& sent) const;
  aio::Task<IoResult> wait_for(SenderWait wait);
  aio::Task<IoResult> give_sender_turn();
  aio::Task<void> close_grace();
  aio::Task<IoResult> wait_for(ReaderWait wait);
  aio::Task<IoResult> give_turn();
  aio::Task<IoResult> wait_for_resource(ReaderWait wait);
  aio::Task<IoResult> while_connected(aio::Task<IoResult> waiting);
  aio::Task<void> watch_for_loss();
  bool client_not_reading() const { return states_.sender_wait() == SenderWait::kClient; }
  void expect_progress();
  aio::Task<void> watch_for_stall();
  aio::Task<IoResult> receive();
  aio::Task<IoResult> receive_payload();
  void add_piece(std::size_t budget_bytes);
  aio::Task<IoResult> wait_for_piece(std::size_t budget_bytes);
  aio::Task<IoResult> write_part();
  void answer_what_is_left();
  IoResult send_replies();
  void replies_ready();
  void lost();
  void client_left();
  void cut(exports::Ending reason, exports::EndingCause cause);
  void drop_payload();

  // transmission_requests.cc: each request, as far as it goes without waiting
  ReaderWait handle_input();
  ReaderWait handle_requests();
  ReaderWait handle_request(const Request& request);
  ReaderWait begin(const Request& request, const Verdict& verdict);
  ReaderWait begin_read(const Request& request);
  ReadPlan plan_known_holes(const Request& request);
  ReaderWait answer_hole(const Request& request, const ReadPlan& plan);
  bool read_now(const ReadPlan& plan, std::span<std::byte> room);
  ReaderWait begin_whole_write(const Request& request);
  ReaderWait begin_large_write(const Request& request);
  ReaderWait finish_large_write();
  ReaderWait begin_block_status(const Request& request, std::uint32_t payload_bytes);
  bool find_status_now(StatusReply& reply);
  ReaderWait begin_task(const Request& request);
  ReaderWait answer_now(const Request& request);
  ReaderWait reject(const Request& request, const Verdict& verdict);
  bool can_write_now(const Request& request) const;
  bool write_now(const Request& request, std::span<const iovec> data);
  bool write_whole_now(const Request& request);
  void answer_run(const WriteRun& run);
  bool take_memory(std::size_t bytes);
  std::size_t bounce_bytes(const Request& request, block::Range range) const;
  // Whether further requests are answered ESHUTDOWN.
  bool is_refusing() const {
    return refusing_ || (context_.refused != nullptr && context_.refused->load(std::memory_order_acquire));
  }
  // Whether one more request may begin. Replies that leave from a file hold their place until they are sent.
  bool has_slot() const { return requests_in_flight_ + replies_.file_replies() < kRequestsInFlightMax; }

  // transmission_files.cc: replies straight from a file
  bool answer_from_file(const ReadPlan& plan);
  void answer_piece_by_piece(const ReadPlan& plan);
  aio::Task<IoResult> load_cold_piece();
  void report_broken_reply(Errno error) const;

  // transmission_trace.cc: events
  void trace_begin(const Request& request) {
    if (context_.trace.is_on(TraceEvent::kNbdRequestBegin)) [[unlikely]]
      write_begin(request);
  }
  void trace_end(const Request& request, NbdError error = NbdError{}) {
    if (context_.trace.is_on(TraceEvent::kNbdRequestEnd)) [[unlikely]]
      write_end(request, error);
  }
  void write_begin(const Request& request);
  void write_end(const Request& request, NbdError error);

  // transmission_tasks.cc: requests that wait for storage
  aio::Task<void> serve_read(Request request, block::Range range, aio::Buffer buffer, std::size_t head_bytes,
                             std::size_t budget_bytes);
  aio::Task<void> serve_write(Request request, Payload payload);
  aio::Task<void> serve_part(Request request, Payload payload);
  aio::Task<IoResult> write_payload(Request request, const Payload& payload);
  aio::Task<void> serve_block_status(Request request, StatusReply reply, std::size_t budget_bytes);
  aio::Task<void> serve_other(Request request, std::size_t budget_bytes);
  aio::Task<IoResult> perform(Request request);
  aio::Task<IoResult> collect_status(StatusReply& reply);
  void push_status(const StatusReply& reply, std::size_t budget_bytes);
  void start(const char* name, const Request& request, aio::Task<void> task);
  void answer(const Request& request, IoResult result);
  void request_ended(const Request& request);

  TransmissionContext context_;
  std::unique_ptr<net::Stream> stream_;
  SessionState state_;
  RequestRules rules_;
  aio::MemoryBudget budget_;
  ReceiveWindow window_;
  ReplyQueue replies_;
  block::Extents known_;                    // of the READ that is looked at
  std::optional<Request> payload_request_;  // the WRITE whose payload is arriving in pieces
  Payload payload_;
  std::size_t part_rest_bytes_ = 0;  // while a part of the payload is written: those still to come
  std::uint64_t skip_bytes_ = 0;     // of the payload of a refused request, still to be thrown away
  std::size_t alone_writes_ = 0;     // small WRITEs next in the window that go each their own way: together they failed

  aio::Scope reader_;
  aio::Scope requests_;
  aio::Scope sender_;
  aio::Scope stall_watch_;
  aio::Event sender_wanted_;
  aio::Event slot_free_;
  aio::Event part_written_;
  std::size_t wanted_bytes_ = 0;  // memory that one request waits for
  std::size_t credit_bytes_ = 0;  // taken from the budget already, for the request that waited for it
  std::uint64_t inline_bytes_ = 0;
  std::uint64_t payload_bytes_ = 0;  // of large writes, received so far
  std::uint32_t requests_in_flight_ = 0;
  std::uint32_t writes_in_flight_ = 0;
  exports::SessionStates states_;
  bool client_not_sending_ = false;  // in the middle of a large write
  bool inside_ = false;              // the gate of the edge, while input is handled: what can be done at once may be
  bool handling_input_ = false;      // what is answered meanwhile is sent at its end
  bool refusing_ = false;
  bool suspend_wanted_ = false;
  bool fence_raised_ = false;  // by this connection
  bool is_watched_ = false;    // for its hang-up
  bool peer_is_gone_ = false;
  bool begin_is_traced_ = false;   // of the request at the front of the window
  bool memory_is_scarce_ = false;  // the request at the front of the window has waited for long enough
};

}  // namespace blockexport::nbd
