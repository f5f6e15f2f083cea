// Identity and generation of a host file or block device, for a bitmap store (block/image_identity.h).
//
// A file is known by its inode number and the time of its creation, so a copy of it is another image; its generation is
// the times of its modification and change. A block device is known by a name that the kernel keeps across restarts;
// its generation is the number of writes since it appeared, which says nothing about earlier times. These functions
// block: the driver calls them on a worker. Thread: any.
#pragma once

#include <expected>
#include <string>

#include "base/errno.h"
#include "block/image_identity.h"

namespace blockexport::drivers {

// ENODATA: the kernel knows no lasting name of the device.
std::expected<block::ImageIdentity, Errno> identity_of_file(int fd);
std::expected<block::ImageIdentity, Errno> identity_of_device(int fd);

// The same for a device by its numbers, with the directory where the kernel describes devices ("/sys"), and the
// identifier of this boot.
std::expected<block::ImageIdentity, Errno> identity_of_device(const std::string& sysfs, const std::string& boot_id,
                                                              unsigned major, unsigned minor);

}  // namespace blockexport::drivers
