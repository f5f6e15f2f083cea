// Session: QMP session with one client of a monitor, from the greeting to the end of the connection.
//
// Messages are parsed as bytes arrive and run one at a time; while one runs, no more input is read. With out-of-band
// execution the session continues to read: up to kInBandQueueMax commands wait in a queue, and those sent with exec-oob
// overtake them. Output is bounded: beyond kOutputBytesMax no further command is read, and a client whose unread events
// reach twice that is disconnected. Commands that had not begun when the client left are dropped. Reader, sender and
// the worker of in-band commands end each other: see docs/loops.md. Lives in the frame of the monitor's task; thread:
// the control reactor's.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "aio/sync/scope.h"
#include "aio/sync/sync.h"
#include "base/peer_log.h"
#include "json/parser.h"
#include "net/stream.h"
#include "qmp/command.h"
#include "qmp/event_queue.h"

namespace blockexport::qmp {

inline constexpr std::size_t kOutputBytesMax = 4u << 20;
inline constexpr std::size_t kInBandQueueMax = 8;
// Memory that a session keeps for output while it has none.
inline constexpr std::size_t kOutputBytesKept = 64u << 10;

struct SessionContext {
  aio::Reactor& reactor;
  CommandRunner& runner;
  EventQueue& events;
  const Log& log;
  std::string monitor = {};  // name of the monitor, for Command::monitor
  bool pretty = false;
  bool offers_out_of_band = true;
};

class Session final : public EventListener {
 public:
  Session(SessionContext context, std::unique_ptr<net::Stream> stream);
  ~Session();

  // Greets and serves the client; returns when the client has gone or the task was cancelled. Replies that exist by
  // then are still sent.
  aio::Task<void> run();

  void on_event(const json::Value& event) override;

  // For tests: memory of the output buffers.
  std::size_t output_capacity_bytes() const { return output_.capacity() + sending_.capacity(); }

  // True if what is sent from now on is indented.
  void set_pretty(bool pretty) { context_.pretty = pretty; }

 private:
  using Message = std::expected<json::Value, Error>;
  aio::Task<void> receive_loop();
  aio::Task<IoResult> take_message(Message message);
  aio::Task<void> in_band_loop();
  aio::Task<void> end_in_band();
  aio::Task<IoResult> wait_for_drain();
  aio::Task<void> close_half_closed_client();
  aio::Task<void> close_after_grace();
  aio::Task<void> send_loop();
  aio::Task<IoResult> send_all_output();
  aio::Task<IoResult> handle(const Message& message);
  aio::Task<Result<json::Value>> execute(Command command);
  Result<json::Value> negotiate(const Command& command);
  void greet();
  void send(const json::Value& message);

  SessionContext context_;
  const PeerLog log_;
  std::unique_ptr<net::Stream> stream_;
  json::Parser parser_;
  std::string output_;   // output that the sender has not taken yet
  std::string sending_;  // output that the sender is sending
  aio::Scope sender_;
  aio::Event output_ready_;
  aio::Event output_drained_;
  std::deque<Message> in_band_;  // queued in-band commands
  aio::Scope in_band_worker_;
  aio::Event in_band_idle_;
  aio::Event in_band_slot_freed_;
  bool negotiated_ = false;
  bool out_of_band_ = false;
  bool closing_ = false;       // the reader has ended
  bool sender_ended_ = false;  // replies cannot be sent any longer
};

}  // namespace blockexport::qmp
