// Reservation of descriptors 0, 1 and 2, so that they are always standard input, output and error.
//
// Cron, supervisors and `command <&-` start programs with some of them closed. The next file that is opened would get
// the number: a log line could then go to a disk image, and --daemonize would close the signalfd. Thread:
// open_standard_descriptors(): main, before others run; the other function: any.
#pragma once

namespace blockexport {

// Called first in main(): opens /dev/null for each of the three that is closed, input for reading and the others for
// writing, without close-on-exec. Where there is no /dev/null, a descriptor that can be neither read nor written takes
// the number.
void open_standard_descriptors();

// Moves an inherited descriptor that may be one of the three: returns a new close-on-exec descriptor of the same file,
// and opens /dev/null at the old number. Returns `fd` itself when it is no standard descriptor; -1 with errno set, and
// no change, when the process has no descriptor left.
int moved_from_standard_descriptors(int fd);

}  // namespace blockexport
