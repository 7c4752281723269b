#include "fs/format/acl.h"

#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"

namespace varve::fs {
namespace {

constexpr uint16_t kUserObject = 1;
constexpr uint16_t kUser = 2;
constexpr uint16_t kGroupObject = 4;
constexpr uint16_t kGroup = 8;
constexpr uint16_t kMask = 16;
constexpr uint16_t kOther = 32;
constexpr uint32_t kNobody = 0xffffffff;

using Entries = std::vector<std::tuple<uint16_t, uint16_t, uint32_t>>;

// The attribute's value, byte by byte as the kernel has it.
std::string Value(const Entries& entries, uint32_t version = 2) {
  std::string value;
  const auto put = [&value](uint32_t number, int bytes) {
    for (int i = 0; i < bytes; ++i) {
      value.push_back(static_cast<char>(number >> (8 * i)));
    }
  };
  put(version, 4);
  for (const auto& [tag, permissions, id] : entries) {
    put(tag, 2);
    put(permissions, 2);
    put(id, 4);
  }
  return value;
}

const Entries kMinimal = {{kUserObject, 6, kNobody},
                          {kGroupObject, 4, kNobody},
                          {kOther, 0, kNobody}};
const Entries kExtended = {
    {kUserObject, 7, kNobody},  {kUser, 6, 1000},  {kUser, 7, 1001},
    {kGroupObject, 5, kNobody}, {kGroup, 7, 2000}, {kMask, 7, kNobody},
    {kOther, 1, kNobody}};

TEST(AclTest, ComesOutAsItWentIn) {
  for (const Entries& entries : {kMinimal, kExtended}) {
    const auto acl = Acl::Decode(Value(entries));
    ASSERT_TRUE(acl.has_value());
    EXPECT_EQ(acl->Encode(), Value(entries));
  }
}

TEST(AclTest, WhatIsNoListIsRefused) {
  EXPECT_FALSE(Acl::Decode("").has_value());
  EXPECT_FALSE(Acl::Decode(Value({})).has_value());
  EXPECT_FALSE(Acl::Decode(Value(kMinimal, 1)).has_value());
  EXPECT_FALSE(Acl::Decode(Value(kMinimal) + "x").has_value());
  const std::string value = Value(kExtended);
  for (size_t size = 0; size < value.size(); ++size) {
    EXPECT_FALSE(Acl::Decode(value.substr(0, size)).has_value()) << size;
  }
  Entries unknown = kMinimal;
  std::get<0>(unknown[1]) = 3;
  EXPECT_FALSE(Acl::Decode(Value(unknown)).has_value());
  Entries permissions = kMinimal;
  std::get<1>(permissions[1]) = 8;
  EXPECT_FALSE(Acl::Decode(Value(permissions)).has_value());
  const Entries without_mask = {{kUserObject, 6, kNobody},
                                {kUser, 4, 1},
                                {kGroupObject, 4, kNobody},
                                {kOther, 0, kNobody}};
  EXPECT_FALSE(Acl::Decode(Value(without_mask)).has_value());
  const Entries twice = {{kUserObject, 6, kNobody},
                         {kGroupObject, 4, kNobody},
                         {kGroupObject, 4, kNobody},
                         {kOther, 0, kNobody}};
  EXPECT_FALSE(Acl::Decode(Value(twice)).has_value());
  const Entries disorder = {{kOther, 0, kNobody},
                            {kUserObject, 6, kNobody},
                            {kGroupObject, 4, kNobody}};
  EXPECT_FALSE(Acl::Decode(Value(disorder)).has_value());
}

TEST(AclTest, ModeFollowsFromIt) {
  EXPECT_EQ(Acl::Decode(Value(kMinimal))->ApplyToMode(0107777), 0107640u);
  EXPECT_TRUE(Acl::Decode(Value(kMinimal))->IsJustMode());
  // The group bits are the mask.
  EXPECT_EQ(Acl::Decode(Value(kExtended))->ApplyToMode(0100000), 0100771u);
  EXPECT_FALSE(Acl::Decode(Value(kExtended))->IsJustMode());
}

TEST(AclTest, ChangeModeLimitsEverybodyByTheMask) {
  Acl acl = *Acl::Decode(Value(kExtended));
  acl.ChangeMode(0100640);
  Entries expected = kExtended;
  std::get<1>(expected[0]) = 6;
  std::get<1>(expected[5]) = 4;
  std::get<1>(expected[6]) = 0;
  EXPECT_EQ(acl.Encode(), Value(expected));
  Acl minimal = *Acl::Decode(Value(kMinimal));
  minimal.ChangeMode(0100421);
  EXPECT_EQ(minimal.ApplyToMode(0), 0421u);
}

TEST(AclTest, InheritedIsWhatBothListAndModeGrant) {
  Acl acl = *Acl::Decode(Value(kExtended));
  EXPECT_EQ(acl.Inherit(0100666), 0100660u);
  Entries expected = kExtended;
  std::get<1>(expected[0]) = 6;
  std::get<1>(expected[5]) = 6;
  std::get<1>(expected[6]) = 0;
  EXPECT_EQ(acl.Encode(), Value(expected));
  Acl minimal = *Acl::Decode(Value(kMinimal));
  EXPECT_EQ(minimal.Inherit(0104777), 0104640u);
}

}  // namespace
}  // namespace varve::fs
