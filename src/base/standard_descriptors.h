// Descriptors 0, 1 and 2 are always there, and are never anything but standard input, output and error.
//
// Cron, supervisors and `command <&-` start programs with some of them closed. The next thing that is opened would get
// the number: a line of the log would then go to a disk image, and --daemonize would close the descriptor on which
// signals arrive. Thread: main, before others run, but for the last function: any.
#pragma once

namespace blockexport {

// The first act of a program: opens /dev/null for those that are closed, input for reading and the others for writing,
// inherited by children as they are. Where there is no /dev/null, the number is taken by something that can be neither
// read nor written.
void open_standard_descriptors();

// For a descriptor that was handed down and may be one of the three: the same file under another number,
// close-on-exec, and /dev/null in its old place; `fd` itself when it is no standard descriptor. -1 and errno when the
// process has no number left: then nothing has changed.
int moved_from_standard_descriptors(int fd);

}  // namespace blockexport
