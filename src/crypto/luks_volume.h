// The header and the key slots of a LUKS disk in storage: reading, opening, creating, and changes of key slots.
//
// Passphrases are tried, and keys derived, on worker threads of the calling task's reactor. A change is written such
// that a cut at any write leaves the old state or the new one: see change_luks_slots(). Errors are for users, with the
// texts of qemu-storage-daemon. Thread: the reactor of the calling task.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "aio/task/task.h"
#include "base/errno.h"
#include "base/error.h"
#include "base/secret_bytes.h"
#include "crypto/luks_header.h"

namespace blockexport::crypto {

// The storage that has the header at offset 0. Errors are the storage's own.
class LuksStorage {
 public:
  virtual aio::Task<IoResult> read(std::uint64_t offset, std::span<std::byte> bytes) = 0;
  virtual aio::Task<IoResult> write(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  virtual aio::Task<IoResult> flush() = 0;

 protected:
  ~LuksStorage() = default;
};

using Passphrase = std::shared_ptr<const SecretBytes>;

// The passphrase in a secret object's bytes. Fails unless they are UTF-8 without zero bytes; `id`: of the object.
Result<Passphrase> passphrase_of(Passphrase secret, std::string_view id);

aio::Task<Result<LuksHeader>> read_luks_header(LuksStorage& storage, LuksPlacement placement);

// The master key, by the first key slot that the passphrase opens.
aio::Task<Result<SecretBytes>> unlock_luks(LuksStorage& storage, const LuksHeader& header, Passphrase passphrase);

struct NewLuks {
  LuksHeader header = {};
  SecretBytes master_key = {};
};

// Writes `header`, one of make_luks_header(), with a new master key, which the passphrase opens in slot 0. The header
// is written last, and all is durable then. Storage that has a header loses it first.
aio::Task<Result<NewLuks>> create_luks(LuksStorage& storage, LuksHeader header, Passphrase passphrase,
                                       std::uint64_t iteration_time_ms);

// A change of the key slots.
struct LuksChange {
  bool activate = true;  // add a passphrase; else remove some
  std::optional<std::int64_t> slot = std::nullopt;
  Passphrase current = nullptr;            // opens the disk now; for `activate`
  Passphrase added = nullptr;              // for `activate`
  Passphrase removed = nullptr;            // whose slots are removed; null: that of `slot`
  std::uint64_t iteration_time_ms = 2000;  // for `activate`
  bool force = false;
};

// The checks of a change that need no passphrase; they come first.
Result<> check_luks_change(const LuksHeader& header, const LuksChange& change);

// Makes the change in storage and then in `header`. A new key is written to its slot before the header says that the
// slot is active, and a slot is marked as inactive before its key is overwritten. If a forced change overwrites an
// active slot, a free one has the new key meanwhile.
aio::Task<Result<>> change_luks_slots(LuksStorage& storage, LuksHeader& header, LuksChange change);

}  // namespace blockexport::crypto
