// For tests: an NBD client in its transmission phase, over a stream; it parses the replies of every header mode.
//
// Thread: the reactor's. Not part of the daemon.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "aio/task/task.h"
#include "base/byte_reader.h"
#include "block/range.h"
#include "export/nbd/testing/handshake.h"
#include "export/nbd/wire/export_info.h"
#include "export/nbd/wire/wire_codec.h"
#include "net/stream.h"

namespace blockexport::nbd::testing {

inline constexpr HeaderMode kAllModes[] = {HeaderMode::kSimple, HeaderMode::kStructured, HeaderMode::kExtended};

// A session with all features that an export offers.
inline SessionState make_state(HeaderMode mode, std::uint64_t export_bytes, bool read_only = false) {
  SessionState state;
  state.fixed_newstyle = state.no_zeroes = true;
  state.header_mode = mode;
  state.export_bytes = export_bytes;
  if (mode != HeaderMode::kSimple) state.contexts = {{"base:allocation", 0}, {"qemu:allocation-depth", 1}};
  ExportInfo info;
  info.read_only = read_only;
  state.transmission_flags = transmission_flags(info, mode, true);
  return state;
}

// One reply with all its chunks.
struct Answer {
  bool ended = false;      // the stream ended instead
  bool malformed = false;  // the bytes are no valid reply
  std::uint64_t cookie = 0;
  std::uint32_t error = 0;
  std::string text = {};
  Bytes data = {};
  std::uint64_t hole_bytes = 0;  // bytes of the data that were sent as holes
  struct Status {
    std::uint64_t length;
    std::uint64_t flags;
    bool operator==(const Status&) const = default;
  };
  std::map<std::uint32_t, std::vector<Status>> status = {};  // by context id

  bool operator==(const Answer&) const = default;
};

inline Bytes bytes_of(char fill, std::size_t count) {
  return Bytes(count, static_cast<std::byte>(fill));
}

// Encoder of requests and parser of replies.
class ClientCodec {
 public:
  explicit ClientCodec(HeaderMode mode) : mode_(mode) {}

  Bytes request(Command command, std::uint64_t cookie, std::uint64_t offset, std::uint64_t length,
                std::uint16_t flags = 0, std::span<const std::byte> payload = {}) {
    if (command == Command::kRead) reads_[cookie] = {.offset = offset, .length = length};
    if (mode_ == HeaderMode::kExtended && command == Command::kWrite) flags |= command_flag::kPayloadLength;
    ClientBytes out;
    out.u32(mode_ == HeaderMode::kExtended ? kExtendedRequestMagic : kRequestMagic);
    out.u16(flags).u16(static_cast<std::uint16_t>(command)).u64(cookie).u64(offset);
    if (mode_ == HeaderMode::kExtended) {
      out.u64(length);
    } else {
      out.u32(static_cast<std::uint32_t>(length));
    }
    return out.raw(payload).bytes();
  }
  Bytes write(std::uint64_t cookie, std::uint64_t offset, std::span<const std::byte> data, std::uint16_t flags = 0) {
    return request(Command::kWrite, cookie, offset, data.size(), flags, data);
  }

  // Removes the first complete reply from the front of `input`; nothing when it is incomplete.
  std::optional<Answer> take(Bytes& input) {
    ByteReader reader(input);
    Answer answer;
    for (bool done = false; !done;) {
      if (reader.remaining() < kSimpleReplyBytes) return std::nullopt;
      std::uint32_t magic = reader.u32();
      if (magic == kSimpleReplyMagic && mode_ != HeaderMode::kExtended) {
        done = simple(reader, answer);
      } else if (magic == kStructuredReplyMagic || magic == kExtendedReplyMagic) {
        done = chunk(reader, answer, magic == kExtendedReplyMagic);
      } else {
        answer.malformed = done = true;
      }
      if (reader.failed()) return std::nullopt;
    }
    input.erase(input.begin(), input.end() - static_cast<std::ptrdiff_t>(reader.remaining()));
    return answer;
  }

  // All complete replies in `input`, by cookie. Incomplete bytes stay there.
  std::map<std::uint64_t, Answer> take_all(Bytes& input) {
    std::map<std::uint64_t, Answer> answers;
    while (auto answer = take(input)) {
      answers.emplace(answer->cookie, *answer);
      if (answer->malformed) break;
    }
    return answers;
  }

 private:
  bool simple(ByteReader& reader, Answer& answer) {
    answer.error = reader.u32();
    answer.cookie = reader.u64();
    if (mode_ == HeaderMode::kStructured || answer.error != 0) return true;
    if (auto read = reads_.find(answer.cookie); read != reads_.end())
      append(answer.data, reader.bytes(read->second.length));
    return true;
  }

  bool chunk(ByteReader& reader, Answer& answer, bool extended) {
    bool done = (reader.u16() & chunk_flag::kDone) != 0;
    auto type = static_cast<ChunkType>(reader.u16());
    answer.cookie = reader.u64();
    if (extended) (void)reader.u64();
    std::uint64_t length = extended ? reader.u64() : reader.u32();
    std::span<const std::byte> payload = reader.bytes(length);
    if (reader.failed()) return true;
    ByteReader body(payload);
    switch (type) {
      case ChunkType::kNone:
        break;
      case ChunkType::kOffsetData:
        place(answer, body.u64(), body.bytes(body.remaining()));
        break;
      case ChunkType::kOffsetHole: {
        std::uint64_t offset = body.u64();
        std::uint32_t hole = body.u32();
        place(answer, offset, Bytes(hole));
        answer.hole_bytes += hole;
        break;
      }
      case ChunkType::kBlockStatus:
      case ChunkType::kBlockStatusExtended:
        status(body, answer, type == ChunkType::kBlockStatusExtended);
        break;
      case ChunkType::kError:
        answer.error = body.u32();
        answer.text = body.text(body.u16());
        break;
      default:
        answer.malformed = true;
    }
    answer.malformed = answer.malformed || body.failed();
    return done || answer.malformed;
  }

  void status(ByteReader& body, Answer& answer, bool extended) {
    auto& extents = answer.status[body.u32()];
    if (extended) (void)body.u32();
    while (body.remaining() > 0 && !body.failed()) {
      std::uint64_t length = extended ? body.u64() : body.u32();
      extents.push_back({.length = length, .flags = extended ? body.u64() : body.u32()});
    }
  }

  // Copies content to its offset in the data of its READ.
  void place(Answer& answer, std::uint64_t offset, std::span<const std::byte> bytes) {
    auto read = reads_.find(answer.cookie);
    bool inside = read != reads_.end() && offset >= read->second.offset &&
                  block::Range{offset - read->second.offset, bytes.size()}.fits(read->second.length);
    answer.malformed = answer.malformed || !inside || bytes.empty();
    if (answer.malformed) return;
    std::size_t start = offset - read->second.offset;
    if (answer.data.size() < start + bytes.size()) answer.data.resize(start + bytes.size());
    std::ranges::copy(bytes, answer.data.begin() + static_cast<std::ptrdiff_t>(start));
  }

  static void append(Bytes& to, std::span<const std::byte> bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

  HeaderMode mode_;
  std::map<std::uint64_t, block::Range> reads_;  // ranges of the READs, by cookie
};

// A client on a connection.
class Client {
 public:
  Client(std::unique_ptr<net::Stream> stream, HeaderMode mode) : stream_(std::move(stream)), codec_(mode) {}

  aio::Task<IoResult> send(Bytes bytes) { co_return co_await net::send_all(*stream_, bytes); }
  aio::Task<IoResult> request(Command command, std::uint64_t cookie, std::uint64_t offset, std::uint64_t length,
                              std::uint16_t flags = 0) {
    co_return co_await send(codec_.request(command, cookie, offset, length, flags));
  }
  aio::Task<IoResult> write(std::uint64_t cookie, std::uint64_t offset, Bytes data, std::uint16_t flags = 0) {
    co_return co_await send(codec_.write(cookie, offset, data, flags));
  }

  // The next reply in wire order.
  aio::Task<Answer> answer() {
    for (;;) {
      if (auto answer = codec_.take(input_)) co_return *std::move(answer);
      std::size_t before = input_.size();
      input_.resize(before + (64u << 10));
      IoCount received = co_await net::receive_some(*stream_, std::span(input_).subspan(before));
      input_.resize(before + received.value_or(0));
      if (!received || *received == 0) co_return Answer{.ended = true};
    }
  }
  // Sends one request and waits for its reply, when no other request is under way.
  aio::Task<Answer> ask(Command command, std::uint64_t offset, std::uint64_t length, std::uint16_t flags = 0) {
    (void)co_await request(command, ++last_cookie_, offset, length, flags);
    co_return co_await answer();
  }
  aio::Task<Answer> ask_write(std::uint64_t offset, Bytes data, std::uint16_t flags = 0) {
    (void)co_await write(++last_cookie_, offset, std::move(data), flags);
    co_return co_await answer();
  }

  ClientCodec& codec() { return codec_; }
  // Closes the connection; no task may wait on it.
  void close() { stream_.reset(); }

 private:
  std::unique_ptr<net::Stream> stream_;
  ClientCodec codec_;
  Bytes input_;
  std::uint64_t last_cookie_ = 1000;
};

}  // namespace blockexport::nbd::testing
