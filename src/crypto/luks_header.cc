#include "crypto/luks_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/printable.h"
#include "crypto/hash.h"

namespace blockexport::crypto {
namespace {

constexpr std::string_view kMagic{"LUKS\xba\xbe", 6};
constexpr std::uint16_t kVersion = 1;
constexpr std::uint32_t kSlotActive = 0x00AC71F3;
constexpr std::uint32_t kSlotInactive = 0x0000DEAD;
constexpr std::size_t kNameBytes = 32;
constexpr std::size_t kUuidBytes = 40;

// The fields of the header as they stand there.
struct Fields {
  std::string_view magic;
  std::uint16_t version = 0;
  std::string_view cipher_name;
  std::string_view cipher_mode;
  std::string_view hash_name;
  std::uint32_t key_bytes = 0;
  std::array<std::uint32_t, kLuksSlots> states = {};
};

std::uint64_t divided_up(std::uint64_t value, std::uint64_t by) {
  return (value + by - 1) / by;
}

// The sectors that a slot takes.
std::uint64_t slot_sectors(std::uint64_t key_bytes) {
  const std::uint64_t sectors = divided_up(key_bytes * kLuksStripes, kLuksSectorBytes);
  return divided_up(sectors, kLuksMaterialAlignmentSectors) * kLuksMaterialAlignmentSectors;
}

template <std::size_t size>
std::array<std::byte, size> read_array(ByteReader& reader) {
  std::array<std::byte, size> array{};
  std::ranges::copy(reader.bytes(size), array.begin());
  return array;
}

std::string_view cut(std::string_view field) {
  return field.substr(0, field.find('\0'));
}

Fields read_fields(ByteReader& reader, LuksHeader& header) {
  Fields fields;
  fields.magic = reader.text(kMagic.size());
  fields.version = reader.u16();
  fields.cipher_name = reader.text(kNameBytes);
  fields.cipher_mode = reader.text(kNameBytes);
  fields.hash_name = reader.text(kNameBytes);
  header.payload_sector = reader.u32();
  fields.key_bytes = reader.u32();
  header.digest = read_array<kLuksDigestBytes>(reader);
  header.digest_salt = read_array<kLuksSaltBytes>(reader);
  header.digest_iterations = reader.u32();
  header.uuid = cut(reader.text(kUuidBytes));
  for (std::size_t i = 0; i < kLuksSlots; ++i) {
    LuksSlot& slot = header.slots[i];
    fields.states[i] = reader.u32();
    slot.active = fields.states[i] == kSlotActive;
    slot.iterations = reader.u32();
    slot.salt = read_array<kLuksSaltBytes>(reader);
    slot.material_sector = reader.u32();
    slot.stripes = reader.u32();
  }
  return fields;
}

Result<> check_names(const Fields& fields) {
  if (fields.magic != kMagic) return fail("Volume is not in LUKS format");
  if (fields.version != kVersion) return fail(fmt::format("LUKS version {} is not supported", fields.version));
  if (!fields.cipher_name.contains('\0')) return fail("LUKS header cipher name is not NUL terminated");
  if (!fields.cipher_mode.contains('\0')) return fail("LUKS header cipher mode is not NUL terminated");
  if (!fields.hash_name.contains('\0')) return fail("LUKS header hash spec is not NUL terminated");
  return {};
}

Result<> check_slot(const LuksHeader& header, std::size_t i, std::uint64_t length, const Fields& fields,
                    LuksPlacement placement) {
  const LuksSlot& slot = header.slots[i];
  const std::uint64_t begin = slot.material_sector;
  if (slot.stripes != kLuksStripes) {
    return fail(fmt::format("Keyslot {} is corrupted (stripes {} != {})", i, static_cast<std::int32_t>(slot.stripes),
                            kLuksStripes));
  }
  if (begin < kLuksMaterialAlignmentSectors) {
    return fail(fmt::format("Keyslot {} is overlapping with the LUKS header", i));
  }
  if (fields.states[i] != kSlotActive && fields.states[i] != kSlotInactive) {
    return fail(fmt::format("Keyslot {} state (active/disable) is corrupted", i));
  }
  if (slot.active && slot.iterations == 0) return fail(fmt::format("Keyslot {} iteration count is zero", i));
  if (placement == LuksPlacement::kBeforeData && begin + length > header.payload_sector) {
    return fail(fmt::format("Keyslot {} is overlapping with the encrypted payload", i));
  }
  for (std::size_t j = i + 1; j < kLuksSlots; ++j) {
    const std::uint64_t other = header.slots[j].material_sector;
    if (begin + length > other && other + length > begin) {
      return fail(fmt::format("Keyslots {} and {} are overlapping in the header", i, j));
    }
  }
  return {};
}

Result<> check_places(const LuksHeader& header, const Fields& fields, LuksPlacement placement) {
  if (placement == LuksPlacement::kBeforeData && header.payload_sector < kLuksMaterialAlignmentSectors) {
    return fail("LUKS payload is overlapping with the header");
  }
  if (header.digest_iterations == 0) return fail("LUKS key iteration count is zero");
  const std::uint64_t length = slot_sectors(fields.key_bytes);
  for (std::size_t i = 0; i < kLuksSlots; ++i) TRY(check_slot(header, i, length, fields, placement));
  return {};
}

Result<HashAlgorithm> parse_hash(std::string_view name) {
  if (const auto hash = hash_named(name)) return *hash;
  return fail(fmt::format("Hash algorithm '{}' is not supported", printable(name)));
}

// The form of the field is MODE-GENERATOR or MODE-GENERATOR:HASH.
Result<CipherSpec> parse_cipher(std::string_view name, std::string_view mode_field, std::uint32_t key_bytes) {
  const std::size_t dash = mode_field.find('-');
  if (dash == std::string_view::npos) {
    return fail(fmt::format("Unexpected cipher mode string format '{}'", printable(mode_field)));
  }
  const std::string_view mode_name = mode_field.substr(0, dash);
  std::string_view generator_name = mode_field.substr(dash + 1);
  CipherSpec spec;
  if (const std::size_t colon = generator_name.find(':'); colon != std::string_view::npos) {
    TRY_ASSIGN(spec.iv_hash, parse_hash(generator_name.substr(colon + 1)));
    generator_name = generator_name.substr(0, colon);
  }
  const auto mode = cipher_mode_named(mode_name);
  if (!mode) return fail(fmt::format("Cipher mode '{}' is not supported", printable(mode_name)));
  spec.mode = *mode;
  if (!is_family(name)) return fail(fmt::format("Algorithm '{}' not supported", printable(name)));
  const auto algorithm = cipher_of(name, spec.mode, key_bytes);
  if (!algorithm) {
    return fail(
        fmt::format("Algorithm '{}' with key size {} bytes not supported", name, static_cast<std::int32_t>(key_bytes)));
  }
  spec.algorithm = *algorithm;
  const auto generator = iv_generator_named(generator_name);
  if (!generator) return fail(fmt::format("IV generator '{}' is not supported", printable(generator_name)));
  spec.iv = *generator;
  return spec;
}

std::string mode_field_of(const CipherSpec& cipher) {
  std::string field = fmt::format("{}-{}", name_of(cipher.mode), name_of(cipher.iv));
  if (cipher.iv_hash) field += fmt::format(":{}", name_of(*cipher.iv_hash));
  return field;
}

void write_text(ByteWriter& writer, std::string_view text, std::size_t field_bytes) {
  text = text.substr(0, field_bytes);
  writer.text(text);
  for (std::size_t i = text.size(); i < field_bytes; ++i) writer.u8(0);
}

// RFC 9562, version 4.
std::string make_uuid() {
  std::array<std::byte, 16> bytes{};
  fill_nonce(bytes);
  bytes[6] = (bytes[6] & std::byte{0x0f}) | std::byte{0x40};
  bytes[8] = (bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", static_cast<unsigned>(bytes[i]));
  }
  return text;
}

}  // namespace

std::size_t LuksHeader::material_bytes() const {
  return divided_up(split_key_bytes(), kLuksSectorBytes) * kLuksSectorBytes;
}

unsigned LuksHeader::active_slots() const {
  return static_cast<unsigned>(std::ranges::count_if(slots, &LuksSlot::active));
}

Result<> check_luks_iterations(const LuksHeader& header) {
  const auto too_many = [](std::uint64_t iterations, std::uint64_t limit) {
    return fail(Error(fmt::format("PBKDF iterations {} larger than {}", iterations, limit))
                    .with_hint("Passphrases of this image take too long to check for this program."));
  };
  if (header.digest_iterations > kLuksIterationsMax) return too_many(header.digest_iterations, kLuksIterationsMax);
  std::uint64_t sum = 0;
  for (const LuksSlot& slot : header.slots) {
    if (!slot.active) continue;
    if (slot.iterations > kLuksIterationsMax) return too_many(slot.iterations, kLuksIterationsMax);
    sum += slot.iterations;
  }
  if (sum > kLuksIterationsOfSlotsMax) return too_many(sum, kLuksIterationsOfSlotsMax);
  return {};
}

Result<LuksHeader> parse_luks_header(std::span<const std::byte> bytes, LuksPlacement placement) {
  LuksHeader header;
  std::array<std::byte, kLuksHeaderBytes> padded{};
  std::ranges::copy(bytes.first(std::min(bytes.size(), padded.size())), padded.begin());
  ByteReader reader(padded);
  const Fields fields = read_fields(reader, header);
  TRY(check_names(fields));
  TRY(check_places(header, fields, placement));
  TRY_ASSIGN(header.cipher, parse_cipher(cut(fields.cipher_name), cut(fields.cipher_mode), fields.key_bytes));
  TRY_ASSIGN(header.hash, parse_hash(cut(fields.hash_name)));
  TRY(check_spec(header.cipher));
  if (!is_built(header.hash)) return fail(fmt::format("Unsupported hash algorithm {}", name_of(header.hash)));
  TRY(check_luks_iterations(header));
  return header;
}

std::vector<std::byte> encode_luks_header(const LuksHeader& header) {
  std::vector<std::byte> bytes(kLuksHeaderBytes);
  ByteWriter writer(bytes);
  writer.text(kMagic);
  writer.u16(kVersion);
  write_text(writer, family_of(header.cipher.algorithm), kNameBytes);
  write_text(writer, mode_field_of(header.cipher), kNameBytes);
  write_text(writer, name_of(header.hash), kNameBytes);
  writer.u32(header.payload_sector);
  writer.u32(static_cast<std::uint32_t>(header.key_bytes()));
  writer.bytes(header.digest);
  writer.bytes(header.digest_salt);
  writer.u32(header.digest_iterations);
  write_text(writer, header.uuid, kUuidBytes);
  for (const LuksSlot& slot : header.slots) {
    writer.u32(slot.active ? kSlotActive : kSlotInactive);
    writer.u32(slot.iterations);
    writer.bytes(slot.salt);
    writer.u32(slot.material_sector);
    writer.u32(slot.stripes);
  }
  return bytes;
}

Result<LuksHeader> make_luks_header(const CipherSpec& cipher, HashAlgorithm hash, LuksPlacement placement) {
  if (!is_family(family_of(cipher.algorithm))) {
    return fail(fmt::format("Algorithm '{}' not supported", name_of(cipher.algorithm)));
  }
  TRY(check_spec(cipher));
  if (!is_built(hash)) return fail(fmt::format("PBKDF does not support hash algorithm {}", name_of(hash)));
  LuksHeader header{.cipher = cipher, .hash = hash, .uuid = make_uuid()};
  const auto length = static_cast<std::uint32_t>(slot_sectors(header.key_bytes()));
  for (std::uint32_t i = 0; i < kLuksSlots; ++i) {
    header.slots[i].material_sector = kLuksMaterialAlignmentSectors + i * length;
  }
  if (placement == LuksPlacement::kBeforeData) {
    header.payload_sector = kLuksMaterialAlignmentSectors + kLuksSlots * length;
  }
  return header;
}

std::uint64_t luks_header_area_bytes(const LuksHeader& header) {
  std::uint64_t end = 0;
  for (const LuksSlot& slot : header.slots) {
    end = std::max(end, slot.material_sector + slot_sectors(header.key_bytes()));
  }
  return end * kLuksSectorBytes;
}

}  // namespace blockexport::crypto
