#pragma once

#include "lumper_core/statics.hpp"

/// What the solver and its bookkeeping share.
namespace lumper_core {

inline constexpr double kLength_m = 0.3;    // makes angular unknowns comparable to linear ones
inline constexpr double kBalance_n = 1e-4;  // a box is balanced when no component of its residual exceeds this

inline Vec6 spatial(const Vec3& force, const Vec3& arm) {
  Vec6 w;
  w.head<3>() = force;
  w.tail<3>() = arm.cross(force);
  return w;
}

}  // namespace lumper_core
