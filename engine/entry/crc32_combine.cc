#include "engine/entry/crc32_combine.h"

#include <array>

namespace varve {
namespace {

// Polynomials over GF(2) modulo that of CRC-32, bit-reflected: the highest bit
// is the coefficient of x^0.
constexpr uint32_t kPolynomial = 0xedb88320;
constexpr uint32_t kOne = uint32_t{1} << 31;
constexpr uint32_t kX = uint32_t{1} << 30;

constexpr uint32_t Multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = kOne; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b >> 1) ^ ((b & 1) != 0 ? kPolynomial : 0);
  }
  return product;
}

// x^(8 * 2^i) at i.
constexpr std::array<uint32_t, 64> MakeBytePowers() {
  std::array<uint32_t, 64> powers = {};
  uint32_t power = kX;
  for (int i = 0; i < 3; ++i) power = Multiply(power, power);
  for (uint32_t& slot : powers) {
    slot = power;
    power = Multiply(power, power);
  }
  return powers;
}

}  // namespace

uint32_t Crc32Combine(uint32_t first, uint32_t second, uint64_t second_size) {
  static constexpr std::array<uint32_t, 64> kBytePowers = MakeBytePowers();
  // Appending n bytes multiplies what was there by x^(8n).
  uint32_t shift = kOne;
  for (int i = 0; second_size != 0; ++i, second_size >>= 1) {
    if ((second_size & 1) != 0) shift = Multiply(kBytePowers[i], shift);
  }
  return Multiply(shift, first) ^ second;
}

}  // namespace varve
