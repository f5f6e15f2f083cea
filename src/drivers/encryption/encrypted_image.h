// EncryptedImage: the LUKS header of an image that a node shows, for a job that changes its key slots.
//
// A part of the drivers luks and qcow2; it lives as long as the driver. Thread: the control reactor, and any for
// storage_node().
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "block/node.h"
#include "crypto/luks_header.h"

namespace blockexport::drivers {

class EncryptedImage {
 public:
  // Null: the image is encrypted in another way.
  virtual const crypto::LuksHeader* luks_header() const = 0;
  // Called when a changed header is in storage.
  virtual void set_luks_header(crypto::LuksHeader header) = 0;
  // The place of the header: for a caller inside the gate of an edge above.
  virtual block::Node& luks_node() const = 0;
  virtual std::uint64_t luks_offset() const = 0;
  // The id of the secret with the passphrase that opened the image.
  virtual const std::string& key_secret() const = 0;

  // True from the first call on until end_key_change(): one change at a time. Returns false if one is under way.
  bool begin_key_change() { return !std::exchange(is_changing_, true); }
  void end_key_change() { is_changing_ = false; }

 protected:
  ~EncryptedImage() = default;

 private:
  bool is_changing_ = false;
};

}  // namespace blockexport::drivers
