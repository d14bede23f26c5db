// The checker knows nothing of the solver: plain sums over boxes, contacts, forces and directions.
#include <cmath>
#include <sstream>

#include "lumper_core/statics.hpp"

namespace lumper_core {
namespace {

constexpr double kForceTolerance_n = 1e-3;
constexpr double kConeTolerance_n = 1e-6;

std::string check_balance(const ContactGraph& graph, const Certificate& certificate, const std::vector<char>& gone) {
  std::vector<Vec3> force(graph.slots(), Vec3::Zero());
  std::vector<Vec3> torque(graph.slots(), Vec3::Zero());
  const auto& patches = graph.patches();
  if (certificate.forces.size() != patches.size() * Patch::kMaxPoints) {
    return "the certificate has another number of contact points than the pile";
  }
  for (size_t p = 0; p < patches.size(); ++p) {
    const Patch& patch = patches[p];
    for (int k = 0; k < patch.count; ++k) {
      const Vec3& f = certificate.forces[p * Patch::kMaxPoints + static_cast<size_t>(k)];
      if (f.isZero(0.0)) {
        continue;
      }
      const bool touches_gone =
          (patch.a >= 0 && gone[static_cast<size_t>(patch.a)] != 0) || gone[static_cast<size_t>(patch.b)] != 0;
      if (touches_gone) {
        return "a removed box still carries force";
      }
      const double normal = patch.normal.dot(f);
      if (normal > 4.0 * graph.parameters().force_bound_n) {
        std::ostringstream text;
        text << "contact " << p << " carries " << normal << " N at one point, more than any carton can";
        return text.str();
      }
      const double along1 = std::abs(patch.tangent1.dot(f));
      const double along2 = std::abs(patch.tangent2.dot(f));
      if (!(along1 + along2 <= patch.friction * normal + kConeTolerance_n) || !(normal >= -kConeTolerance_n)) {
        std::ostringstream text;
        text << "force outside the friction cone at contact " << p << ": normal " << normal << " N, tangential "
             << along1 << " and " << along2 << " N, friction " << patch.friction;
        return text.str();
      }
      const auto add = [&](int32_t body, double sign) {
        if (body >= 0) {
          const auto s = static_cast<size_t>(body);
          force[s] += sign * f;
          torque[s] += sign * (patch.points[static_cast<size_t>(k)] - graph.box(body).position).cross(f);
        }
      };
      add(patch.a, -1.0);
      add(patch.b, 1.0);
    }
  }
  for (size_t s = 0; s < graph.slots(); ++s) {
    const auto slot = static_cast<int32_t>(s);
    if (!graph.alive(slot) || gone[s] != 0) {
      continue;
    }
    const Box& box = graph.box(slot);
    const Vec3 f = force[s] + certificate.relief[s].head<3>() - Vec3::UnitZ() * (box.mass * kGravity);
    const Vec3 t = torque[s] + certificate.relief[s].tail<3>();
    if (!(f.norm() <= kForceTolerance_n) || !(t.norm() <= kForceTolerance_n)) {
      std::ostringstream text;
      text << "box " << box.id << " is out of balance by " << f.norm() << " N and " << t.norm() << " Nm";
      return text.str();
    }
  }
  return "";
}

std::string check_direction(const ContactGraph& graph, const Certificate& certificate, const std::vector<char>& gone) {
  double power = 0.0;
  for (size_t s = 0; s < graph.slots(); ++s) {
    const auto slot = static_cast<int32_t>(s);
    if (!graph.alive(slot)) {
      continue;
    }
    const Vec6& d = certificate.direction[s];
    if (gone[s] != 0 && !d.isZero(0.0)) {
      return "a removed box moves";
    }
    power += (certificate.relief[s].head<3>() - Vec3::UnitZ() * (graph.box(slot).mass * kGravity)).dot(d.head<3>()) +
             certificate.relief[s].tail<3>().dot(d.tail<3>());
  }
  double worst = 0.0;
  for (const Patch& patch : graph.patches()) {
    for (int k = 0; k < patch.count; ++k) {
      Vec3 u = Vec3::Zero();
      bool touches_gone = false;
      const auto add = [&](int32_t body, double sign) {
        if (body < 0) {
          return;
        }
        const auto s = static_cast<size_t>(body);
        touches_gone = touches_gone || gone[s] != 0;
        const Vec3 arm = patch.points[static_cast<size_t>(k)] - graph.box(body).position;
        u += sign * (certificate.direction[s].head<3>() + Vec3(certificate.direction[s].tail<3>()).cross(arm));
      };
      add(patch.a, -1.0);
      add(patch.b, 1.0);
      if (touches_gone) {
        continue;
      }
      const double un = patch.normal.dot(u);
      if (patch.friction > 0.0) {
        for (const double ut : {patch.tangent1.dot(u), patch.tangent2.dot(u)}) {
          worst += std::max(0.0, -(un + patch.friction * ut)) + std::max(0.0, -(un - patch.friction * ut));
        }
      } else {
        worst += std::max(0.0, -un);
      }
    }
  }
  // Forces that balance would need more than force_bound_n at some contact point (docs/planning-core.md).
  if (!(power > 0.0) || !(power >= graph.parameters().force_bound_n * worst * (1.0 - 1e-6))) {
    std::ostringstream text;
    text << "direction proves too little: power " << power << " W per unit, sum of contact violations " << worst;
    return text.str();
  }
  return "";
}

}  // namespace

std::string check(const ContactGraph& graph, const Certificate& certificate) {
  std::vector<char> gone(graph.slots(), 0);
  for (const uint32_t id : certificate.removed) {
    const int32_t slot = graph.slot_of(id);
    if (slot < 0) {
      return "removed box " + std::to_string(id) + " is not in the pile";
    }
    gone[static_cast<size_t>(slot)] = 1;
  }
  if (certificate.relief.size() != graph.slots() || certificate.direction.size() != graph.slots()) {
    return "the certificate was made for another pile";
  }
  switch (certificate.removal.verdict) {
    case Verdict::kStable:
      return check_balance(graph, certificate, gone);
    case Verdict::kCollapses:
      return check_direction(graph, certificate, gone);
    case Verdict::kUndecided:
      return "undecided: there is nothing to verify";
  }
  return "unknown verdict";
}

}  // namespace lumper_core
