#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "statics_detail.hpp"

namespace lumper_core {
namespace {

constexpr int kMaxFallRounds = 6;
constexpr size_t kMaxFallSet = 48;

/// FNV-1a over 64-bit words: eight times quicker than over bytes, for what is hashed in the hot loop.
uint64_t hash_words(const double* values, size_t count, uint64_t hash) {
  for (size_t i = 0; i < count; ++i) {
    uint64_t word = 0;
    std::memcpy(&word, values + i, sizeof(word));
    hash = (hash ^ word) * 0x100000001b3ULL;
    hash ^= hash >> 32;
  }
  return hash;
}

}  // namespace

Statics::Statics(const ContactGraph& graph) : graph_(&graph) {}

void Statics::resize() {
  const size_t slots = graph_->slots();
  const size_t patches = graph_->patches().size();
  lambda_.assign(patches * kStride, 0.0);
  external_.assign(slots, Vec6::Zero());
  residual_.assign(slots, Vec6::Zero());
  velocity_.assign(slots, Vec6::Zero());
  relief_.assign(slots, Vec6::Zero());
  mass_.assign(slots, 1.0);
  inertia_.assign(slots, Mat3::Identity());
  patch_stamp_.assign(patches, 0);
  local_stamp_.assign(patches, 0);
  slot_stamp_.assign(slots, 0);
  removed_stamp_.assign(slots, 0);
  member_stamp_.assign(slots, 0);
  local_index_.assign(slots, -1);
  epoch_ = member_epoch_ = local_epoch_ = 0;
  pile_hash_ = fnv1a(nullptr, 0);
  for (size_t s = 0; s < slots; ++s) {
    const auto slot = static_cast<int32_t>(s);
    if (!graph_->alive(slot)) {
      continue;
    }
    const Box& box = graph_->box(slot);
    mass_[s] = box.mass;
    const Mat3 axes = box.orientation.toRotationMatrix();
    const Vec3 sq = box.size.cwiseProduct(box.size);
    const Vec3 principal = Vec3(sq.y() + sq.z(), sq.x() + sq.z(), sq.x() + sq.y()) * (box.mass / 12.0);
    inertia_[s] = axes * principal.asDiagonal() * axes.transpose() / (kLength_m * kLength_m);
    external_[s][2] = -box.mass * kGravity;
    pile_hash_ = fnv1a(&box.id, sizeof(box.id), pile_hash_);
    pile_hash_ = fnv1a(box.position.data(), 3 * sizeof(double), pile_hash_);
    pile_hash_ = fnv1a(box.orientation.coeffs().data(), 4 * sizeof(double), pile_hash_);
    pile_hash_ = fnv1a(box.size.data(), 3 * sizeof(double), pile_hash_);
    pile_hash_ = fnv1a(&box.mass, sizeof(double), pile_hash_);
    pile_hash_ = fnv1a(&box.friction, sizeof(double), pile_hash_);
  }
}

void Statics::touch_patch(int32_t patch) {
  const auto p = static_cast<size_t>(patch);
  if (patch_stamp_[p] == epoch_) {
    return;
  }
  patch_stamp_[p] = epoch_;
  Undo undo;
  undo.index = patch;
  std::copy_n(&lambda_[p * kStride], kStride, undo.lambda.begin());
  undo_patches_.push_back(undo);
}

void Statics::touch_slot(int32_t slot) {
  const auto s = static_cast<size_t>(slot);
  if (slot_stamp_[s] != epoch_) {
    slot_stamp_[s] = epoch_;
    undo_slots_.emplace_back(slot, residual_[s]);
  }
}

void Statics::wake(int32_t slot) {
  const auto s = static_cast<size_t>(slot);
  if (removed_stamp_[s] != epoch_ && residual_[s].cwiseAbs().maxCoeff() > kBalance_n) {
    heap_.emplace_back(graph_->low(slot).z(), slot);
    std::push_heap(heap_.begin(), heap_.end());
  }
}

void Statics::begin(const std::vector<int32_t>& removed) {
  ++epoch_;
  ++member_epoch_;
  undo_patches_.clear();
  undo_slots_.clear();
  undo_external_.clear();
  heap_.clear();
  set_.clear();
  iterations_ = 0;
  largest_set_ = 0;
  for (const int32_t slot : removed) {
    removed_stamp_[static_cast<size_t>(slot)] = epoch_;
  }
  for (const int32_t slot : removed) {
    for (const int32_t index : graph_->patches_of(slot)) {
      const Patch& patch = graph_->patches()[static_cast<size_t>(index)];
      const int32_t other = patch.a == slot ? patch.b : patch.a;
      if (other < 0 || removed_stamp_[static_cast<size_t>(other)] == epoch_) {
        continue;
      }
      const double* lambda = &lambda_[static_cast<size_t>(index) * kStride];
      const double sign = patch.b == other ? -1.0 : 1.0;
      Vec6 lost = Vec6::Zero();
      bool loaded = false;
      for (int k = 0; k < patch.count; ++k) {
        const double* l = lambda + k * kGenerators;
        const double normal = l[0] + l[1] + l[2] + l[3];
        if (normal == 0.0) {
          continue;
        }
        loaded = true;
        const Vec3 force = patch.normal * normal + patch.tangent1 * (patch.friction * (l[0] - l[1])) +
                           patch.tangent2 * (patch.friction * (l[2] - l[3]));
        lost += spatial(force, (patch.points[static_cast<size_t>(k)] - graph_->box(other).position) / kLength_m);
      }
      if (loaded) {
        touch_slot(other);
        residual_[static_cast<size_t>(other)] += sign * lost;
        wake(other);
      }
    }
  }
}

void Statics::end() {
  for (const Undo& undo : undo_patches_) {
    std::copy_n(undo.lambda.begin(), kStride, &lambda_[static_cast<size_t>(undo.index) * kStride]);
  }
  for (const auto& [slot, residual] : undo_slots_) {
    residual_[static_cast<size_t>(slot)] = residual;
  }
  for (const auto& [slot, external] : undo_external_) {
    external_[static_cast<size_t>(slot)] = external;
  }
}

void Statics::commit(const std::vector<int32_t>& set) {
  for (size_t c = 0; c < local_count_; ++c) {
    const LocalPatch& local = locals_[c];
    const Patch& patch = graph_->patches()[static_cast<size_t>(local.patch)];
    double* stored = &lambda_[static_cast<size_t>(local.patch) * kStride];
    bool changed = false;
    for (int g = 0; g < local.count * kGenerators && !changed; ++g) {
      changed = stored[g] != local.lambda[static_cast<size_t>(g)];
    }
    if (!changed) {
      continue;
    }
    touch_patch(local.patch);
    Vec3 total = Vec3::Zero();
    Vec3 moment = Vec3::Zero();  // about the origin
    for (int k = 0; k < local.count; ++k) {
      const double* now = &local.lambda[static_cast<size_t>(k * kGenerators)];
      double* before = stored + k * kGenerators;
      double d[4];
      for (int j = 0; j < 4; ++j) {
        d[j] = j < local.generators ? now[j] - before[j] : 0.0;
        if (j < local.generators) {
          before[j] = now[j];
        }
      }
      const Vec3 force = local.normal * (d[0] + d[1] + d[2] + d[3]) + local.tangent1 * (local.mu * (d[0] - d[1])) +
                         local.tangent2 * (local.mu * (d[2] - d[3]));
      total += force;
      moment += patch.points[static_cast<size_t>(k)].cross(force);
    }
    const auto apply = [&](int32_t body, double sign) {
      if (body < 0) {
        return;
      }
      touch_slot(body);
      Vec6 wrench;
      wrench.head<3>() = total;
      wrench.tail<3>() = (moment - graph_->box(body).position.cross(total)) / kLength_m;
      residual_[static_cast<size_t>(body)] += sign * wrench;
      if ((body == patch.a ? local.a : local.b) < 0) {
        wake(body);
      }
    };
    apply(patch.a, -1.0);
    apply(patch.b, 1.0);
  }
  for (size_t i = 0; i < set.size(); ++i) {
    velocity_[static_cast<size_t>(set[i])] = v_[i];
  }
}

bool Statics::rests_on_set(int32_t slot) const {
  for (const int32_t index : graph_->patches_of(slot)) {
    const Patch& patch = graph_->patches()[static_cast<size_t>(index)];
    if (patch.support && patch.b == slot && patch.a >= 0 &&
        member_stamp_[static_cast<size_t>(patch.a)] == member_epoch_) {
      return true;
    }
  }
  return false;
}

Statics::Outcome Statics::run(Removal* removal, bool standing) {
  const auto join = [this](int32_t slot) {
    if (member_stamp_[static_cast<size_t>(slot)] != member_epoch_) {
      member_stamp_[static_cast<size_t>(slot)] = member_epoch_;
      set_.push_back(slot);
      return true;
    }
    return false;
  };
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end());
    const int32_t slot = heap_.back().second;
    heap_.pop_back();
    if (residual_[static_cast<size_t>(slot)].cwiseAbs().maxCoeff() <= kBalance_n) {
      continue;
    }
    if (member_stamp_[static_cast<size_t>(slot)] != member_epoch_ && !rests_on_set(slot)) {
      single_.assign(1, slot);
      if (solve(single_, true) == Outcome::kBalanced) {
        commit(single_);
        continue;
      }
    }
    join(slot);
    // Whatever else is out of balance and rests on the set can only be balanced together with it.
    for (const auto& entry : heap_) {
      if (residual_[static_cast<size_t>(entry.second)].cwiseAbs().maxCoeff() > kBalance_n &&
          rests_on_set(entry.second)) {
        join(entry.second);
      }
    }
    // First without disturbing what rests on the set: then nothing above has to be solved.
    if (set_.size() > 1 && solve(set_, true) == Outcome::kBalanced) {
      commit(set_);
      continue;
    }
    const Outcome outcome = solve(set_, false);
    if (outcome == Outcome::kLimit && !standing) {
      return outcome;
    }
    if (outcome != Outcome::kLimit) {
      commit(set_);
    }
    if (outcome == Outcome::kBalanced) {
      continue;
    }
    if (standing) {
      // What balance cannot be found for counts as not explained, like what cannot be balanced: the rest goes on.
      removal->verdict = Verdict::kCollapses;
      for (size_t i = 0; i < set_.size(); ++i) {
        const auto s = static_cast<size_t>(set_[i]);
        external_[s] -= residual_[s];
        relief_[s] -= residual_[s];
        residual_[s].setZero();
        const double acceleration = outcome == Outcome::kLimit ? 0.0 : v_[i].head<3>().norm();
        removal->acceleration = std::max(removal->acceleration, acceleration);
        if (acceleration > graph_->parameters().acceleration_threshold_mps2) {
          removal->falls.push_back(set_[i]);
        }
      }
      set_.clear();
      ++member_epoch_;
      continue;
    }
    for (int round = 0; round < kMaxFallRounds && set_.size() < kMaxFallSet; ++round) {
      bool grown = false;
      for (const auto& entry : heap_) {
        if (residual_[static_cast<size_t>(entry.second)].cwiseAbs().maxCoeff() > kBalance_n &&
            rests_on_set(entry.second)) {
          grown = join(entry.second) || grown;
        }
      }
      if (!grown) {
        break;
      }
      if (solve(set_, false) != Outcome::kMoves) {
        return Outcome::kLimit;
      }
      commit(set_);
    }
    return Outcome::kMoves;
  }
  return Outcome::kBalanced;
}

void Statics::report(Removal* removal) {
  uint64_t hash = pile_hash_;
  const auto verdict = static_cast<uint8_t>(removal->verdict);
  hash = fnv1a(&verdict, 1, hash);
  if (removal->verdict == Verdict::kCollapses) {
    ranked_.clear();
    for (size_t i = 0; i < set_.size(); ++i) {
      const Box& box = graph_->box(set_[i]);
      const Mat3 axes = box.orientation.toRotationMatrix();
      double largest = 0.0;
      for (int corner = 0; corner < 8; ++corner) {
        const Vec3 sign((corner & 1) != 0 ? 0.5 : -0.5, (corner & 2) != 0 ? 0.5 : -0.5, (corner & 4) != 0 ? 0.5 : -0.5);
        const Vec3 arm = axes * box.size.cwiseProduct(sign) / kLength_m;
        largest = std::max(largest, (v_[i].head<3>() + v_[i].tail<3>().cross(arm)).norm());
      }
      ranked_.emplace_back(-largest, set_[i]);
      removal->acceleration = std::max(removal->acceleration, largest);
      hash = fnv1a(&box.id, sizeof(box.id), hash);
      hash = fnv1a(v_[i].data(), sizeof(double) * 6, hash);
    }
    std::sort(ranked_.begin(), ranked_.end());
    removal->falls.reserve(ranked_.size());
    for (const auto& [acceleration, slot] : ranked_) {
      if (-acceleration > graph_->parameters().acceleration_threshold_mps2) {
        removal->falls.push_back(slot);
      }
    }
  } else {
    for (const Undo& undo : undo_patches_) {
      hash = fnv1a(&undo.index, sizeof(undo.index), hash);
      const Patch& patch = graph_->patches()[static_cast<size_t>(undo.index)];
      hash = hash_words(&lambda_[static_cast<size_t>(undo.index) * kStride],
                        static_cast<size_t>(patch.count * kGenerators), hash);
    }
  }
  removal->certificate = hash;
  removal->iterations = iterations_;
  removal->boxes_solved = largest_set_;
}

void Statics::update() {
  const double start = thread_cpu_s();
  resize();
  standing_ = Removal();
  standing_.verdict = Verdict::kStable;
  begin({});
  for (size_t s = 0; s < graph_->slots(); ++s) {
    const auto slot = static_cast<int32_t>(s);
    if (graph_->alive(slot)) {
      residual_[s] = external_[s];
      wake(slot);
    } else {
      removed_stamp_[s] = epoch_;
    }
  }
  run(&standing_, true);
  standing_.iterations = iterations_;
  standing_.boxes_solved = largest_set_;
  undo_patches_.clear();
  undo_slots_.clear();
  for (Vec6& wrench : relief_) {
    wrench.tail<3>() *= kLength_m;
  }
  standing_.certificate = pile_hash_;
  standing_.seconds = thread_cpu_s() - start;
}

Removal Statics::analyse(const std::vector<int32_t>& removed, const std::vector<Load>& loads) {
  const double start = thread_cpu_s();
  Removal removal;
  begin(removed);
  for (const Load& load : loads) {
    const auto s = static_cast<size_t>(load.slot);
    if (removed_stamp_[s] == epoch_) {
      continue;
    }
    touch_slot(load.slot);
    undo_external_.emplace_back(load.slot, external_[s]);
    Vec6 wrench;
    wrench.head<3>() = load.force;
    wrench.tail<3>() = load.torque / kLength_m;
    external_[s] += wrench;
    residual_[s] += wrench;
    wake(load.slot);
  }
  const Outcome outcome = run(&removal, false);
  removal.verdict = outcome == Outcome::kBalanced ? Verdict::kStable
                    : outcome == Outcome::kMoves  ? Verdict::kCollapses
                                                  : Verdict::kUndecided;
  report(&removal);
  // Later undo of `external_` must restore the first value where a slot was loaded twice.
  std::reverse(undo_external_.begin(), undo_external_.end());
  end();
  // With a load on there is no certificate: its wrench is no part of what `check` knows.
  if (graph_->parameters().verify && loads.empty() && removal.verdict != Verdict::kUndecided &&
      !check(*graph_, certify(removed)).empty()) {
    removal.verdict = Verdict::kUndecided;
  }
  removal.seconds = thread_cpu_s() - start;
  return removal;
}

Certificate Statics::certify(const std::vector<int32_t>& removed) {
  const double start = thread_cpu_s();
  Certificate certificate;
  begin(removed);
  Removal& removal = certificate.removal;
  const Outcome outcome = run(&removal, false);
  removal.verdict = outcome == Outcome::kBalanced ? Verdict::kStable
                    : outcome == Outcome::kMoves  ? Verdict::kCollapses
                                                  : Verdict::kUndecided;
  report(&removal);
  for (const int32_t slot : removed) {
    certificate.removed.push_back(graph_->box(slot).id);
  }
  const auto& patches = graph_->patches();
  certificate.forces.assign(patches.size() * Patch::kMaxPoints, Vec3::Zero());
  certificate.direction.assign(graph_->slots(), Vec6::Zero());
  certificate.relief = relief_;
  if (removal.verdict == Verdict::kStable) {
    for (size_t p = 0; p < patches.size(); ++p) {
      const Patch& patch = patches[p];
      const bool gone = (patch.a >= 0 && removed_stamp_[static_cast<size_t>(patch.a)] == epoch_) ||
                        removed_stamp_[static_cast<size_t>(patch.b)] == epoch_;
      for (int k = 0; k < patch.count && !gone; ++k) {
        const double* l = &lambda_[p * kStride + static_cast<size_t>(k * kGenerators)];
        certificate.forces[p * Patch::kMaxPoints + static_cast<size_t>(k)] =
            patch.normal * (l[0] + l[1] + l[2] + l[3]) + patch.tangent1 * (patch.friction * (l[0] - l[1])) +
            patch.tangent2 * (patch.friction * (l[2] - l[3]));
      }
    }
  } else if (removal.verdict == Verdict::kCollapses) {
    for (size_t i = 0; i < set_.size(); ++i) {
      Vec6 direction = v_[i];
      direction.tail<3>() /= kLength_m;
      certificate.direction[static_cast<size_t>(set_[i])] = direction;
    }
  }
  end();
  removal.seconds = thread_cpu_s() - start;
  return certificate;
}

bool Statics::nontrivial(const std::vector<int32_t>& slots) const {
  const auto among = [&slots](int32_t slot) { return std::find(slots.begin(), slots.end(), slot) != slots.end(); };
  bool carries = false;
  for (const int32_t slot : slots) {
    for (const int32_t index : graph_->patches_of(slot)) {
      const Patch& patch = graph_->patches()[static_cast<size_t>(index)];
      if (!patch.support || patch.a != slot || among(patch.b)) {
        continue;
      }
      carries = true;
      bool other_support = false;
      for (const int32_t other : graph_->patches_of(patch.b)) {
        const Patch& below = graph_->patches()[static_cast<size_t>(other)];
        other_support = other_support || (below.support && below.b == patch.b && !among(below.a));
      }
      if (!other_support) {
        return false;
      }
    }
  }
  return carries;
}

double Statics::load_on(int32_t slot) const {
  double total = 0.0;
  for (const int32_t index : graph_->patches_of(slot)) {
    const Patch& patch = graph_->patches()[static_cast<size_t>(index)];
    if (patch.support && patch.b == slot) {
      for (int g = 0; g < patch.count * kGenerators; ++g) {
        total += lambda_[static_cast<size_t>(index) * kStride + static_cast<size_t>(g)];
      }
    }
  }
  return total;
}

double Statics::load_between(int32_t lower, int32_t upper) const {
  double total = 0.0;
  for (const int32_t index : graph_->patches_of(upper)) {
    const Patch& patch = graph_->patches()[static_cast<size_t>(index)];
    if (patch.support && patch.a == lower && patch.b == upper) {
      for (int g = 0; g < patch.count * kGenerators; ++g) {
        total += lambda_[static_cast<size_t>(index) * kStride + static_cast<size_t>(g)];
      }
    }
  }
  return total;
}

}  // namespace lumper_core
