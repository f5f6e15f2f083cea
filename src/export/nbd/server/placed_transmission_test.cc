// PlacedTransmission on another reactor, observed by its export and by its client.
#include "export/nbd/server/placed_transmission.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "aio/testing/threads.h"
#include "export/nbd/testing/client.h"
#include "export/nbd/testing/storage.h"
#include "net/socket_stream.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;

class PlacedTransmissionTest : public aio::testing::WithThreads {
 protected:
  void SetUp() override {
    WithThreads::SetUp();
    if (IsSkipped()) return;
    thread_ = start_thread("there");
    backing_.emplace(reactor());
    TransmissionContext context{.reactor = there().reactor,
                                .pool = there().pool,
                                .process_budget = backing_->budget,
                                .edge = backing_->edge,
                                .fence = backing_->fence,
                                .trace = backing_->trace,
                                .peer = "test"};
    placed_.emplace(reactor(), there(), context);
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    served_ = std::make_unique<net::SocketStream>(reactor(), ends[0]);
    client_ = std::make_unique<net::SocketStream>(reactor(), ends[1]);
  }

  aio::DataReactor& there() { return thread_->data_reactor(); }
  PlacedTransmission& placed() { return *placed_; }
  net::Stream& client() { return *client_; }
  Task<void> serve() {
    co_await placed().run(std::move(served_), make_state(HeaderMode::kSimple, backing_->storage.bytes.size()), {});
  }
  IoCount receive_now() {
    std::byte byte;
    return client().try_receive({&byte, 1});
  }

 private:
  std::unique_ptr<aio::ReactorThread> thread_;
  std::optional<Backing> backing_;
  std::optional<PlacedTransmission> placed_;
  std::unique_ptr<net::Stream> served_;
  std::unique_ptr<net::Stream> client_;
};
BLOCKEXPORT_FOR_EACH_THREADED_BACKEND(PlacedTransmissionTest);

TEST_P(PlacedTransmissionTest, CallsBeforeItBeginsTakeEffect) {
  placed().drop();
  run(serve());
  EXPECT_EQ(receive_now(), IoCount(0));
  run(placed().destroy());
}

TEST_P(PlacedTransmissionTest, CallsAfterItsEndHaveNoEffect) {
  placed().finish();
  run(serve());
  placed().refuse();
  placed().finish();
  placed().drop();
  run(placed().destroy());
  EXPECT_EQ(receive_now(), IoCount(0));
}

TEST_P(PlacedTransmissionTest, ADisconnectingClientSeesTheEndAfterItIsNotCountedAnyMore) {
  Bytes leave = ClientCodec(HeaderMode::kSimple).request(Command::kDisconnect, 1, 0, 0);
  run([](net::Stream& stream, Bytes& bytes) -> Task<void> { EXPECT_TRUE(co_await net::send_all(stream, bytes)); }(
                                                client(), leave));
  run(serve());
  EXPECT_EQ(receive_now(), IoCount(fail(EAGAIN)));
  run(placed().destroy());
  EXPECT_EQ(receive_now(), IoCount(0));
}

}  // namespace
}  // namespace blockexport::nbd::testing
