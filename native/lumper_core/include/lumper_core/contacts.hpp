#pragma once

#include <unordered_map>
#include <vector>

#include "lumper_core/types.hpp"

namespace lumper_core {

/// How much of a support contact is taken to bear weight: what surely does, all that was seen to touch, or as far as
/// the noise of what was seen may have hidden.
enum class Trust : uint8_t { kSure, kSeen, kReach };

/// One flat contact between two bodies. The force on b at each point is a non-negative combination of
/// normal +- friction * tangent1 and normal +- friction * tangent2 (an inner approximation of Coulomb's cone).
struct Patch {
  static constexpr int kMaxPoints = 8;
  int32_t a = 0;  ///< lower body of a support contact: a slot, or an Environment value
  int32_t b = 0;  ///< slot of the body that is pushed along +normal
  Vec3 normal = Vec3::UnitZ();
  Vec3 tangent1 = Vec3::UnitX();
  Vec3 tangent2 = Vec3::UnitY();
  double friction = 0.0;
  double gap_m = 0.0;
  bool support = false;
  int count = 0;
  std::array<Vec3, kMaxPoints> points;
  /// The contact as it was seen; seen_count == 0: caution changes nothing about it.
  int seen_count = 0;
  std::array<Vec3, kMaxPoints> seen;
  Trust trust = Trust::kSure;
  bool doubtful = false;  ///< so narrow that noise alone may have made it up: not sure to bear anything

  /// Where the bodies touch, in the mean; also of a contact that is not sure to bear anything.
  Vec3 middle() const;
};

/// Take as much of a support contact as `trust` says: sets `points` from `seen`.
void believe(const Box& lower, const Box& upper, const StaticsParameters& parameters, Trust trust, Patch* patch);

/// Exact face-face contact of two boxes within the tolerances; count == 0: none. `deepest_m`: interpenetration found.
Patch box_contact(const Box& a, const Box& b, const StaticsParameters& parameters, double* deepest_m);

/// Contact of a box with the half space normal . p <= offset of a body that never moves; count == 0: none.
Patch plane_contact(const Box& box, int32_t slot, int32_t body, const Vec3& normal, double offset,
                    const StaticsParameters& parameters);

/// Contacts of a box with floor and trailer walls.
void environment_contacts(const Box& box, int32_t slot, const Trailer& trailer, const StaticsParameters& parameters,
                          std::vector<Patch>* patches);

/// Boxes in slots with their contacts, kept up to date on add, remove and move through a spatial hash.
class ContactGraph {
 public:
  ContactGraph(const Trailer& trailer, const StaticsParameters& parameters);

  int32_t add(const Box& box);
  void remove(int32_t slot);
  /// Whether a box stands on what is below it by its own weight alone: its centre lies over its supports' hull.
  bool carried(int32_t slot) const;
  /// Trust the contacts under a box one step further; false: nothing is left to trust.
  bool widen(int32_t slot);
  /// Let a box that has nothing known under it stand on something not seen, over its whole lower face; false: it has.
  bool bear(int32_t slot);
  /// Undo every `widen` and `bear`.
  void narrow();
  void clear();

  const Trailer& trailer() const { return trailer_; }
  const StaticsParameters& parameters() const { return parameters_; }
  size_t slots() const { return boxes_.size(); }
  bool alive(int32_t slot) const { return alive_[static_cast<size_t>(slot)] != 0; }
  const Box& box(int32_t slot) const { return boxes_[static_cast<size_t>(slot)]; }
  int32_t slot_of(uint32_t id) const;
  const std::vector<Patch>& patches() const { return patches_; }
  /// Patches that touch a slot (indices into patches()).
  const std::vector<int32_t>& patches_of(int32_t slot) const { return adjacent_[static_cast<size_t>(slot)]; }
  /// Slots whose axis-aligned bounds, grown by `margin_m`, meet [low, high]; ascending.
  void query(const Vec3& low, const Vec3& high, double margin_m, std::vector<int32_t>* slots) const;
  const Vec3& low(int32_t slot) const { return low_[static_cast<size_t>(slot)]; }
  const Vec3& high(int32_t slot) const { return high_[static_cast<size_t>(slot)]; }
  /// What is odd about the boxes, and what is assumed of them because of it.
  std::vector<std::string> warnings() const;
  /// Rises with every change of the patches.
  uint64_t version() const { return version_; }

 private:
  void store(const Patch& patch);
  void discard(int32_t index);
  int64_t cell_key(int x, int y, int z) const;
  template <typename F>
  void for_cells(const Vec3& low, const Vec3& high, F visit) const;

  Trailer trailer_;
  StaticsParameters parameters_;
  std::vector<Box> boxes_;
  std::vector<char> alive_;
  std::vector<Vec3> low_, high_;
  std::vector<int32_t> free_slots_;
  std::vector<Patch> patches_;
  std::vector<int32_t> free_patches_;
  std::vector<std::vector<int32_t>> adjacent_;
  std::unordered_map<uint32_t, int32_t> slot_of_id_;
  std::unordered_map<int64_t, std::vector<int32_t>> cells_;
  std::vector<std::string> warnings_;
  mutable std::vector<int32_t> scratch_;
  uint64_t version_ = 0;
};

}  // namespace lumper_core
