// Transmission: transmission phase of one connection, from the first request to the last reply.
//
// It works in batches: one receive takes all waiting requests; RequestReader splits them, the engine
// (export/engine/request_engine.h) serves them inline or in tasks, ReplyWriter encodes the replies, and one send takes
// all that are ready. It knows no sockets: its bytes come through a Stream.
//
// export/engine/session_states.h lists its states, its waits and the legal transitions. Owned by a PlacedTransmission;
// lives until run() has ended. Thread: that of one reactor. It never waits for one request while it could answer
// another one, and never holds more memory than its budget (docs/limits.md).
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>

#include "aio/memory/buffer_pool.h"
#include "aio/operation/hang_up_watch.h"
#include "aio/sync/scope.h"
#include "aio/sync/sync.h"
#include "base/peer_log.h"
#include "base/trace.h"
#include "block/edge.h"
#include "export/engine/operation_counters.h"
#include "export/engine/request_engine.h"
#include "export/engine/request_meter.h"
#include "export/engine/session_states.h"
#include "export/engine/write_fence.h"
#include "export/nbd/transmission/reply_writer.h"
#include "export/nbd/transmission/request_reader.h"
#include "export/nbd/transmission/suspended_session.h"
#include "export/nbd/wire/request_check.h"
#include "export/nbd/wire/session_state.h"
#include "net/stream.h"

namespace blockexport::nbd {

// Time limit for a connection that is being closed in order to accept its last replies.
inline constexpr std::uint64_t kCloseGraceNs = 5'000'000'000;

// References that a transmission needs; all of them outlive run().
struct TransmissionContext {
  aio::Reactor& reactor;
  aio::BufferPool& pool;
  aio::ProcessBudget& process_budget;
  block::Edge& edge;  // the export's edge to its node
  // The bitmaps of the contexts from kFirstBitmapContextId on.
  std::span<const block::HeldBitmap> bitmaps = {};
  exports::WriteFence& fence;  // the export's fence
  const Trace& trace;
  std::string_view peer;                       // name of the client in events
  bool writethrough = false;                   // every write is durable before its reply
  const PeerLog* log = nullptr;                // null: no logging
  const std::atomic<bool>* refused = nullptr;  // once true, it behaves as after refuse(); may be null
  std::uint64_t close_grace_ns = kCloseGraceNs;
  bool was_overtaken = false;  // clients that came later may have been served before this one
  // Counters of the export on this reactor, and of the client; null: nothing is counted.
  exports::ReactorCounters* shared_counters = nullptr;
  exports::ClientCounters* client_counters = nullptr;
};

class Transmission final : private aio::HangUpWatch {
 public:
  // `early` are the bytes that the client sent behind its last option.
  Transmission(TransmissionContext context, std::unique_ptr<net::Stream> stream, SessionState state,
               std::span<const std::byte> early);
  ~Transmission();

  // Serves the client until it leaves or one of the calls below ends the session; when it returns, every request has
  // ended.
  aio::Task<void> run();
  // run() in two steps: the first returns when no more requests begin, the second when every request has ended.
  aio::Task<void> take_requests();
  aio::Task<void> end();
  // Number of requests that have begun and not ended.
  bool has_requests_in_flight() const { return engine_.requests_in_flight() > 0; }
  // Called after run(), when the client is not counted any more: it must not see the end of the connection earlier. A
  // suspended session shows the client no end.
  void close();

  // Ends the session at once: cuts the connection, and completes running requests without replies. (hard removal)
  void drop();
  // Ends in order: running requests are answered, and received ones that have not begun get ESHUTDOWN. (server stop)
  void finish();
  // The session continues, but answers every further request with ESHUTDOWN. (soft removal)
  void refuse() { engine_.refuse(); }

  // Stops at the next boundary between requests, so that another Transmission can continue on the same connection:
  // run() returns when the running requests have ended. A large write whose payload is arriving is completed first,
  // without a deadline. False, and no effect, when the connection cannot be handed over (TLS).
  bool suspend();
  struct Suspended {
    SuspendedSession session;
    int fd;  // of the connection; the caller owns it
  };
  // After run(): the session that suspend() has stopped; nullopt when it has ended otherwise.
  std::optional<Suspended> take_suspended();
  // Before run(): the unsent replies of the suspended session.
  void restore(std::span<const UnsentReply> unsent) { output_.queue().restore(unsent); }

  const SessionState& state() const { return state_; }
  const exports::SessionStates& states() const { return states_; }
  // For tests: the number of extents that it keeps memory for between READs.
  std::size_t spare_extents() const { return known_.capacity(); }

 private:
  using ReaderWait = exports::ReaderWait;
  using SenderWait = exports::SenderWait;

  // transmission_replies.h: reply objects of the engine's tasks
  struct ReadReply;
  struct WriteReply;
  struct PartReply;
  struct ExtentsReply;
  struct PlainReply;

  // transmission.cc: tasks and end of the session
  bool begin_hang_up_watch();
  void peer_hung_up() override;
  aio::Task<void> receive_loop();
  bool suspend_at_boundary();
  // True if this session sends nothing more, because another one continues it.
  bool is_suspended() const {
    return states_.phase() == exports::Phase::kDraining && states_.ending() == exports::Ending::kSuspended;
  }
  void end_requests();
  aio::Task<void> send_loop();
  SenderWait next_sender_wait(const IoResult& sent) const;
  aio::Task<IoResult> wait_for(SenderWait wait);
  aio::Task<IoResult> give_sender_turn();
  aio::Task<void> close_grace();
  aio::Task<IoResult> wait_for(ReaderWait wait);
  aio::Task<IoResult> give_turn();
  aio::Task<IoResult> wait_for_resource(ReaderWait wait);
  aio::Task<IoResult> take_resource(ReaderWait wait);
  aio::Task<IoResult> while_connected(aio::Task<IoResult> waiting);
  aio::Task<void> watch_for_loss();
  bool client_not_reading() const { return states_.sender_wait() == SenderWait::kClient; }
  void expect_progress();
  aio::Task<void> watch_for_stall();
  aio::Task<IoResult> receive();
  aio::Task<IoResult> receive_payload();
  aio::Task<IoResult> wait_for_piece(std::size_t budget_bytes);
  void drop_payload();
  void answer_what_is_left();
  IoResult send_replies();
  void replies_ready();
  void lost();
  void client_left();
  void cut(exports::Ending reason, exports::EndingCause cause);

  // transmission_requests.cc: each request, until it needs a task
  ReaderWait handle_input();
  ReaderWait handle_requests();
  ReaderWait handle_request(const Request& request);
  // The wait that is needed before one more request may begin. Replies that are sent from a file hold their slot until
  // they are sent.
  ReaderWait admission() const { return engine_.admission(output_.queue().file_replies()); }
  ReaderWait begin(const Request& request, const Verdict& verdict);
  ReaderWait begin_read(const Request& request);
  ReadPlan plan_known_holes(const Request& request);
  ReaderWait answer_hole(const Request& request, const ReadPlan& plan);
  ReaderWait begin_whole_write(const Request& request);
  ReaderWait begin_large_write(const Request& request);
  ReaderWait finish_large_write();
  void start_write(const Request& request, Payload payload);
  aio::Task<IoResult> write_part();
  ReaderWait begin_block_status(const Request& request, std::uint32_t payload_bytes);
  std::size_t extents_max_of(const Request& request, std::size_t contexts) const;
  bool find_status_now(StatusReply& reply);
  ReaderWait begin_other(const Request& request);
  ReaderWait answer_now(const Request& request);
  ReaderWait reject(const Request& request, const Verdict& verdict);
  bool can_write_now(const Request& request) const;
  bool write_now(const Request& request, std::span<const iovec> data);
  bool write_whole_now(const Request& request);
  void answer(const Request& request, const IoResult& result);
  void request_ended();

  // transmission_files.cc: replies whose data are not read into memory when they begin
  bool answer_from_file(const ReadPlan& plan);
  void answer_piece_by_piece(const ReadPlan& plan);
  aio::Task<IoResult> load_cold_piece();
  void report_broken_reply(Errno error) const;

  // transmission_counts.cc: counters and events of answered requests
  // A request was answered: successfully, or with an error.
  void answered(const Request& request, NbdError error = NbdError::kNone) {
    count(request, error);
    trace_end(request, error);
  }
  void answered_run(const WriteRun& run);
  void count(const Request& request, NbdError error);
  void enter(exports::Phase phase);
  // transmission_trace.cc: events
  void trace_begin(const Request& request) {
    if (context_.trace.is_on(TraceEvent::kNbdRequestBegin)) [[unlikely]]
      write_begin(request);
  }
  void trace_end(const Request& request, NbdError error = NbdError{}) {
    if (context_.trace.is_on(TraceEvent::kNbdRequestEnd)) [[unlikely]]
      write_end(request, error);
  }
  void trace_run(const WriteRun& run) {
    if (context_.trace.is_on(TraceEvent::kNbdRequestBegin) || context_.trace.is_on(TraceEvent::kNbdRequestEnd))
        [[unlikely]]
      write_run_events(run);
  }
  void write_begin(const Request& request);
  void write_end(const Request& request, NbdError error);
  void write_run_events(const WriteRun& run);

  TransmissionContext context_;
  std::unique_ptr<net::Stream> stream_;
  SessionState state_;
  RequestRules rules_;
  exports::RequestEngine engine_;
  exports::RequestMeter meter_;
  RequestReader input_;
  ReplyWriter output_;
  block::Extents known_;  // of the current READ
  // Next small WRITEs of the input that are written one by one, because their joint write failed.
  std::size_t alone_writes_ = 0;

  aio::Scope reading_;
  aio::Scope sending_;
  aio::Scope stall_watch_;
  aio::Event sender_wanted_;
  aio::Event part_written_;
  std::uint64_t payload_bytes_ = 0;      // received bytes of large writes
  std::uint32_t requests_in_batch_ = 0;  // of the last call of handle_input()
  exports::SessionStates states_;
  bool client_not_sending_ = false;  // in the middle of a large write
  bool suspend_wanted_ = false;
  bool is_watched_ = false;  // for a hang-up
  bool peer_is_gone_ = false;
  bool begin_is_traced_ = false;  // for the request at the front of the input
};

}  // namespace blockexport::nbd
