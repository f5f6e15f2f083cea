// The implementation of ExportClient on libnbd: the only file that includes it.
#include <fmt/format.h>
#include <libnbd.h>
#include <poll.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>

#include "base/clock.h"
#include "base/printable.h"
#include "client/backup/export_client.h"
#include "client/backup/name_list.h"

namespace blockexport::backup {
namespace {

// libnbd's text for its last error on this thread, without the name of its function.
std::string nbd_reason() {
  const char* text = nbd_get_error();
  if (text == nullptr) return "unknown error";
  std::string_view reason(text);
  const std::size_t colon = reason.find(": ");
  if (reason.starts_with("nbd_") && colon != std::string_view::npos) reason.remove_prefix(colon + 2);
  return printable(reason, 1024);
}

struct CloseHandle {
  void operator()(nbd_handle* handle) const { nbd_close(handle); }
};

struct FreeText {
  void operator()(char* text) const { std::free(text); }
};
using NbdText = std::unique_ptr<char, FreeText>;

struct Connection {
  std::unique_ptr<nbd_handle, CloseHandle> handle;
  unsigned requests_in_flight = 0;
};

// State of an option of the handshake.
struct OptionAnswer {
  bool has_ended = false;
  int error = 0;
  std::vector<std::string>* names = nullptr;
  bool has_too_many = false;
};

int take_option_end(void* data, int* error) {
  auto* answer = static_cast<OptionAnswer*>(data);
  answer->has_ended = true;
  answer->error = *error;
  return 1;
}

int take_context_name(void* data, const char* name) {
  auto* answer = static_cast<OptionAnswer*>(data);
  const std::string_view text(name);
  if (answer->names->size() == kOfferedContextsMax || text.size() > kContextNameBytesMax) {
    answer->has_too_many = true;
  } else {
    answer->names->emplace_back(text);
  }
  return 0;
}

// A request under way: the arguments of libnbd's callbacks.
struct Flight {
  ExportRead* read = nullptr;
  StatusQuery* query = nullptr;
  const std::vector<std::string>* contexts = nullptr;
  Connection* connection = nullptr;
  unsigned* ended = nullptr;
};

int take_request_end(void* data, int* error) {
  auto* flight = static_cast<Flight*>(data);
  --flight->connection->requests_in_flight;
  ++*flight->ended;
  if (flight->read != nullptr) {
    flight->read->has_ended = true;
    flight->read->error = *error;
  } else {
    flight->query->has_ended = true;
    flight->query->error = *error;
  }
  return 1;  // the command is retired
}

void free_flight(void* data) {
  delete static_cast<Flight*>(data);
}

ContextStatus* context_of(void* data, std::string_view name) {
  auto* flight = static_cast<Flight*>(data);
  const auto found = std::ranges::find(*flight->contexts, name);
  if (found == flight->contexts->end()) return nullptr;
  return &flight->query->contexts[static_cast<std::size_t>(found - flight->contexts->begin())];
}

#ifdef LIBNBD_HAVE_NBD_AIO_BLOCK_STATUS_64
int take_extents(void* data, const char* context, std::uint64_t, nbd_extent* entries, std::size_t count, int*) {
  ContextStatus* status = context_of(data, context);
  if (status == nullptr) return 0;
  for (std::size_t i = 0; i < count; ++i) status->add({.length = entries[i].length, .flags = entries[i].flags});
  status->end_answer();
  return 0;
}
#else
int take_extents(void* data, const char* context, std::uint64_t, std::uint32_t* entries, std::size_t count, int*) {
  ContextStatus* status = context_of(data, context);
  if (status == nullptr) return 0;
  for (std::size_t i = 0; i + 1 < count; i += 2) status->add({.length = entries[i], .flags = entries[i + 1]});
  status->end_answer();
  return 0;
}
#endif

class NbdExportClient final : public ExportClient {
 public:
  explicit NbdExportClient(std::string uri) : uri_(std::move(uri)) {}
  ~NbdExportClient() override {
    for (Connection& one : connections_) {
      // A polite end, for which nobody waits.
      if (nbd_aio_is_ready(one.handle.get()) == 1) nbd_aio_disconnect(one.handle.get(), 0);
    }
  }

  Result<> connect_and_list();

  const std::vector<std::string>& offered_contexts() const override { return offered_; }
  Result<> select(const std::vector<std::string>& contexts) override;
  const ExportInformation& information() const override { return information_; }
  Result<> connect_more(unsigned count) override;
  Result<> start(ExportRead& read) override;
  Result<> start(StatusQuery& query) override;
  Result<> wait(int timeout_ms) override;

 private:
  Error broken(std::string_view what) const {
    return Error(fmt::format("{} '{}': {}", what, printable(uri_, 1024), nbd_reason()));
  }
  Error refused(int cause) const;
  Result<Connection> connect(bool stays_in_negotiation);
  Result<> wait_for_handshake(nbd_handle* handle, const bool* has_ended);
  Result<> read_information();
  Result<> poll_all(int timeout_ms);

  std::string uri_;
  std::vector<std::string> offered_;
  std::vector<std::string> contexts_;
  ExportInformation information_;
  unsigned ended_ = 0;  // requests that ended since the last wait()
  OptionAnswer answer_;
  // The last member, because its destructor ends what refers to the others. Its size does not change while a request
  // is under way.
  std::vector<Connection> connections_;
};

// Waits until an option has been answered, or without one until the state of the connection is final.
Result<> NbdExportClient::wait_for_handshake(nbd_handle* handle, const bool* has_ended) {
  const SystemClock clock;
  const std::uint64_t deadline_ns = clock.now_ns() + std::uint64_t{kConnectSecondsMax} * 1'000'000'000;
  for (;;) {
    if (nbd_aio_is_dead(handle) == 1 || nbd_aio_is_closed(handle) == 1) return fail(broken("cannot connect to"));
    if (has_ended != nullptr ? *has_ended : nbd_aio_is_negotiating(handle) == 1 || nbd_aio_is_ready(handle) == 1) {
      return {};
    }
    const std::uint64_t now_ns = clock.now_ns();
    if (now_ns >= deadline_ns) {
      return fail(Error(fmt::format("the server of '{}' did not answer within {} seconds", printable(uri_, 1024),
                                    kConnectSecondsMax))
                      .with_hint("Check that the address is that of an NBD server, and that the server runs."));
    }
    const unsigned direction = nbd_aio_get_direction(handle);
    pollfd entry{.fd = nbd_aio_get_fd(handle), .events = 0, .revents = 0};
    if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0) entry.events |= POLLIN;
    if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) entry.events |= POLLOUT;
    const int rest_ms = static_cast<int>((deadline_ns - now_ns) / 1'000'000) + 1;
    if (::poll(&entry, 1, rest_ms) < 0 && errno != EINTR) {
      return fail(Error::system("cannot wait for the server", Errno::last()));
    }
    // A failed notification makes the connection dead.
    if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0 && (entry.revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
      (void)nbd_aio_notify_read(handle);
    } else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0 && (entry.revents & (POLLOUT | POLLHUP | POLLERR)) != 0) {
      (void)nbd_aio_notify_write(handle);
    }
  }
}

Result<Connection> NbdExportClient::connect(bool stays_in_negotiation) {
  Connection connection{.handle = decltype(Connection::handle)(nbd_create())};
  nbd_handle* handle = connection.handle.get();
  if (handle == nullptr) return fail(fmt::format("cannot make an NBD handle: {}", nbd_reason()));
  // A URI of the command line may name files of certificates and keys.
  nbd_set_uri_allow_local_file(handle, true);
  nbd_set_opt_mode(handle, stays_in_negotiation);
  // Extents of a server may be smaller than its block size; then the server says whether it reads them.
  nbd_set_strict_mode(handle, nbd_get_strict_mode(handle) & ~static_cast<std::uint32_t>(LIBNBD_STRICT_ALIGN));
  if (nbd_aio_connect_uri(handle, uri_.c_str()) == -1) return fail(broken("cannot connect to"));
  // Between two states a handle is neither negotiating nor ready.
  TRY(wait_for_handshake(handle, nullptr));
  return connection;
}

Result<> NbdExportClient::connect_and_list() {
  TRY_ASSIGN(Connection connection, connect(true));
  nbd_handle* handle = connection.handle.get();
  connections_.push_back(std::move(connection));
  // A server of the old protocol, or without options, is ready at once and has no contexts.
  if (nbd_aio_is_negotiating(handle) != 1) return {};
  answer_ = {.names = &offered_};
  const nbd_context_callback take_name{.callback = take_context_name, .user_data = &answer_, .free = nullptr};
  const nbd_completion_callback take_end{.callback = take_option_end, .user_data = &answer_, .free = nullptr};
  // A server without contexts answers with an error, or is known to have none.
  if (nbd_aio_opt_list_meta_context(handle, take_name, take_end) == -1) return {};
  TRY(wait_for_handshake(handle, &answer_.has_ended));
  if (answer_.has_too_many) {
    return fail(fmt::format("the server offers more than {} meta contexts, or a name of more than {} bytes",
                            kOfferedContextsMax, kContextNameBytesMax));
  }
  if (answer_.error != 0) offered_.clear();
  return {};
}

// The server's answer to the choice of the export, of which libnbd keeps only the kind.
Error NbdExportClient::refused(int cause) const {
  NbdText name(nbd_get_export_name(connections_.front().handle.get()));
  const std::string message = fmt::format("the server refuses the export '{}' of '{}'",
                                          printable(name ? name.get() : "", 1024), printable(uri_, 1024));
  if (cause == ENOENT) {
    return Error(message + ": it has no such export")
        .with_hint(fmt::format("List them with: nbdinfo --list '{}'", uri_));
  }
  Error error = Error::system(message, Errno(cause > 0 ? cause : EIO));
  if (cause != ENOTSUP) return error;
  return std::move(error).with_hint(
      "If the server requires TLS, the URI begins with nbds:// or nbds+unix://, and may name a directory of "
      "certificates with tls-certificates=DIR.");
}

Result<> NbdExportClient::select(const std::vector<std::string>& contexts) {
  nbd_handle* handle = connections_.front().handle.get();
  contexts_ = contexts;
  if (nbd_aio_is_negotiating(handle) == 1) {
    for (const std::string& name : contexts) {
      if (nbd_add_meta_context(handle, name.c_str()) == -1) return fail(broken("cannot ask for a context of"));
    }
    answer_ = {};
    const nbd_completion_callback take_end{.callback = take_option_end, .user_data = &answer_, .free = nullptr};
    if (nbd_aio_opt_go(handle, take_end) == -1) return fail(broken("cannot open the export of"));
    TRY(wait_for_handshake(handle, &answer_.has_ended));
    if (answer_.error != 0) return fail(refused(answer_.error));
    TRY(wait_for_handshake(handle, nullptr));
  }
  for (const std::string& name : contexts) {
    if (nbd_can_meta_context(handle, name.c_str()) == 1) continue;
    return fail(Error(fmt::format("the export has no meta context '{}'", printable(name, 1024)))
                    .with_hint(offered_.empty() ? "The server offers none."
                                                : fmt::format("It offers: {}", list_names(offered_))));
  }
  return read_information();
}

Result<> NbdExportClient::read_information() {
  nbd_handle* handle = connections_.front().handle.get();
  const std::int64_t size = nbd_get_size(handle);
  if (size < 0) return fail(broken("cannot read the size of the export of"));
  NbdText name(nbd_get_export_name(handle));
  if (!name) return fail(broken("cannot read the name of the export of"));
  const std::int64_t longest_read = nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM);
  information_ = {.name = name.get(),
                  .size_bytes = static_cast<std::uint64_t>(size),
                  // A server that states no limit reads 32 MiB.
                  .read_bytes_max = longest_read > 0 ? static_cast<std::uint64_t>(longest_read) : 32u << 20,
                  .status_bytes_max = kStatusBytesMax,
                  .allows_multi_conn = nbd_can_multi_conn(handle) == 1};
#ifdef LIBNBD_HAVE_NBD_AIO_BLOCK_STATUS_64
  if (nbd_get_extended_headers_negotiated(handle) == 1) information_.status_bytes_max = kWideStatusBytesMax;
#endif
  return {};
}

Result<> NbdExportClient::connect_more(unsigned count) {
  while (connections_.size() < count) {
    TRY_ASSIGN(Connection connection, connect(false));
    const std::int64_t size = nbd_get_size(connection.handle.get());
    if (size < 0 || static_cast<std::uint64_t>(size) != information_.size_bytes) {
      return fail("the export changed its size between two connections");
    }
    connections_.push_back(std::move(connection));
  }
  return {};
}

Result<> NbdExportClient::start(ExportRead& read) {
  Connection& connection = *std::ranges::min_element(connections_, {}, &Connection::requests_in_flight);
  read.has_ended = false;
  read.error = 0;
  auto* flight = new Flight{.read = &read, .connection = &connection, .ended = &ended_};
  const nbd_completion_callback done{.callback = take_request_end, .user_data = flight, .free = free_flight};
  ++connection.requests_in_flight;
  // libnbd frees `flight` on failure too.
  if (nbd_aio_pread(connection.handle.get(), read.bytes.data(), read.bytes.size(), read.offset, done, 0) != -1) {
    return {};
  }
  return fail(broken("cannot read from"));
}

Result<> NbdExportClient::start(StatusQuery& query) {
  Connection& connection = connections_.front();
  query.has_ended = false;
  query.error = 0;
  query.contexts.resize(contexts_.size());
  for (ContextStatus& one : query.contexts) one.expect(query.length);
  auto* flight = new Flight{.query = &query, .contexts = &contexts_, .connection = &connection, .ended = &ended_};
  const nbd_completion_callback done{.callback = take_request_end, .user_data = flight, .free = free_flight};
  ++connection.requests_in_flight;
#ifdef LIBNBD_HAVE_NBD_AIO_BLOCK_STATUS_64
  const nbd_extent64_callback take{.callback = take_extents, .user_data = flight, .free = nullptr};
  const std::int64_t cookie =
      nbd_aio_block_status_64(connection.handle.get(), query.length, query.offset, take, done, 0);
#else
  const nbd_extent_callback take{.callback = take_extents, .user_data = flight, .free = nullptr};
  const std::int64_t cookie = nbd_aio_block_status(connection.handle.get(), query.length, query.offset, take, done, 0);
#endif
  if (cookie != -1) return {};
  return fail(broken("cannot ask for the block status of"));
}

Result<> NbdExportClient::poll_all(int timeout_ms) {
  std::vector<pollfd> entries;
  entries.reserve(connections_.size());
  for (const Connection& one : connections_) {
    const unsigned direction = nbd_aio_get_direction(one.handle.get());
    pollfd entry{.fd = nbd_aio_get_fd(one.handle.get()), .events = 0, .revents = 0};
    if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0) entry.events |= POLLIN;
    if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) entry.events |= POLLOUT;
    entries.push_back(entry);
  }
  const int count = ::poll(entries.data(), entries.size(), timeout_ms);
  if (count < 0 && errno != EINTR) return fail(Error::system("cannot wait for the server", Errno::last()));
  if (count == 0) {
    return fail(
        fmt::format("the server of '{}' sent nothing for {} seconds", printable(uri_, 1024), timeout_ms / 1000));
  }
  for (std::size_t i = 0; i < entries.size(); ++i) {
    nbd_handle* handle = connections_[i].handle.get();
    // A hang-up counts as readable: the read finds the end of the stream.
    if ((entries[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && (entries[i].events & POLLIN) != 0) {
      (void)nbd_aio_notify_read(handle);
    } else if ((entries[i].revents & (POLLOUT | POLLHUP | POLLERR)) != 0) {
      (void)nbd_aio_notify_write(handle);
    }
    if (nbd_aio_is_dead(handle) == 1 || nbd_aio_is_closed(handle) == 1) {
      return fail(broken("lost the connection to"));
    }
  }
  return {};
}

Result<> NbdExportClient::wait(int timeout_ms) {
  while (ended_ == 0) TRY(poll_all(timeout_ms));
  ended_ = 0;
  return {};
}

}  // namespace

Result<std::unique_ptr<ExportClient>> connect_export(const std::string& uri) {
  auto client = std::make_unique<NbdExportClient>(uri);
  TRY(client->connect_and_list());
  return client;
}

}  // namespace blockexport::backup
