#pragma once

#include <cstring>
#include <limits>
#include <vector>

#include "lumper_core/types.hpp"

namespace lumper_core {

/// Bytes of a fuzz input as boxes: mostly plausible ones in a small pile, some with every kind of damage.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }
  double unit() { return (byte() * 256 + byte()) / 65535.0; }
  bool empty() const { return at_ >= size_; }

  double damaged(double value) {
    switch (byte()) {
      case 0:
        return std::numeric_limits<double>::quiet_NaN();
      case 1:
        return std::numeric_limits<double>::infinity();
      case 2:
        return -value;
      case 3:
        return 0.0;
      case 4:
        return 1e300;
      default:
        return value;
    }
  }

  std::vector<Box> boxes() {
    std::vector<Box> all;
    while (!empty() && all.size() < 40) {
      Box box;
      box.id = byte() < 3 ? 1U : static_cast<uint32_t>(all.size() + 1);
      const bool snap = byte() < 200;
      for (int k = 0; k < 3; ++k) {
        const double size = snap ? 0.1 * (1 + byte() % 5) : 0.05 + unit();
        box.size[k] = damaged(size);
      }
      box.position =
          Vec3(damaged(6.0 + (snap ? 0.1 * (byte() % 10) : unit())), -0.5 + (snap ? 0.1 * (byte() % 10) : unit()),
               0.5 * box.size.z() + (snap ? 0.1 * (byte() % 12) : 2.0 * unit()));
      if (byte() < 60) {
        box.orientation = Quaternion(damaged(unit() - 0.5), unit() - 0.5, unit() - 0.5, unit());
        if (byte() < 250) {
          box.orientation.normalize();
        }
      }
      box.mass = damaged(0.5 + 20.0 * unit());
      box.friction = damaged(unit());
      box.confidence = damaged(1.0);
      box.visible_faces = byte();
      box.size_unknown = byte() & 7U;
      box.pose_sigma[0] = damaged(0.01 * unit());
      all.push_back(box);
    }
    return all;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

}  // namespace lumper_core
