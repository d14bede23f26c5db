#include <algorithm>
#include <cmath>

#include "statics_detail.hpp"

/// Minimum of the constraint energy over one set of boxes: semi-smooth Newton inside proximal iterations.
namespace lumper_core {
namespace {

constexpr double kCompliance = 1e-7;  // (m/s^2) / N: the proximal weight of the multipliers
constexpr double kGradient_n = 1e-7;
constexpr int kMaxNewton = 80;
// Near the edge between balance and fall each proximal step gains little; most sets need two.
constexpr int kMaxOuter = 100;

Mat3 skew(const Vec3& r) {
  Mat3 m;
  m << 0.0, -r.z(), r.y(), r.z(), 0.0, -r.x(), -r.y(), r.x(), 0.0;
  return m;
}

}  // namespace

void Statics::gather(const std::vector<int32_t>& set, bool lower_only) {
  ++local_epoch_;
  local_count_ = 0;
  for (size_t i = 0; i < set.size(); ++i) {
    local_index_[static_cast<size_t>(set[i])] = static_cast<int32_t>(i);
  }
  const auto index_in_set = [&](int32_t body) -> int32_t {
    if (body < 0) {
      return -1;
    }
    const int32_t i = local_index_[static_cast<size_t>(body)];
    return i >= 0 && i < static_cast<int32_t>(set.size()) && set[static_cast<size_t>(i)] == body ? i : -1;
  };
  for (const int32_t slot : set) {
    for (const int32_t index : graph_->patches_of(slot)) {
      const auto p = static_cast<size_t>(index);
      if (local_stamp_[p] == local_epoch_) {
        continue;
      }
      const Patch& patch = graph_->patches()[p];
      if (patch.count == 0) {
        continue;
      }
      if (lower_only && !(patch.support && patch.b == slot) &&
          (index_in_set(patch.a) < 0 || index_in_set(patch.b) < 0)) {
        continue;
      }
      if ((patch.a >= 0 && removed_stamp_[static_cast<size_t>(patch.a)] == epoch_) ||
          removed_stamp_[static_cast<size_t>(patch.b)] == epoch_) {
        continue;
      }
      local_stamp_[p] = local_epoch_;
      if (local_count_ == locals_.size()) {
        locals_.emplace_back();
      }
      LocalPatch& local = locals_[local_count_++];
      local.patch = index;
      local.a = index_in_set(patch.a);
      local.b = index_in_set(patch.b);
      local.count = patch.count;
      local.mu = patch.friction;
      local.generators = patch.friction > 0.0 ? 4 : 1;
      local.normal = patch.normal;
      local.tangent1 = patch.tangent1;
      local.tangent2 = patch.tangent2;
      const Vec3 centre = graph_->box(local.b >= 0 ? patch.b : patch.a).position;
      for (int k = 0; k < patch.count; ++k) {
        local.arm[static_cast<size_t>(k)] = (patch.points[static_cast<size_t>(k)] - centre) / kLength_m;
      }
      if (local.a >= 0 && local.b >= 0) {
        local.apart = (centre - graph_->box(patch.a).position) / kLength_m;
      }
      std::copy_n(&lambda_[p * kStride], kStride, local.previous.begin());
      local.lambda = local.previous;
    }
  }
  rest_.resize(set.size());
  v_.resize(set.size());
  gradient_.resize(set.size());
  step_.resize(set.size());
  for (size_t i = 0; i < set.size(); ++i) {
    rest_[i] = residual_[static_cast<size_t>(set[i])];
    v_[i].setZero();
  }
}

// How the bodies of a contact near one another, as a motion about the centre that its arms start from.
void Statics::approach(const LocalPatch& local, const Wrenches& motion, Vec3* linear, Vec3* angular) {
  if (local.b < 0) {
    const Vec6& a = motion[static_cast<size_t>(local.a)];
    *linear = -a.head<3>();
    *angular = -a.tail<3>();
    return;
  }
  const Vec6& b = motion[static_cast<size_t>(local.b)];
  *linear = b.head<3>();
  *angular = b.tail<3>();
  if (local.a >= 0) {
    const Vec6& a = motion[static_cast<size_t>(local.a)];
    *linear -= a.head<3>() + a.tail<3>().cross(local.apart);
    *angular -= a.tail<3>();
  }
}

// The same as `evaluate` where nothing moves yet: every contact keeps the force it has.
double Statics::evaluate_at_rest() {
  double largest = 0.0;
  for (size_t i = 0; i < v_.size(); ++i) {
    gradient_[i] = -rest_[i];
    largest = std::max(largest, rest_[i].cwiseAbs().maxCoeff());
  }
  for (size_t c = 0; c < local_count_; ++c) {
    LocalPatch& local = locals_[c];
    local.active = 0;
    for (size_t g = 0; g < static_cast<size_t>(local.count * kGenerators); ++g) {
      local.value[g] = 0.0;
      local.active |= static_cast<uint32_t>(local.previous[g] > 0.0) << g;
    }
  }
  return largest;
}

// Gradient of E(v) = v'Mv/2 - rest'v + sum of the proximal contact terms. Returns its largest absolute component.
double Statics::evaluate() {
  const size_t n = v_.size();
  for (size_t i = 0; i < n; ++i) {
    const auto s = static_cast<size_t>((*current_set_)[i]);
    gradient_[i].head<3>() = mass_[s] * v_[i].head<3>();
    gradient_[i].tail<3>().noalias() = inertia_[s] * v_[i].tail<3>();
    gradient_[i] -= rest_[i];
  }
  const double stiffness = 1.0 / kCompliance;
  for (size_t c = 0; c < local_count_; ++c) {
    LocalPatch& local = locals_[c];
    Vec3 linear;
    Vec3 angular;
    approach(local, v_, &linear, &angular);
    Vec3 total = Vec3::Zero();
    Vec3 moment = Vec3::Zero();
    uint32_t active = 0;
    for (int k = 0; k < local.count; ++k) {
      const auto point = static_cast<size_t>(k);
      const Vec3 u = linear + angular.cross(local.arm[point]);
      const double un = local.normal.dot(u);
      const size_t base = point * kGenerators;
      Vec3 force;  // change against `previous`
      if (local.generators == 1) {
        local.value[base] = un;
        local.value[base + 1] = local.value[base + 2] = local.value[base + 3] = 0.0;
        const double l = local.previous[base] - un * stiffness;
        const double lambda = l > 0.0 ? l : 0.0;
        local.lambda[base] = lambda;
        active |= static_cast<uint32_t>(l > 0.0) << base;
        force = local.normal * (lambda - local.previous[base]);
      } else {
        const double u1 = local.mu * local.tangent1.dot(u);
        const double u2 = local.mu * local.tangent2.dot(u);
        const double values[4] = {un + u1, un - u1, un + u2, un - u2};
        double change[4];
        for (size_t j = 0; j < 4; ++j) {
          local.value[base + j] = values[j];
          const double l = local.previous[base + j] - values[j] * stiffness;
          const double lambda = l > 0.0 ? l : 0.0;
          local.lambda[base + j] = lambda;
          active |= static_cast<uint32_t>(l > 0.0) << (base + j);
          change[j] = lambda - local.previous[base + j];
        }
        force = local.normal * (change[0] + change[1] + change[2] + change[3]) +
                local.tangent1 * (local.mu * (change[0] - change[1])) +
                local.tangent2 * (local.mu * (change[2] - change[3]));
      }
      total += force;
      moment += local.arm[point].cross(force);
    }
    local.active = active;
    if (local.b >= 0) {
      Vec6& gradient = gradient_[static_cast<size_t>(local.b)];
      gradient.head<3>() -= total;
      gradient.tail<3>() -= moment;
    }
    if (local.a >= 0) {
      Vec6& gradient = gradient_[static_cast<size_t>(local.a)];
      gradient.head<3>() += total;
      gradient.tail<3>() += local.b >= 0 ? (moment + local.apart.cross(total)).eval() : moment;
    }
  }
  double largest = 0.0;
  for (size_t i = 0; i < n; ++i) {
    largest = std::max(largest, gradient_[i].cwiseAbs().maxCoeff());
  }
  return largest;
}

// Generalised Hessian of E at the active set of the last `evaluate`, factored. The factor is kept while that set stays.
bool Statics::assemble() {
  bool same = factored_;
  for (size_t c = 0; c < local_count_ && same; ++c) {
    same = locals_[c].active == locals_[c].assembled;
  }
  if (same) {
    return true;
  }
  matrix_.zero();
  for (size_t i = 0; i < v_.size(); ++i) {
    const auto s = static_cast<size_t>((*current_set_)[i]);
    Mat6& diagonal = matrix_.diagonal(static_cast<int>(i));
    diagonal.topLeftCorner<3, 3>().diagonal().setConstant(mass_[s]);
    diagonal.bottomRightCorner<3, 3>() = inertia_[s];
  }
  const double stiffness = 1.0 / kCompliance;
  for (size_t c = 0; c < local_count_; ++c) {
    LocalPatch& local = locals_[c];
    if (local.active != local.assembled || !factored_) {
      local.assembled = local.active;
      // About the first body that moves, and from there to the other one: the contact is the same.
      Mat6& own = local.b >= 0 ? local.bb : local.aa;
      own.setZero();
      for (int k = 0; k < local.count; ++k) {
        const auto point = static_cast<size_t>(k);
        const uint32_t bits = (local.active >> (point * kGenerators)) & 0xfU;
        if (bits == 0U) {
          continue;
        }
        Mat3 k_point;
        if (local.generators == 1) {
          k_point.noalias() = (local.normal * stiffness) * local.normal.transpose();
        } else {
          const double b0 = static_cast<double>(bits & 1U);
          const double b1 = static_cast<double>((bits >> 1) & 1U);
          const double b2 = static_cast<double>((bits >> 2) & 1U);
          const double b3 = static_cast<double>((bits >> 3) & 1U);
          const double mu = local.mu;
          const Vec3 mixed = local.tangent1 * (mu * (b0 - b1)) + local.tangent2 * (mu * (b2 - b3));
          k_point.noalias() = (local.normal * (b0 + b1 + b2 + b3) + mixed) * local.normal.transpose();
          k_point.noalias() += local.normal * mixed.transpose();
          k_point.noalias() += (local.tangent1 * (mu * mu * (b0 + b1))) * local.tangent1.transpose();
          k_point.noalias() += (local.tangent2 * (mu * mu * (b2 + b3))) * local.tangent2.transpose();
          k_point *= stiffness;
        }
        const Mat3 r = skew(local.arm[point]);
        Mat3 rk;
        rk.noalias() = r * k_point;
        own.topLeftCorner<3, 3>() += k_point;
        own.bottomLeftCorner<3, 3>() += rk;
        own.bottomRightCorner<3, 3>().noalias() -= rk * r;
      }
      own.topRightCorner<3, 3>() = own.bottomLeftCorner<3, 3>().transpose();
      if (local.a >= 0 && local.b >= 0) {
        const Mat3 d = skew(local.apart);
        local.ab = -local.bb;
        local.ab.topRightCorner<3, 3>().noalias() += local.bb.topLeftCorner<3, 3>() * d;
        local.ab.bottomRightCorner<3, 3>().noalias() += local.bb.bottomLeftCorner<3, 3>() * d;
        local.aa = -local.ab;
        local.aa.bottomRows<3>().noalias() -= d * local.ab.topRows<3>();
      }
    }
    if (local.active == 0U) {
      continue;
    }
    if (local.a >= 0) {
      matrix_.diagonal(local.a) += local.aa;
    }
    if (local.b >= 0) {
      matrix_.diagonal(local.b) += local.bb;
      if (local.a >= 0) {
        bool transposed = false;
        Mat6& block = matrix_.off_diagonal(local.b, local.a, &transposed);
        if (transposed) {
          block += local.ab.transpose();
        } else {
          block += local.ab;
        }
      }
    }
  }
  factored_ = matrix_.factor();
  return factored_;
}

Statics::Outcome Statics::solve(const std::vector<int32_t>& set, bool lower_only) {
  current_set_ = &set;
  gather(set, lower_only);
  const size_t n = set.size();
  largest_set_ = std::max(largest_set_, static_cast<int>(n));
  matrix_.begin(static_cast<int>(n));
  for (size_t c = 0; c < local_count_; ++c) {
    if (locals_[c].a >= 0 && locals_[c].b >= 0) {
      matrix_.connect(locals_[c].a, locals_[c].b);
    }
  }
  matrix_.analyse();
  factored_ = false;
  const double stiffness = 1.0 / kCompliance;

  for (int outer = 0; outer < kMaxOuter; ++outer) {
    bool converged = false;
    for (int newton = 0; newton < kMaxNewton; ++newton) {
      ++iterations_;
      const bool at_rest = outer == 0 && newton == 0;
      if ((at_rest ? evaluate_at_rest() : evaluate()) < kGradient_n) {
        converged = true;
        break;
      }
      if (!assemble()) {
        return Outcome::kLimit;
      }
      double slope = 0.0;
      for (size_t i = 0; i < n; ++i) {
        step_[i] = -gradient_[i];
      }
      matrix_.solve(step_.data());
      double quadratic = 0.0;
      double linear = 0.0;
      for (size_t i = 0; i < n; ++i) {
        const auto s = static_cast<size_t>(set[i]);
        slope += step_[i].dot(gradient_[i]);
        Vec6 ms;
        ms.head<3>() = mass_[s] * step_[i].head<3>();
        ms.tail<3>().noalias() = inertia_[s] * step_[i].tail<3>();
        quadratic += step_[i].dot(ms);
        linear += v_[i].dot(ms) - rest_[i].dot(step_[i]);
      }
      // Rate of change of every generator along the step, for the exact line search on a piecewise quadratic.
      for (size_t c = 0; c < local_count_; ++c) {
        LocalPatch& local = locals_[c];
        Vec3 along;
        Vec3 turn;
        approach(local, step_, &along, &turn);
        for (int k = 0; k < local.count; ++k) {
          const auto point = static_cast<size_t>(k);
          const Vec3 u = along + turn.cross(local.arm[point]);
          const double un = local.normal.dot(u);
          const size_t base = point * kGenerators;
          if (local.generators == 1) {
            local.change[base] = un;
            local.change[base + 1] = local.change[base + 2] = local.change[base + 3] = 0.0;
          } else {
            const double u1 = local.mu * local.tangent1.dot(u);
            const double u2 = local.mu * local.tangent2.dot(u);
            local.change[base] = un + u1;
            local.change[base + 1] = un - u1;
            local.change[base + 2] = un + u2;
            local.change[base + 3] = un - u2;
          }
        }
      }
      const auto derivative = [&](double t, double* second) {
        Eigen::Array4d first = Eigen::Array4d::Zero();
        Eigen::Array4d bent = Eigen::Array4d::Zero();
        for (size_t c = 0; c < local_count_; ++c) {
          const LocalPatch& local = locals_[c];
          for (int k = 0; k < local.count; ++k) {
            const auto base = static_cast<size_t>(k * kGenerators);
            const Eigen::Map<const Eigen::Array4d> previous(&local.previous[base]);
            const Eigen::Map<const Eigen::Array4d> change(&local.change[base]);
            const Eigen::Array4d l =
                previous - (Eigen::Map<const Eigen::Array4d>(&local.value[base]) + t * change) * stiffness;
            first -= (l.max(0.0) - previous) * change;
            bent += (l > 0.0).select(change * change, 0.0);
          }
        }
        *second = quadratic + stiffness * bent.sum();
        return linear + t * quadratic + first.sum();
      };
      double t = 1.0;
      double curve = 0.0;
      double at_one = derivative(1.0, &curve);
      if (at_one > 1e-6 * std::abs(slope)) {
        double low = 0.0;
        double high = 1.0;
        double value = at_one;
        for (int search = 0; search < 40 && std::abs(value) > 1e-9 * std::abs(slope); ++search) {
          double next = t - value / curve;
          if (!(next > low && next < high)) {
            next = 0.5 * (low + high);
          }
          t = next;
          value = derivative(t, &curve);
          (value > 0.0 ? high : low) = t;
        }
      }
      for (size_t i = 0; i < n; ++i) {
        v_[i] += t * step_[i];
      }
    }
    if (!converged) {
      // Accept when the gradient is small against the forces at play; rounding of stiff terms can stop it earlier.
      if (evaluate() > kBalance_n) {
        return Outcome::kLimit;
      }
    }
    double largest = 0.0;
    double power = 0.0;
    for (size_t i = 0; i < n; ++i) {
      const auto s = static_cast<size_t>(set[i]);
      Vec6 mv;
      mv.head<3>() = mass_[s] * v_[i].head<3>();
      mv.tail<3>().noalias() = inertia_[s] * v_[i].tail<3>();
      largest = std::max(largest, mv.cwiseAbs().maxCoeff());
      power += external_[s].dot(v_[i]);
      rest_[i] = mv;
    }
    double violation = 0.0;
    double strongest = 0.0;
    for (size_t c = 0; c < local_count_; ++c) {
      LocalPatch& local = locals_[c];
      for (int k = 0; k < local.count; ++k) {
        for (int j = 0; j < local.generators; ++j) {
          const auto g = static_cast<size_t>(k * kGenerators + j);
          violation += std::max(0.0, -local.value[g]);
          strongest = std::max(strongest, local.lambda[g]);
        }
      }
      local.previous = local.lambda;
    }
    if (largest <= 0.1 * kBalance_n) {
      return strongest <= graph_->parameters().force_bound_n ? Outcome::kBalanced : Outcome::kLimit;
    }
    if (lower_only) {
      // Only the balance is of use here, and a box that its supports cannot hold shows at once.
      if (outer >= 1 && largest > 1e-3) {
        return Outcome::kMoves;
      }
    } else if (power > 0.0 && power >= graph_->parameters().force_bound_n * violation) {
      return Outcome::kMoves;
    }
  }
  return Outcome::kLimit;
}

}  // namespace lumper_core
