// Reply objects of a transmission, to which the engine's tasks pass their results (exports::ReplyTarget). Each holds
// the resources of its request until it ends: its data, and its memory from the budget.
//
// Each lives in the frame of its task, and refers to the transmission, which outlives it. Thread: that of its reactor.
#pragma once

#include <span>
#include <utility>

#include "export/nbd/transmission/transmission.h"

namespace blockexport::nbd {

// The data and the header of the reply to a READ, in one buffer; the header is already right before kReplyDataStart.
struct Transmission::ReadReply {
  Transmission* session;
  Request request;
  aio::Buffer buffer;
  std::size_t head_bytes;
  std::size_t data_bytes;
  std::size_t budget_bytes;

  iovec data() { return {.iov_base = buffer.data() + kReplyDataStart, .iov_len = data_bytes}; }
  void answer(const IoResult& result) {
    if (!result) {
      session->engine_.budget().give_back(budget_bytes);
      return session->answer(request, result);
    }
    session->output_.put_read(std::move(buffer), head_bytes, data_bytes, budget_bytes);
    session->answered(request);
  }
  void ended() { session->request_ended(); }
};

struct Transmission::WriteReply {
  Transmission* session;
  Request request;
  Payload payload;

  std::span<const iovec> vectors() const { return payload.vectors(); }
  void answer(const IoResult& result) {
    session->engine_.budget().give_back(payload.budget_bytes());
    session->answer(request, result);
  }
  void ended() { session->request_ended(); }
};

// A part of a WRITE. The payload goes back to the reader, which waits for it unless the session has ended. Only an
// error is answered.
struct Transmission::PartReply {
  Transmission* session;
  Request request;
  Payload payload;

  std::span<const iovec> vectors() const { return payload.vectors(); }
  void answer(const IoResult& result) {
    const bool is_awaited = session->states_.ending() == exports::Ending::kOpen;
    if (is_awaited && result) {
      payload.part_written();
      session->input_.part_came_back(std::move(payload));
    } else {
      session->engine_.budget().give_back(payload.budget_bytes());
      if (is_awaited) session->input_.part_failed(payload.missing());
    }
    if (!is_awaited) return;
    session->part_written_.set();
    if (!result) session->answer(request, result);
  }
  void ended() { session->request_ended(); }
};

struct Transmission::ExtentsReply {
  Transmission* session;
  Request request;
  StatusReply reply;
  std::size_t budget_bytes;

  block::Range rest() const { return reply.rest(); }
  void add(const block::Extents& extents) { reply.add(extents); }
  block::Edge* next_gate() const { return reply.next_gate(); }
  std::uint64_t read_bitmap() { return reply.read_bitmap(); }
  void answer(const IoResult& result) {
    if (!result) {
      session->engine_.budget().give_back(budget_bytes);
      return session->answer(request, result);
    }
    session->output_.put_status(reply, budget_bytes);
    session->answered(request);
  }
  void ended() { session->request_ended(); }
};

// For a request without data.
struct Transmission::PlainReply {
  Transmission* session;
  Request request;
  std::size_t budget_bytes;

  void answer(const IoResult& result) {
    session->engine_.budget().give_back(budget_bytes);
    session->answer(request, result);
  }
  void ended() { session->request_ended(); }
};

}  // namespace blockexport::nbd
