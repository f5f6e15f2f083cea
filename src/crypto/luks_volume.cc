#include "crypto/luks_volume.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "crypto/hash.h"
#include "crypto/luks_keys.h"

namespace blockexport::crypto {
namespace {

constexpr const char* kReadFailed = "Could not read encryption header";
constexpr const char* kWriteFailed = "Could not write encryption header";

Result<> as_result(const IoResult& result, const char* message) {
  if (!result) return fail(Error::system(message, result.error()));
  return {};
}

// Runs `work.run()` on a worker thread.
template <class Work>
aio::Task<Result<>> run_on_worker(Work& work) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  const auto function = [](void* argument) -> std::int64_t {
    static_cast<Work*>(argument)->run();
    return 0;
  };
  const auto ended = co_await reactor.call(function, &work);
  if (!ended) co_return fail(Error::system("Could not derive a key", ended.error()));
  co_return Result<>();
}

struct Opening {
  void run() { result = open_slot(header, slot, passphrase->text(), material); }

  const LuksHeader& header;
  std::size_t slot;
  Passphrase passphrase;
  std::span<const std::byte> material;
  Result<std::optional<SecretBytes>> result = std::nullopt;
};

struct Sealing {
  void run() { result = seal_slot(header, slot, passphrase->text(), iteration_time_ms, master_key.bytes(), material); }

  LuksHeader& header;
  std::size_t slot;
  Passphrase passphrase;
  std::uint64_t iteration_time_ms;
  const SecretBytes& master_key;
  std::span<std::byte> material;
  Result<> result = {};
};

struct MakingKey {
  void run() { result = make_master_key(header, iteration_time_ms); }

  LuksHeader& header;
  std::uint64_t iteration_time_ms;
  Result<SecretBytes> result = SecretBytes();
};

aio::Task<Result<std::optional<SecretBytes>>> try_slot(LuksStorage& storage, const LuksHeader& header, std::size_t slot,
                                                       Passphrase passphrase) {
  std::vector<std::byte> material(header.material_bytes());
  CO_TRY(as_result(co_await storage.read(header.material_offset(slot), material), kReadFailed));
  Opening work{.header = header, .slot = slot, .passphrase = std::move(passphrase), .material = material};
  CO_TRY(co_await run_on_worker(work));
  co_return std::move(work.result);
}

// Writes the sectors of the header that differ. A slot may lie in both, with its state in the first: that sector is the
// last one when a slot becomes active, which is complete then, and otherwise the first one.
aio::Task<Result<>> write_header(LuksStorage& storage, const LuksHeader& before, const LuksHeader& after) {
  const std::vector<std::byte> old_bytes = encode_luks_header(before);
  const std::vector<std::byte> new_bytes = encode_luks_header(after);
  const auto part = [](const std::vector<std::byte>& bytes, bool second) {
    const std::span<const std::byte> all = bytes;
    return second ? all.subspan(kLuksSectorBytes) : all.first(kLuksSectorBytes);
  };
  const bool activates = after.active_slots() > before.active_slots();
  for (const bool second : {activates, !activates}) {
    const std::span<const std::byte> written = part(new_bytes, second);
    if (std::ranges::equal(written, part(old_bytes, second))) continue;
    CO_TRY(as_result(co_await storage.write(second ? kLuksSectorBytes : 0, written), kWriteFailed));
    CO_TRY(as_result(co_await storage.flush(), kWriteFailed));
  }
  co_return Result<>();
}

aio::Task<Result<>> write_material(LuksStorage& storage, const LuksHeader& header, std::size_t slot,
                                   std::span<const std::byte> material) {
  CO_TRY(as_result(co_await storage.write(header.material_offset(slot), material), kWriteFailed));
  co_return as_result(co_await storage.flush(), kWriteFailed);
}

std::optional<std::size_t> free_slot(const LuksHeader& header) {
  const auto found = std::ranges::find(header.slots, false, &LuksSlot::active);
  if (found == header.slots.end()) return std::nullopt;
  return static_cast<std::size_t>(found - header.slots.begin());
}

Error wrong_passphrase() {
  return Error("Invalid password, cannot unlock any keyslot");
}

// Puts a key in a slot that is not active.
aio::Task<Result<>> fill_slot(LuksStorage& storage, LuksHeader& header, std::size_t slot, Passphrase passphrase,
                              std::uint64_t iteration_time_ms, const SecretBytes& master_key) {
  LuksHeader after = header;
  std::vector<std::byte> material(header.material_bytes());
  Sealing work{.header = after,
               .slot = slot,
               .passphrase = std::move(passphrase),
               .iteration_time_ms = iteration_time_ms,
               .master_key = master_key,
               .material = material};
  CO_TRY(co_await run_on_worker(work));
  CO_TRY(std::move(work.result));
  CO_TRY(check_luks_iterations(after));
  CO_TRY(co_await write_material(storage, header, slot, material));
  CO_TRY(co_await write_header(storage, header, after));
  header = std::move(after);
  co_return Result<>();
}

aio::Task<Result<>> empty_slot(LuksStorage& storage, LuksHeader& header, std::size_t slot) {
  LuksHeader after = header;
  after.slots[slot] = {.material_sector = header.slots[slot].material_sector};
  Result<> done = co_await write_header(storage, header, after);
  if (!done) co_return fail(std::move(done).error().with_prefix(fmt::format("Failed to erase keyslot {}: ", slot)));
  header = std::move(after);
  std::vector<std::byte> material(header.material_bytes());
  fill_nonce(material);
  done = co_await write_material(storage, header, slot, material);
  if (!done) co_return fail(std::move(done).error().with_prefix(fmt::format("Failed to erase keyslot {}: ", slot)));
  co_return Result<>();
}

aio::Task<Result<>> add_passphrase(LuksStorage& storage, LuksHeader& header, const LuksChange& change) {
  const std::size_t slot = change.slot ? static_cast<std::size_t>(*change.slot) : *free_slot(header);
  CO_TRY_ASSIGN(const SecretBytes master_key, co_await unlock_luks(storage, header, change.current));
  const bool overwrites = header.slots[slot].active;
  const std::optional<std::size_t> spare = overwrites ? free_slot(header) : std::nullopt;
  if (spare) {
    CO_TRY(co_await fill_slot(storage, header, *spare, change.added, change.iteration_time_ms, master_key));
  }
  if (overwrites) CO_TRY(co_await empty_slot(storage, header, slot));
  CO_TRY(co_await fill_slot(storage, header, slot, change.added, change.iteration_time_ms, master_key));
  if (spare) CO_TRY(co_await empty_slot(storage, header, *spare));
  co_return Result<>();
}

aio::Task<Result<>> remove_slot(LuksStorage& storage, LuksHeader& header, const LuksChange& change) {
  const auto slot = static_cast<std::size_t>(*change.slot);
  if (change.removed != nullptr) {
    std::optional<SecretBytes> opened;
    if (header.slots[slot].active) {
      CO_TRY_ASSIGN(opened, co_await try_slot(storage, header, slot, change.removed));
    }
    if (!opened) {
      co_return fail(fmt::format("Given keyslot {} doesn't contain the given old password for erase operation", slot));
    }
  }
  if (!change.force && !header.slots[slot].active) {
    co_return fail(fmt::format("Given keyslot {} is already erased (inactive) ", slot));
  }
  if (!change.force && header.active_slots() == 1) {
    co_return fail(
        fmt::format("Attempt to erase the only active keyslot {} which will erase all the data in the image "
                    "irreversibly - refusing operation",
                    slot));
  }
  co_return co_await empty_slot(storage, header, slot);
}

aio::Task<Result<>> remove_passphrase(LuksStorage& storage, LuksHeader& header, const LuksChange& change) {
  std::vector<std::size_t> matching;
  for (std::size_t slot = 0; slot < kLuksSlots; ++slot) {
    if (!header.slots[slot].active) continue;
    CO_TRY_ASSIGN(const std::optional<SecretBytes> opened, co_await try_slot(storage, header, slot, change.removed));
    if (opened) matching.push_back(slot);
  }
  if (matching.empty()) co_return fail("No keyslots match given (old) password for erase operation");
  if (!change.force && matching.size() == header.active_slots()) {
    co_return fail(
        "All the active keyslots match the (old) password that was given and erasing them will erase all the data in "
        "the image irreversibly - refusing operation");
  }
  for (const std::size_t slot : matching) CO_TRY(co_await empty_slot(storage, header, slot));
  co_return Result<>();
}

// The length of the UTF-8 sequence at the front of `text`; 0: there is none, or it is a zero byte.
std::size_t utf8_sequence_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(0);
  if (first < 0x80) return first == 0 ? 0 : 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  std::uint32_t character = first & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    character = character << 6 | (byte(i) & 0x3f);
  }
  const std::uint32_t least = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
  const bool is_surrogate = character >= 0xd800 && character < 0xe000;
  return first < 0xc0 || first > 0xf4 || character < least || character > 0x10ffff || is_surrogate ? 0 : length;
}

bool is_utf8_text(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_sequence_bytes(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace

Result<Passphrase> passphrase_of(Passphrase secret, std::string_view id) {
  if (!is_utf8_text(secret->text())) return fail(fmt::format("Data from secret {} is not valid UTF-8", id));
  return secret;
}

aio::Task<Result<LuksHeader>> read_luks_header(LuksStorage& storage, LuksPlacement placement) {
  std::vector<std::byte> bytes(kLuksHeaderBytes);
  CO_TRY(as_result(co_await storage.read(0, bytes), kReadFailed));
  co_return parse_luks_header(bytes, placement);
}

aio::Task<Result<SecretBytes>> unlock_luks(LuksStorage& storage, const LuksHeader& header, Passphrase passphrase) {
  for (std::size_t slot = 0; slot < kLuksSlots; ++slot) {
    if (!header.slots[slot].active) continue;
    CO_TRY_ASSIGN(std::optional<SecretBytes> opened, co_await try_slot(storage, header, slot, passphrase));
    if (opened) co_return std::move(*opened);
  }
  co_return fail(wrong_passphrase());
}

aio::Task<Result<NewLuks>> create_luks(LuksStorage& storage, LuksHeader header, Passphrase passphrase,
                                       std::uint64_t iteration_time_ms) {
  // The old header must be gone before the first byte of what it describes is.
  CO_TRY(as_result(co_await storage.write(0, std::vector<std::byte>(kLuksHeaderBytes)), kWriteFailed));
  CO_TRY(as_result(co_await storage.flush(), kWriteFailed));
  NewLuks made{.header = std::move(header)};
  MakingKey making{.header = made.header, .iteration_time_ms = iteration_time_ms};
  CO_TRY(co_await run_on_worker(making));
  CO_TRY_ASSIGN(made.master_key, std::move(making.result));
  std::vector<std::byte> material(made.header.material_bytes());
  Sealing sealing{.header = made.header,
                  .slot = 0,
                  .passphrase = std::move(passphrase),
                  .iteration_time_ms = iteration_time_ms,
                  .master_key = made.master_key,
                  .material = material};
  CO_TRY(co_await run_on_worker(sealing));
  CO_TRY(std::move(sealing.result));
  CO_TRY(co_await write_material(storage, made.header, 0, material));
  CO_TRY(as_result(co_await storage.write(0, encode_luks_header(made.header)), kWriteFailed));
  CO_TRY(as_result(co_await storage.flush(), kWriteFailed));
  co_return made;
}

Result<> check_luks_change(const LuksHeader& header, const LuksChange& change) {
  constexpr auto kLast = static_cast<std::int64_t>(kLuksSlots) - 1;
  if (change.slot && (*change.slot < 0 || *change.slot > kLast)) {
    // The reference shows the number without a sign where a passphrase is added.
    const std::string shown = change.activate ? fmt::format("{}", static_cast<std::uint32_t>(*change.slot))
                                              : fmt::format("{}", static_cast<std::int32_t>(*change.slot));
    return fail(fmt::format("Invalid keyslot {} specified, must be between 0 and {}", shown, kLast));
  }
  if (!change.activate) {
    if (change.slot || change.removed != nullptr) return {};
    return fail(
        "To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given");
  }
  if (!change.slot && !free_slot(header)) return fail("Can't add a keyslot - all keyslots are in use");
  if (change.slot && header.slots[static_cast<std::size_t>(*change.slot)].active && !change.force) {
    return fail(fmt::format("Refusing to overwrite active keyslot {} - please erase it first", *change.slot));
  }
  return {};
}

aio::Task<Result<>> change_luks_slots(LuksStorage& storage, LuksHeader& header, LuksChange change) {
  CO_TRY(check_luks_change(header, change));
  if (change.activate) co_return co_await add_passphrase(storage, header, change);
  if (change.slot) co_return co_await remove_slot(storage, header, change);
  co_return co_await remove_passphrase(storage, header, change);
}

}  // namespace blockexport::crypto
