#include "qmp/session.h"

#include <fmt/format.h>
#include <string.h>

#include <array>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "base/release_memory.h"
#include "base/secret_bytes.h"
#include "json/writer.h"

namespace blockexport::qmp {
namespace {

constexpr std::size_t kReceiveBytes = 16u << 10;
constexpr std::uint64_t kCloseGraceNs = 1'000'000'000;

json::Value error_object(const Error& error) {
  return json::Object{{"class", error_class_name(error.kind())}, {"desc", error.message()}};
}

}  // namespace

Session::Session(SessionContext context, std::unique_ptr<net::Stream> stream)
    : context_(std::move(context)),
      log_(context_.log, "QMP clients"),
      stream_(std::move(stream)),
      sender_(context_.reactor),
      output_ready_(context_.reactor),
      output_drained_(context_.reactor),
      in_band_worker_(context_.reactor),
      in_band_idle_(context_.reactor),
      in_band_slot_freed_(context_.reactor) {}

Session::~Session() {
  unlink();
}

aio::Task<void> Session::run() {
  sender_.spawn("qmp sender", send_loop());
  greet();
  co_await receive_loop();
  unlink();
  co_await end_in_band();
  // A client that still reads receives the last replies.
  closing_ = true;
  output_ready_.set();
  aio::Scope grace(context_.reactor);
  grace.spawn("qmp close grace", close_after_grace());
  co_await sender_.join();
  grace.cancel();
  co_await grace.join();
  stream_->shut_down();
}

aio::Task<void> Session::close_after_grace() {
  if (!co_await context_.reactor.sleep_until(context_.reactor.now_ns() + kCloseGraceNs)) co_return;
  stream_->shut_down();
  sender_.cancel();
}

void Session::greet() {
  json::Array capabilities;
  if (context_.offers_out_of_band) capabilities.push_back("oob");
  json::Object body{{"version", context_.runner.version()}, {"capabilities", std::move(capabilities)}};
  send(json::Object{{"QMP", std::move(body)}});
}

aio::Task<void> Session::receive_loop() {
  std::array<std::byte, kReceiveBytes> buffer;
  for (;;) {
    while (auto message = parser_.next()) {
      IoResult taken = co_await take_message(std::move(*message));
      if (!taken) co_return;
      while (output_.size() > kOutputBytesMax) {
        if (!co_await wait_for_drain()) co_return;
      }
      // Otherwise a session whose client sends command after command would never yield; and the sender must be able to
      // notice that the client has gone.
      co_await aio::next_turn();
      if (sender_ended_) co_return;
    }
    // The client may send nothing for a long time.
    wipe_dead_stack();
    IoCount received = co_await net::receive_some(*stream_, buffer);
    if (!received || *received == 0) co_return;
    parser_.feed({reinterpret_cast<const char*>(buffer.data()), *received});
    // The parser wipes what it has consumed; without this, a secret would stay in the buffer until new input overwrites
    // it.
    explicit_bzero(buffer.data(), *received);
    // Yields after each piece of a long message too.
    if (*received == buffer.size()) co_await aio::next_turn();
  }
}

// Waits until the client has received some of the output.
aio::Task<IoResult> Session::wait_for_drain() {
  output_drained_.reset();
  aio::Scope watch(context_.reactor);
  watch.spawn("qmp half-closed watch", close_half_closed_client());
  IoResult drained = co_await output_drained_.wait();
  watch.cancel();
  co_await watch.join();
  co_return drained;
}

// A client that has closed its sending side sends no more commands, so it may occupy the monitor only for
// kCloseGraceNs.
aio::Task<void> Session::close_half_closed_client() {
  if (!co_await stream_->hung_up()) co_return;
  co_await close_after_grace();
}

// Runs the message, or queues it if the session continues to read meanwhile (out-of-band execution). Fails when the
// session must end.
aio::Task<IoResult> Session::take_message(Message message) {
  if (!out_of_band_ || (message && is_out_of_band(*message))) co_return co_await handle(message);
  in_band_.push_back(std::move(message));
  if (in_band_worker_.size() == 0) {
    in_band_idle_.reset();
    in_band_worker_.spawn("qmp in-band commands", in_band_loop());
  }
  while (in_band_.size() >= kInBandQueueMax) {
    in_band_slot_freed_.reset();
    CO_TRY(co_await in_band_slot_freed_.wait());
    if (sender_ended_) co_return fail(ECONNABORTED);
  }
  co_return IoResult{};
}

aio::Task<void> Session::in_band_loop() {
  while (!in_band_.empty()) {
    Message message = std::move(in_band_.front());
    in_band_.pop_front();
    in_band_slot_freed_.set();
    IoResult handled = co_await handle(message);
    wipe_dead_stack();
    if (!handled) break;
    co_await aio::next_turn();
  }
  in_band_idle_.set();
}

// Drops queued commands. A running command is finished, or cancelled with the session.
aio::Task<void> Session::end_in_band() {
  in_band_.clear();
  if (in_band_worker_.size() > 0 && !co_await in_band_idle_.wait()) in_band_worker_.cancel();
  co_await in_band_worker_.join();
}

// Fails when the session must end.
aio::Task<IoResult> Session::handle(const Message& message) {
  json::Object reply;
  Result<json::Value> result = json::Value();
  const json::Value* id = nullptr;
  if (!message) {
    result = fail(message.error().clone());
  } else {
    const json::Object* object = message->as_object();
    id = object == nullptr ? nullptr : object->find("id");
    auto command = parse_command(*message, out_of_band_);
    if (command) {
      result = co_await execute(std::move(*command));
    } else {
      result = fail(std::move(command).error());
    }
  }
  if (result) {
    reply.set("return", std::move(*result));
  } else {
    reply.set("error", error_object(result.error()));
  }
  if (id != nullptr) reply.set("id", *id);
  send(std::move(reply));
  if (closing_ || sender_ended_) co_return fail(ECONNABORTED);
  co_return IoResult{};
}

aio::Task<Result<json::Value>> Session::execute(Command command) {
  command.monitor = context_.monitor;
  if (command.out_of_band) co_return co_await context_.runner.run(std::move(command));
  if (command.name == "qmp_capabilities") co_return negotiate(command);
  if (!negotiated_) {
    co_return fail(Error(ErrorKind::kCommandNotFound, "Expecting capabilities negotiation with 'qmp_capabilities'"));
  }
  co_return co_await context_.runner.run(std::move(command));
}

Result<json::Value> Session::negotiate(const Command& command) {
  if (negotiated_) {
    return fail(Error(ErrorKind::kCommandNotFound, "Capabilities negotiation is already complete, command ignored"));
  }
  bool out_of_band = false;
  if (command.arguments != nullptr) {
    for (const auto& [name, value] : *command.arguments->as_object()) {
      if (name != "enable") return fail(fmt::format("Parameter '{}' is unexpected", name));
      const json::Array* enabled = value.as_array();
      if (enabled == nullptr) return fail("Invalid parameter type for 'enable', expected: array");
      for (const json::Value& capability : *enabled) {
        const std::string* text = capability.as_string();
        if (text == nullptr) return fail("Invalid parameter type for 'null', expected: string");
        if (*text != "oob") return fail(fmt::format("Parameter 'null' does not accept value '{}'", *text));
        if (!context_.offers_out_of_band) return fail("Capability oob not available");
        out_of_band = true;
      }
    }
  }
  negotiated_ = true;
  out_of_band_ = out_of_band;
  context_.events.add(*this);
  return json::Value(json::Object{});
}

void Session::on_event(const json::Value& event) {
  if (output_.size() > 2 * kOutputBytesMax) {
    log_.warning("a QMP client does not read its events; its connection is closed");
    unlink();
    stream_->shut_down();
    return;
  }
  send(event);
}

void Session::send(const json::Value& message) {
  if (sender_ended_) return;
  if (context_.pretty) {
    std::string indented;
    json::write_pretty(message, indented);
    // Every line of a monitor ends with CR LF.
    for (char c : indented) {
      if (c == '\n') output_ += '\r';
      output_ += c;
    }
  } else {
    json::write(message, output_);
  }
  output_ += "\r\n";
  output_ready_.set();
}

aio::Task<void> Session::send_loop() {
  IoResult sent = co_await send_all_output();
  // Wakes the reader from each of its waits: for input, for the output to drain, for a slot in the command queue.
  sender_ended_ = true;
  output_.clear();
  release_memory(sending_);
  if (!sent) stream_->shut_down();
  output_drained_.set();
  in_band_slot_freed_.set();
}

// Sends all output until closing_ is set and everything is sent, or an error occurs.
aio::Task<IoResult> Session::send_all_output() {
  for (;;) {
    if (output_.empty()) {
      if (closing_) co_return IoResult{};
      output_ready_.reset();
      CO_TRY(co_await output_ready_.wait());
      continue;
    }
    sending_.swap(output_);
    CO_TRY(co_await net::send_all(*stream_, std::as_bytes(std::span(sending_))));
    sending_.clear();
    if (output_capacity_bytes() > kOutputBytesKept) release_memory(sending_);
    output_drained_.set();
  }
}

}  // namespace blockexport::qmp
