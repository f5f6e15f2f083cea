// Compiled with exceptions, which CLI11 needs; none leaves command_line.cc.
#include "client/image_commands.h"

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "client/exit_code.h"
#include "client/image/bitmap_verb.h"
#include "client/image/check_verb.h"
#include "client/image/compare_verb.h"
#include "client/image/convert_verb.h"
#include "client/image/create_verb.h"
#include "client/image/image_options.h"
#include "client/image/info_verb.h"
#include "client/image/map_verb.h"
#include "client/image/snapshot_verb.h"
#include "client/image/source_disk.h"

namespace blockexport::client {

struct ImageCommands::Parts {
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

  explicit Parts(CLI::App& app) {
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

ImageCommands::ImageCommands(CLI::App& app) : parts_(std::make_unique<Parts>(app)) {}
ImageCommands::~ImageCommands() = default;

bool ImageCommands::is_check() const {
  return parts_->check->parsed();
}

std::optional<int> ImageCommands::run() const {
  return parts_->run();
}

}  // namespace blockexport::client
