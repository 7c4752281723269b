// Looking for keys that are not there takes no memory.

#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/store/store_test_fixture.h"

namespace {

thread_local int allocations = 0;

}  // namespace

// All other forms come down to these.
void* operator new(size_t size) {
  ++allocations;
  void* const memory = std::malloc(size);
  if (memory == nullptr) std::abort();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t /*size*/) noexcept {
  std::free(memory);
}

namespace varve {
namespace {

class StoreAbsentTest : public StoreFixture {
 protected:
  // How often `look` gets memory from the heap.
  template <typename Look>
  static int Allocations(const Look& look) {
    look();  // what is made only once
    const int before = allocations;
    for (int i = 0; i < 10; ++i) look();
    return allocations - before;
  }
};

TEST_F(StoreAbsentTest, LookingForWhatIsNotThereTakesNoMemory) {
  for (int i = 0; i < 1000; ++i) Write(absl::StrCat(i), "x");
  ASSERT_THAT(store_->Delete("7"), IsOk());
  for (const absl::string_view key : {"absent", "7"}) {
    EXPECT_EQ(Allocations([&] {
                EXPECT_TRUE(absl::IsNotFound(store_->Read(key).status()));
              }),
              0);
    EXPECT_EQ(
        Allocations([&] {
          EXPECT_TRUE(absl::IsNotFound(store_->ReadMetadata(key).status()));
        }),
        0);
    EXPECT_EQ(Allocations([&] { EXPECT_FALSE(store_->Exists(key)); }), 0);
  }
  // They are counted: an error with a message takes some.
  EXPECT_GE(Allocations([&] {
              EXPECT_TRUE(absl::IsNotFound(store_->Rename("absent", "new")));
            }),
            10);
}

}  // namespace
}  // namespace varve
