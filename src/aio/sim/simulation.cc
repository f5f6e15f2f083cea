#include "aio/sim/simulation.h"

#include "aio/sim/simulated_backend.h"
#include "aio/sim/world.h"

namespace blockexport::aio {
namespace {

std::vector<std::byte> content_of(const PageStore& pages) {
  std::vector<std::byte> content(pages.size());
  pages.read(0, content);
  return content;
}

}  // namespace

Simulation::Simulation(SimulationOptions options) : world_(std::make_unique<World>(options)) {}

Simulation::~Simulation() = default;

SimulationOptions& Simulation::options() {
  return world_->options;
}

Random& Simulation::random() {
  return world_->random;
}

const Clock& Simulation::clock() const {
  return world_->clock;
}

void Simulation::write_file(const std::string& path, std::span<const std::byte> content) {
  auto file = std::make_shared<SimulatedFile>(world_->next_inode_++);
  file->apply({.kind = FileChange::Kind::kWrite, .data = {content.begin(), content.end()}});
  file->sync();
  world_->files[path] = std::move(file);
}

void Simulation::make_file(const std::string& path, std::uint64_t size_bytes) {
  auto file = std::make_shared<SimulatedFile>(world_->next_inode_++);
  file->apply({.kind = FileChange::Kind::kTruncate, .length = size_bytes});
  file->sync();
  world_->files[path] = std::move(file);
}

std::optional<std::vector<std::byte>> Simulation::read_file(const std::string& path) const {
  auto found = world_->files.find(path);
  if (found == world_->files.end()) return std::nullopt;
  return content_of(found->second->pages());
}

std::optional<std::vector<std::byte>> Simulation::stable_content(const std::string& path) const {
  auto found = world_->files.find(path);
  if (found == world_->files.end()) return std::nullopt;
  return content_of(found->second->stable_pages());
}

void Simulation::inject(Fault fault) {
  world_->faults.push_back(std::move(fault));
}

void Simulation::clear_faults() {
  world_->faults.clear();
}

std::uint64_t Simulation::faults_left() const {
  std::uint64_t left = 0;
  for (const Fault& fault : world_->faults) left += fault.count;
  return left;
}

bool Simulation::fail_write_back(const std::string& path) {
  auto found = world_->files.find(path);
  return found != world_->files.end() && found->second->fail_write_back(world_->random);
}

void Simulation::power_cut() {
  for (SimulatedBackend* backend : world_->backends) backend->lose_power();
  world_->power_cut();
}

std::pair<int, int> Simulation::socket_pair() {
  auto [one, other] = SimulatedStream::pair();
  Descriptor first;
  first.stream = std::move(one);
  Descriptor second;
  second.stream = std::move(other);
  int first_fd = world_->add(std::move(first));
  return {first_fd, world_->add(std::move(second))};
}

int Simulation::listen() {
  Descriptor descriptor;
  descriptor.listener = std::make_shared<SimulatedListener>();
  return world_->add(std::move(descriptor));
}

int Simulation::connect(int listener) {
  auto [client, server] = socket_pair();
  world_->find(listener)->listener->waiting.push_back(server);
  return client;
}

void Simulation::reset_connection(int fd) {
  Descriptor* descriptor = world_->find(fd);
  if (descriptor != nullptr && descriptor->stream != nullptr) descriptor->stream->reset();
}

std::size_t Simulation::open_descriptors() const {
  return world_->descriptors.size();
}

std::string Simulation::describe_open_files() const {
  std::string text;
  for (const auto& [fd, descriptor] : world_->descriptors) {
    if (descriptor.file == nullptr) continue;
    text += descriptor.path + (descriptor.readable ? " r" : " ") + (descriptor.writable ? "w" : "") +
            (descriptor.direct ? " direct" : "") + " locks";
    for (std::uint64_t offset : descriptor.file->locked_by(static_cast<std::uint64_t>(fd))) {
      text += " " + std::to_string(offset);
    }
    text += "\n";
  }
  return text;
}

void Simulation::run_until_idle(Reactor& reactor) {
  world_->stop_when_idle = true;
  world_->idle = false;
  while (!world_->idle) reactor.run_once(UINT64_MAX);
  world_->stop_when_idle = false;
}

std::unique_ptr<Reactor> Simulation::make_reactor(ReactorOptions options, const Log* log) {
  return Reactor::create(std::make_unique<SimulatedBackend>(*world_), options, log);
}

}  // namespace blockexport::aio
