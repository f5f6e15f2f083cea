// With command_tree.cc and operate_commands.cc the only file that includes CLI11 and is compiled with exceptions; none
// leaves it.
#include "client/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/print.h"
#include "base/similar_text.h"
#include "client/backup/copier.h"
#include "client/backup/export_client.h"
#include "client/backup/map.h"
#include "client/backup/pull.h"
#include "client/backup/restore.h"
#include "client/command_tree.h"
#include "client/image/bitmap_verb.h"
#include "client/image/check_verb.h"
#include "client/image/compare_verb.h"
#include "client/image/convert_verb.h"
#include "client/image/create_verb.h"
#include "client/image/image_options.h"
#include "client/image/image_secrets.h"
#include "client/image/info_verb.h"
#include "client/image/map_verb.h"
#include "client/image/snapshot_verb.h"
#include "client/image/source_disk.h"
#include "client/monitor/backup_verbs.h"
#include "client/monitor/config_verbs.h"
#include "client/monitor/qmp_verb.h"
#include "client/monitor/reply.h"
#include "client/monitor/uri_verb.h"
#include "client/monitor_options.h"
#include "client/operate_commands.h"
#include "client/serve/serve.h"
#include "client/tls_check.h"
#include "client/tls_files.h"
#include "client/tls_holders.h"
#include "client/tls_init.h"

namespace blockexport::client {
namespace {

int report(const Error& error) {
  print(stderr, "blockexport: {}\n", error.message());
  if (!error.hint().empty()) print(stderr, "{}\n", error.hint());
  return kExitFailed;
}

// Hint for the first word that is no known command or option: a similar word; empty when there is none.
std::string hint_for(const CLI::App& app, int argument_count, char** arguments) {
  const CLI::App* command = &app;
  for (int i = 1; i < argument_count; ++i) {
    const std::string_view word = arguments[i];
    std::vector<std::string> names;
    if (word.starts_with("--")) {
      for (const CLI::Option* option : command->get_options()) {
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
      }
    } else {
      for (const CLI::App* one : command->get_subcommands({})) {
        if (!one->get_group().empty() && !one->get_name().empty()) names.push_back(one->get_name());
      }
      // Without subcommands the word is a value.
      if (names.empty()) continue;
    }
    const std::string_view name = word.substr(0, word.find('='));
    if (std::ranges::find(names, name) == names.end()) {
      return suggest_similar(name, std::vector<std::string_view>(names.begin(), names.end()));
    }
    if (!word.starts_with("--")) command = command->get_subcommand(std::string(name));
  }
  return {};
}

int print_report(const Result<TlsReport>& found) {
  if (!found) return report(found.error());
  print(stdout, "{}", found->text);
  return found->has_fault ? kExitFailed : kExitFine;
}

// The output may be an archive with a secret key, hence the wipe.
int print_made(Result<std::string> made) {
  if (!made) return report(made.error());
  const bool is_written =
      std::fwrite(made->data(), 1, made->size(), stdout) == made->size() && std::fflush(stdout) == 0;
  wipe(*made);
  if (is_written) return kExitFine;
  return report(Error::system("cannot write to standard output", Errno::last()));
}

// The commands `add`, `renew`, `revoke` and `bundle`, and their options.
struct HolderCommands {
  TlsHolderOptions options;
  CLI::App* add;
  CLI::App* renew;
  CLI::App* revoke;
  CLI::App* bundle;

  explicit HolderCommands(CLI::App& tls)
      : add(tls.add_subcommand("add", "Add a client, a server, or a user of a pre-shared key")),
        renew(tls.add_subcommand("renew", "Make certificates valid for longer; all in the directory, or one")),
        revoke(tls.add_subcommand("revoke", "Revoke the certificate of a client or server, in a new ca-crl.pem")),
        bundle(tls.add_subcommand("bundle",
                                  "Pack the files that a client or server needs on its host, and nothing else")) {
    for (CLI::App* command : {add, renew, revoke, bundle}) {
      command->add_option("DIR", options.directory, "The directory")->required();
      command->add_option("--client", options.client, "Name of the client");
      command->add_option("--server", options.server, "Name of the server");
      command->add_flag("--psk", options.psk, "Use a pre-shared key, although the directory has certificates too");
    }
    for (CLI::App* command : {add, renew, revoke}) {
      command->add_option("--ca-key", options.ca_key, "The key of the CA (default: DIR/ca-key.pem)");
    }
    for (CLI::App* command : {add, renew}) {
      command->add_option("--days", options.days, "How long the certificates are valid (default: 365)");
    }
    add->add_option("--host", options.hosts, "Host name or IP address of the server, repeatable (default: its name)")
        ->allow_extra_args(false);
    renew->add_flag("--new-key", options.new_key, "With a new key too");
    revoke->add_option("--certificate", options.certificate, "File of a certificate, instead of a name");
    bundle->add_option("--output", options.output, "The archive; - is standard output (default: NAME.tar)");
  }

  // Runs the command that was given; nothing when it was none of these.
  std::optional<int> run() const {
    if (add->parsed()) return print_made(tls_add(options));
    if (renew->parsed()) return print_made(tls_renew(options));
    if (revoke->parsed()) return print_made(tls_revoke(options));
    if (bundle->parsed()) return print_made(tls_bundle(options));
    return std::nullopt;
  }
};

int code_of(const Result<int>& done) {
  return done ? *done : report(done.error());
}

// The exit code of a command that prints its results itself.
int code_of(const Result<>& done) {
  return done ? kExitFine : report(done.error());
}

int misused(std::string_view message, std::string_view command) {
  print(stderr, "blockexport: {}\nSee: blockexport {} --help\n", message, command);
  return kExitUsage;
}

// The commands that work with exports and backups, and their options.
struct BackupCommands {
  backup::MapOptions map_options;
  backup::PullOptions pull_options;
  backup::RestoreOptions restore_options;
  CLI::App* map;
  CLI::App* pull;
  CLI::App* restore;

  explicit BackupCommands(CLI::App& app)
      : map(app.add_subcommand("map", "Show which extents of an NBD export are data, holes or changed")),
        pull(app.add_subcommand("pull", "Copy an NBD export: into a raw image, or as a point into a directory")),
        restore(app.add_subcommand("restore", "Rebuild the raw image of a point; or list the points")) {
    map->add_option("URI", map_options.uri, "The NBD URI of the export")->required();
    map->add_option("--context", map_options.context,
                    "The meta context, such as qemu:dirty-bitmap:NAME (default: base:allocation)");
    map->add_flag("--json", map_options.is_json, "Print JSON, as `nbdinfo --map --json` does");
    map->add_flag("--totals", map_options.totals_only, "Print only the sum of the extents of each type");
    add_timeout(map, map_options.timeout_seconds);
    add_pull_options();
    restore->add_option("DIRECTORY", restore_options.directory, "The directory of the points")->required();
    restore->add_option("TARGET", restore_options.target, "The raw image: a new file, or a block device");
    restore->add_option("--point", restore_options.point_id, "The point (default: the newest)");
    restore->add_flag("--list", restore_options.lists, "List the points, and whether each can be restored");
    restore->add_flag("--verify", restore_options.verifies, "Read the image back and compare it");
    restore->add_flag("--overwrite", restore_options.overwrites, "Replace an existing file, or write to a device");
    add_output(restore, restore_options.progress, restore_options.is_json);
  }

  void add_pull_options() {
    pull->add_option("URI", pull_options.uri, "The NBD URI of the export")->required();
    pull->add_option("TARGET", pull_options.target, "A raw image: a new file, or a block device");
    pull->add_option("--into", pull_options.directory,
                     "Add a point to this directory: an incremental one if the export offers a dirty bitmap");
    pull->add_option("--bitmap", pull_options.bitmap, "The dirty bitmap, if the export offers several");
    pull->add_flag("--full", pull_options.is_full, "Add a full point, whatever the export offers");
    pull->add_flag("--incremental", pull_options.is_incremental, "Fail instead of adding a full point");
    pull->add_flag("--other-export", pull_options.accepts_other_export,
                   "The directory has points of the same disk under another export name");
    pull->add_flag("--resume", pull_options.is_resumed,
                   "Continue an interrupted pull, if any; the export must still show the same point in time");
    pull->add_flag("--verify", pull_options.verifies, "Read the copy back and compare checksums");
    pull->add_flag("--overwrite", pull_options.overwrites, "Replace an existing file, or write to a device");
    pull->add_option("--connections", pull_options.connections, "Number of connections (default: 4 with multi-conn)")
        ->check(CLI::Range(1u, backup::kConnectionsMax));
    pull->add_option("--requests", pull_options.requests,
                     "Reads in flight on each connection (default: 32 over all connections)")
        ->check(CLI::Range(1u, backup::kRequestsMax));
    add_timeout(pull, pull_options.timeout_seconds);
    add_output(pull, pull_options.progress, pull_options.is_json);
  }

  static void add_timeout(CLI::App* command, unsigned& seconds) {
    command->add_option("--timeout", seconds, "Seconds for which the server may send nothing (default: 300)")
        ->check(CLI::Range(1u, backup::kTimeoutSecondsMax));
  }

  static void add_output(CLI::App* command, std::string& progress, bool& is_json) {
    command->add_flag("--progress", progress,
                      "Show the progress also without a terminal; --progress=FD writes lines like 12/100 there");
    command->add_flag("--json", is_json, "Print the result, and the lines of --progress, as JSON");
  }

  // Runs the command that was given; nothing when it was none of these.
  std::optional<int> run() const {
    if (map->parsed()) return code_of(backup::print_map(map_options));
    if (pull->parsed()) {
      if (pull_options.target.empty() != pull_options.directory.empty()) return code_of(backup::pull(pull_options));
      return misused("pull needs a TARGET, or a directory with --into", "pull");
    }
    if (!restore->parsed()) return std::nullopt;
    if (!restore_options.lists) {
      if (!restore_options.target.empty()) return code_of(backup::restore(restore_options));
      return misused("restore needs a TARGET, or --list", "restore");
    }
    bool has_fault = false;
    const int code = code_of(backup::list_points(restore_options, has_fault));
    return has_fault ? kExitFailed : code;
  }
};

// `blockexport image`: the verbs that open image files in this process.
struct ImageCommands {
  image::ImageOptions options;
  image::CreateOptions create_options;
  image::CompareOptions compare_options;
  image::ConvertOptions convert_options;
  std::vector<std::string> convert_names;  // of the sources and the target
  std::string source_format;
  bool images_are_options = false;  // of convert and compare
  image::BitmapOptions bitmap_options;
  image::SnapshotActions snapshot_actions;
  CLI::App* info;
  CLI::App* check;
  CLI::App* map;
  CLI::App* create;
  CLI::App* compare;
  CLI::App* convert;
  CLI::App* bitmap;
  CLI::App* snapshot;

  explicit ImageCommands(CLI::App& app) {
    CLI::App* image =
        app.add_subcommand("image", "Create, convert and compare image files, look at them, check and repair them");
    image->require_subcommand(1);
    info = image->add_subcommand("info", "Show what an image says about itself");
    add_common(info);
    info->add_flag("--backing-chain", options.shows_backing_chain, "Show the backing files too");
    map = image->add_subcommand("map", "Show where the bytes of an image and its backing files are");
    add_common(map);
    map->add_option("--start-offset", options.start_offset, "Offset of the first byte to show (default: 0)");
    map->add_option("--max-length", options.length_max, "Number of bytes to show (default: all)");
    check = image->add_subcommand("check", "Check the consistency of a qcow2 image, and repair it");
    add_common(check);
    check->add_option("-r,--repair", options.repair, "Repair leaks, or all that can be repaired without loss")
        ->check(CLI::IsMember({"leaks", "all"}));
    check->add_flag("-q,--quiet", options.is_quiet, "Print errors alone");
    create = image->add_subcommand("create", "Create an image; what a file of that name has is lost");
    add_create_options();
    compare = image->add_subcommand("compare", "Compare the disks that two images show: 0 equal, 1 different, 2 error");
    add_compare_options();
    convert = image->add_subcommand("convert", "Copy the disk that an image shows to a new image");
    add_convert_options();
    bitmap =
        image->add_subcommand("bitmap", "Change persistent bitmaps of a qcow2 image; the changes take effect in order");
    add_bitmap_options();
    snapshot = image->add_subcommand("snapshot", "List the snapshots inside an image; take, delete or apply one");
    add_snapshot_options();
  }

  void add_snapshot_options() {
    add_common(snapshot);
    CLI::Option_group* const actions = snapshot->add_option_group("actions");
    actions->add_flag("-l,--list", snapshot_actions.lists, "List the snapshots, which is done without an action too");
    actions->add_option("-c,--create", snapshot_actions.created, "Take a snapshot with this name");
    actions->add_option("-d,--delete", snapshot_actions.deleted, "Delete the snapshot with this name");
    actions->add_option("-a,--apply", snapshot_actions.applied,
                        "Go back to the snapshot with this ID or name; the disk as it is now is lost");
    actions->require_option(0, 1);
    snapshot->add_flag("-q,--quiet", options.is_quiet, "Print errors alone");
  }

  void add_create_options() {
    create->add_option("FILE", create_options.filename, "The image file")->required();
    create->add_option("SIZE", create_options.size,
                       "Bytes of the disk, or with a suffix K, M, G, T, P or E (default: as the backing file)");
    create->add_option("-f,--format", create_options.format, "The image's format: luks, qcow2 or raw (default: raw)")
        ->check(CLI::IsMember({"luks", "qcow2", "raw"}));
    add_objects(create, create_options.objects);
    create->add_option("-b,--backing-file", create_options.backing,
                       "The image below: its name, relative to the directory of FILE");
    create->add_option("-F,--backing-format", create_options.backing_format, "The format of the image below");
    create
        ->add_option("-o,--options", create_options.options,
                     "NAME=VALUE,...: cluster_size, compat, compression_type, data_file, data_file_raw, extended_l2, "
                     "extent_size_hint, lazy_refcounts, nocow, preallocation, refcount_bits; encrypt.format=luks, "
                     "encrypt.key-secret, encrypt.cipher-alg, ...; of luks: key-secret, cipher-alg, cipher-mode, "
                     "ivgen-alg, ivgen-hash-alg, hash-alg, iter-time, detached-header; repeatable")
        ->allow_extra_args(false);
    create->add_flag("-u,--unsafe", create_options.is_unsafe, "Do not open the backing file; then SIZE is needed");
    create->add_flag("--json", create_options.is_json, "Print what was made as JSON, as `image info --json` does");
    create->add_option("--output", create_options.output, "human or json")->check(CLI::IsMember({"human", "json"}));
    create->add_flag("-q,--quiet", create_options.is_quiet, "Print errors alone");
  }

  void add_compare_options() {
    compare->add_option("FIRST", compare_options.first.text, "The first image")->required();
    compare->add_option("SECOND", compare_options.second.text, "The second image")->required();
    add_format("-f,--format", compare, compare_options.first.format, "Format of the first image");
    add_format("-F,--second-format", compare, compare_options.second.format, "Format of the second image");
    add_objects(compare, compare_options.objects);
    compare->add_flag("--image-opts", images_are_options, "FIRST and SECOND are options of nodes, NAME=VALUE,...");
    add_tasks(compare, compare_options.tasks);
    compare->add_flag("-s,--strict", compare_options.is_strict, "Sizes and allocation have to be equal, too");
    compare->add_flag("-p,--progress", compare_options.shows_progress, "Show the progress");
    compare->add_flag("--json", compare_options.is_json, "Print the result as JSON");
    compare->add_flag("-q,--quiet", compare_options.is_quiet, "Print errors alone");
    compare->add_flag("-U,--force-share", compare_options.force_share,
                      "Open the images although another process writes to them");
  }

  void add_convert_options() {
    image::CreateOptions& target = convert_options.target;
    convert
        ->add_option("IMAGES", convert_names,
                     "SOURCE... TARGET: images to copy, whose disks follow one another; then the new image, where what "
                     "a file of that name has is lost")
        ->expected(2, static_cast<int>(image::kSourcesMax) + 1)
        ->required();
    add_format("-f,--format", convert, source_format, "Format of the sources");
    convert->add_option("-O,--target-format", target.format, "Format of the target: luks, qcow2 or raw (default: raw)")
        ->check(CLI::IsMember({"luks", "qcow2", "raw"}));
    add_objects(convert, target.objects);
    convert->add_flag("--image-opts", images_are_options, "The sources are options of nodes, NAME=VALUE,...");
    convert->add_flag("--target-image-opts", convert_options.target_is_options,
                      "The target is options of a node, NAME=VALUE,...; needs -n");
    convert->add_option("-o,--options", target.options, "NAME=VALUE,... as for `image create`; repeatable")
        ->allow_extra_args(false);
    convert->add_option("-B,--backing-file", target.backing,
                        "The image below the target, which gets only the clusters that differ from it");
    convert->add_option("-F,--backing-format", target.backing_format, "Format of the image below the target");
    convert->add_flag("-c,--compress", convert_options.is_compressed, "Compress the data of a qcow2 target");
    convert->add_option("-S,--sparse-size", convert_options.sparse_size,
                        "Zeroes that become a hole: at least so many bytes (default: 4k; 0: no hole is made)");
    convert->add_flag("-n,--no-create", convert_options.is_existing, "The target exists, and is at least as large");
    convert->add_flag("--target-is-zero", convert_options.target_is_zero, "The existing target has zeroes alone");
    convert->add_flag("--bitmaps", convert_options.with_bitmaps, "Copy the persistent bitmaps, too");
    add_tasks(convert, convert_options.tasks);
    convert->add_flag("-p,--progress", convert_options.shows_progress, "Show the progress");
    convert->add_flag("--json", target.is_json, "Print what was made as JSON, as `image info --json` does");
    convert->add_flag("-q,--quiet", target.is_quiet, "Print errors alone");
    convert->add_flag("-U,--force-share", convert_options.force_share,
                      "Open the source although another process writes to it");
  }

  void add_bitmap_options() {
    bitmap->add_option("FILE", bitmap_options.image.text, "The image file")->required();
    bitmap->add_option("BITMAP", bitmap_options.name, "Name of the bitmap")->required();
    bitmap
        ->add_option("-f,--format", bitmap_options.image.format,
                     "The image's format: qcow2 (default: as the file tells)")
        ->check(CLI::IsMember({"qcow2", "raw"}));
    add_objects(bitmap, bitmap_options.objects);
    add_image_options(bitmap, bitmap_options.image);
    using Kind = image::BitmapAction::Kind;
    const auto add_action = [this](const char* name, Kind kind, const char* text) {
      const auto note = [this, kind](std::int64_t) { bitmap_options.actions.push_back({.kind = kind}); };
      bitmap->add_flag_function(name, note, text)->trigger_on_parse();
    };
    add_action("--add", Kind::kAdd, "Add it, recording");
    add_action("--remove", Kind::kRemove, "Remove it");
    add_action("--clear", Kind::kClear, "Make it clean");
    add_action("--enable", Kind::kEnable, "Let it record changes");
    add_action("--disable", Kind::kDisable, "Let it record nothing");
    const auto note_merge = [this](const std::string& name) {
      bitmap_options.actions.push_back({.kind = Kind::kMerge, .source = name});
    };
    bitmap->add_option_function<std::string>("--merge", note_merge, "Add what is dirty in the bitmap of that name")
        ->trigger_on_parse()
        ->allow_extra_args(false);
    bitmap->add_option("-g,--granularity", bitmap_options.granularity, "Bytes of the disk for each bit, for --add");
    bitmap->add_option("-b,--source-file", bitmap_options.source_filename, "The image that has the bitmap of --merge");
    add_format("-F,--source-format", bitmap, bitmap_options.source_format, "Format of that image");
  }

  static void add_format(const char* name, CLI::App* command, std::string& format, const std::string& text) {
    command->add_option(name, format, text + ": qcow2 or raw (default: as the file tells)")
        ->check(CLI::IsMember({"luks", "parallels", "qcow2", "raw", "vdi", "vhdx", "vmdk", "vpc"}));
  }

  static void add_objects(CLI::App* command, image::ObjectTexts& objects) {
    command
        ->add_option("--object", objects,
                     "secret,id=ID,file=PATH: a file with a passphrase, which options name by the ID; repeatable")
        ->allow_extra_args(false);
  }

  static void add_image_options(CLI::App* command, image::ImageSource& source) {
    command->add_flag("--image-opts", source.is_options,
                      "FILE is options of a node, NAME=VALUE,..., as --blockdev of the daemon has them");
  }

  static void add_tasks(CLI::App* command, unsigned& tasks) {
    command->add_option("-m,--coroutines", tasks, "Number of requests at a time, from 1 to 16 (default: 8)")
        ->check(CLI::Range(1u, image::kImageTasksMax));
  }

  void add_common(CLI::App* command) {
    command->add_option("FILE", options.image.text, "The image file")->required();
    command
        ->add_option("-f,--format", options.image.format,
                     "The image's format: qcow2 or raw (default: as the file tells)")
        ->check(CLI::IsMember({"luks", "parallels", "qcow2", "raw", "vdi", "vhdx", "vmdk", "vpc"}));
    add_objects(command, options.objects);
    add_image_options(command, options.image);
    command->add_flag("--json", options.is_json, "Print JSON, as qemu-img does with --output=json");
    command->add_option("--output", options.output, "human or json")->check(CLI::IsMember({"human", "json"}));
    command->add_flag("-U,--force-share", options.force_share, "Open the image although another process writes to it");
  }

  image::ConvertOptions whole_convert_options() const {
    image::ConvertOptions whole = convert_options;
    for (const std::string& name : convert_names) {
      whole.sources.push_back({.text = name, .format = source_format, .is_options = images_are_options});
    }
    whole.target.filename = whole.sources.back().text;
    whole.sources.pop_back();
    return whole;
  }

  image::CompareOptions whole_compare_options() const {
    image::CompareOptions whole = compare_options;
    whole.first.is_options = images_are_options;
    whole.second.is_options = images_are_options;
    return whole;
  }

  // The exit code of the parsed command, if it is one of these.
  std::optional<int> run() const {
    if (info->parsed()) return code_of(image::print_info(options));
    if (check->parsed()) return code_of(image::check(options));
    if (map->parsed()) return code_of(image::print_map(options));
    if (snapshot->parsed()) return code_of(image::change_snapshots(options, snapshot_actions));
    if (create->parsed()) return code_of(image::create_image(create_options));
    if (convert->parsed()) return code_of(image::convert(whole_convert_options()));
    if (bitmap->parsed()) return code_of(image::change_bitmap(bitmap_options));
    if (compare->parsed()) {
      const Result<int> compared = image::compare(whole_compare_options());
      if (!compared) (void)report(compared.error());
      return compared.value_or(image::kExitCompareFailed);
    }
    return std::nullopt;
  }
};

// `blockexport serve`: the daemon for one command.
struct ServeCommand {
  serve::ServeOptions options;
  CLI::App* command;

  explicit ServeCommand(CLI::App& app)
      : command(app.add_subcommand("serve", "Export images until Ctrl-C, or until a command ends")) {
    command->add_option("IMAGE", options.images, "Files or block devices")->required();
    command->add_flag("-w,--writable", options.is_writable, "Clients may write (default: they only read)");
    command->add_option("-f,--format", options.format, "Format of the images (default: raw; other files are refused)")
        ->check(CLI::IsMember({"raw", "qcow2", "vdi", "vhdx", "vmdk", "vpc", "parallels"}));
    command
        ->add_option("-l,--listen", options.listen,
                     "unix:PATH, HOST:PORT, [IPV6]:PORT, :PORT or vsock:CID:PORT; repeatable (default: a private unix "
                     "socket)")
        ->allow_extra_args(false);
    command->add_option("-x,--export-name", options.export_name,
                        "Name of the only export (default: none; of several images: the names of their files)");
    command->add_option("--tls", options.tls_directory, "TLS with the credentials of this directory");
    command->add_option("--tls-client", options.tls_authz_identity,
                        "The only client that may come: the subject of its certificate, or its user name");
    command->add_option("--run", options.run, "A shell command, with $uri and $unixsocket; its end ends the server");
    command->add_flag("--exit-with-parent", options.exits_with_parent, "End with the program that started this one");
    command->add_flag("--json", options.is_json, "Print the URIs and the process ID as JSON");
  }

  std::optional<int> run() const {
    return command->parsed() ? std::optional(code_of(serve::serve(options))) : std::nullopt;
  }
};

// `blockexport backup`, `qmp` and `uri`: what a running daemon does or tells on request.
struct MonitorCommands {
  monitor::BackupBeginOptions begin_options;
  monitor::BackupEndOptions end_options;
  monitor::MonitorOptions list_options;
  monitor::QmpOptions qmp_options;
  monitor::UriOptions uri_options;
  CLI::App* begin;
  CLI::App* end;
  CLI::App* list;
  CLI::App* qmp;
  CLI::App* uri;

  explicit MonitorCommands(CLI::App& app) {
    CLI::App* backup = app.add_subcommand("backup", "Begin, end and list backups of a running blockexportd");
    backup->require_subcommand(1);
    begin = backup->add_subcommand("begin", "Fix the contents of disks at this moment, and export them");
    begin->add_option("ID", begin_options.id, "A name for the backup")->required();
    add_monitor(begin, begin_options.monitor);
    begin->add_option("--disk", begin_options.disks, "NODE, or NODE=EXPORT to choose the export's name; repeatable")
        ->required()
        ->allow_extra_args(false);
    begin->add_option("--checkpoint", begin_options.checkpoint,
                      "The dirty bitmap of the changes since the last backup; it makes this one incremental");
    begin
        ->add_option("--scratch-directory", begin_options.scratch_directory,
                     "Where the old contents of changed blocks are kept during the backup")
        ->required();
    begin->add_option("--cbw-timeout", begin_options.cbw_timeout_seconds,
                      "Seconds that a write waits for its copy; 0: no limit");
    add_json(begin, begin_options.monitor);
    end = backup->add_subcommand("end", "End a backup");
    end->add_option("ID", end_options.id, "The backup")->required();
    end->add_option("OUTCOME", end_options.outcome, "success, if all data were copied, or abort")
        ->required()
        ->check(CLI::IsMember({"success", "abort"}));
    add_monitor(end, end_options.monitor);
    end->add_flag("--force", end_options.force, "End with success although clients are connected");
    list = backup->add_subcommand("list", "List the running backups");
    add_monitor(list, list_options);
    add_json(list, list_options);
    qmp = app.add_subcommand("qmp", "Run a QMP command of a running blockexportd, and print its value as JSON");
    add_monitor(qmp, qmp_options.monitor);
    qmp->add_option("COMMAND", qmp_options.command, "The command, such as query-block-exports")->required();
    qmp->add_option("ARGUMENT", qmp_options.words,
                    "NAME=VALUE, with NAME.NAME and NAME.NUMBER for parts; or one JSON object; or 'help'");
    uri = app.add_subcommand("uri", "Print the URIs of exports of a running blockexportd");
    add_monitor(uri, uri_options.monitor);
    uri->add_option("EXPORT", uri_options.export_name, "The name of an export (default: all, with their names)");
    uri->add_option("--server", uri_options.server, "Only the URIs of this NBD server, such as default");
    add_json(uri, uri_options.monitor);
  }

  static void add_json(CLI::App* command, monitor::MonitorOptions& options) {
    command->add_flag("--json", options.is_json, "Print the daemon's reply");
  }

  // The exit code of the parsed command, if it is one of these.
  std::optional<int> run() const {
    if (begin->parsed()) return code_of(monitor::backup_begin(begin_options));
    if (end->parsed()) return code_of(monitor::backup_end(end_options));
    if (list->parsed()) return code_of(monitor::backup_list(list_options));
    if (qmp->parsed()) return code_of(monitor::run_qmp(qmp_options));
    if (uri->parsed()) return code_of(monitor::print_uris(uri_options));
    return std::nullopt;
  }
  static int code_of(const Result<>& done) { return done ? kExitFine : report(done.error()); }
};

// `blockexport config` and `reload`: the configuration of a running daemon.
struct ConfigCommands {
  monitor::MonitorOptions show_options;
  monitor::ReloadOptions diff_options;
  monitor::ReloadOptions reload_options;
  CLI::App* show;
  CLI::App* diff;
  CLI::App* reload;

  explicit ConfigCommands(CLI::App& app) {
    CLI::App* config = app.add_subcommand("config", "Show the configuration of a running blockexportd");
    config->require_subcommand(1);
    show = config->add_subcommand("show", "List the objects with their makers, and where they drift from their files");
    add_monitor(show, show_options);
    MonitorCommands::add_json(show, show_options);
    diff = config->add_subcommand("diff", "Show the effect that a reload would have");
    diff_options.is_dry_run = true;
    add_monitor(diff, diff_options.monitor);
    MonitorCommands::add_json(diff, diff_options.monitor);
    reload = app.add_subcommand("reload", "Make a running blockexportd read its configuration files again");
    add_monitor(reload, reload_options.monitor);
    MonitorCommands::add_json(reload, reload_options.monitor);
    reload->add_flag("--dry-run", reload_options.is_dry_run, "Only show the effect");
    reload->add_flag("--disruptive", reload_options.is_disruptive, "Replace exports even if they have clients");
  }

  // The exit code of the parsed command, if it is one of these.
  std::optional<int> run() const {
    if (show->parsed()) return MonitorCommands::code_of(monitor::show_configuration(show_options));
    if (diff->parsed()) return MonitorCommands::code_of(monitor::reload_configuration(diff_options));
    if (reload->parsed()) return MonitorCommands::code_of(monitor::reload_configuration(reload_options));
    return std::nullopt;
  }
};

}  // namespace

int run_command_line(int argument_count, char** arguments) {
  CLI::App app("Works with blockexportd, and with other NBD servers, from the command line.", "blockexport");
  app.require_subcommand(1);
  app.set_version_flag("--version", "blockexport " BLOCKEXPORT_VERSION);
  CLI::App* tls = app.add_subcommand("tls", "TLS credentials: make, check, show, renew and revoke them");
  tls->require_subcommand(1);

  TlsInitOptions init_options;
  CLI::App* init = tls->add_subcommand("init", "Make a CA and certificates, or a pre-shared key, in a directory");
  init->add_option("DIR", init_options.directory, "The directory; created if it does not exist; nothing is overwritten")
      ->required();
  init->add_option("--host", init_options.hosts,
                   "Host name or IP address of the server, repeatable (default: localhost and this host's name)")
      ->allow_extra_args(false);
  init->add_option("--client", init_options.client, "Name of the client (default: client)");
  init->add_option("--days", init_options.days, "How long the certificates are valid (default: 365)");
  init->add_flag("--psk", init_options.psk, "A pre-shared key for the client instead of certificates");

  TlsCheckOptions check_options;
  CLI::App* check = tls->add_subcommand("check", "Check the credentials, also by a trial handshake");
  check->add_option("DIR", check_options.directory, "The directory")->required();
  check->add_option("--host", check_options.host, "Host name or IP address by which clients reach the server");

  std::string show_directory;
  CLI::App* show = tls->add_subcommand("show", "Show what is in the certificates, and who has a pre-shared key");
  show->add_option("DIR", show_directory, "The directory")->required();
  const HolderCommands holder_commands(*tls);
  const BackupCommands backup_commands(app);
  const MonitorCommands monitor_commands(app);
  const ConfigCommands config_commands(app);
  const ImageCommands image_commands(app);
  const ServeCommand serve_command(app);
  const OperateCommands operate_commands(app);
  // For the build of the manual pages and of the completion; without a group it is not listed.
  CLI::App* describe = app.add_subcommand("__describe", "Print these commands as JSON")->group("");

  try {
    app.parse(argument_count, arguments);
    image::hide_secrets(argument_count, arguments);
  } catch (const CLI::ParseError& error) {
    if (app.exit(error) == 0) return kExitFine;
    const std::string hint = hint_for(app, argument_count, arguments);
    if (!hint.empty()) print(stderr, "{}\n", hint);
    // Among the exit codes of `image check`, that of a wrong command line has another meaning.
    return image_commands.check->parsed() ? kExitFailed : kExitUsage;
  }
  if (init->parsed()) return print_made(tls_init(init_options));
  if (check->parsed()) return print_report(tls_check(check_options));
  if (auto code = holder_commands.run()) return *code;
  if (auto code = backup_commands.run()) return *code;
  if (auto code = monitor_commands.run()) return *code;
  if (auto code = config_commands.run()) return *code;
  if (auto code = image_commands.run()) return *code;
  if (auto code = serve_command.run()) return *code;
  if (auto done = operate_commands.run()) return code_of(*done);
  if (describe->parsed()) {
    monitor::print_json(command_tree(app));
    return kExitFine;
  }
  return print_report(tls_show(show_directory));
}

}  // namespace blockexport::client
