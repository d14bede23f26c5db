#include "lumper_core/contacts.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace lumper_core {
namespace {

constexpr double kCell_m = 0.5;
constexpr double kSupportNormalZ = 0.5;  // a contact whose normal is within 60 deg of vertical carries weight
constexpr double kParallel_rad = 0.03;
constexpr double kLineSlack_m = 0.002;
// Normals this close to level or plumb are taken as such: pose noise must not make two side faces carry weight as a
// wedge.
constexpr double kPlumb = 0.03;
// The same for yaw: a row of cartons stacked square must not be wedged fast by the noise of its side faces.
constexpr double kSquare = 0.06;
// So near under a box, and under so much of it, another one may be what carries it.
constexpr double kUnderneath_m = 0.15;
constexpr double kBeside_m = 0.02;
constexpr double kShrinkKeep = 0.15;  // a patch narrower than twice the shrink keeps this part of its size

struct Polygon {
  static constexpr int kMax = 16;
  int count = 0;
  std::array<Vec3, kMax> points;
};

/// Part of the polygon where normal . p <= offset (Sutherland-Hodgman).
void clip(const Vec3& normal, double offset, Polygon* polygon) {
  Polygon out;
  for (int i = 0; i < polygon->count; ++i) {
    const Vec3& p = polygon->points[static_cast<size_t>(i)];
    const Vec3& q = polygon->points[static_cast<size_t>((i + 1) % polygon->count)];
    const double dp = normal.dot(p) - offset;
    const double dq = normal.dot(q) - offset;
    if (dp <= 0.0 && out.count < Polygon::kMax) {
      out.points[static_cast<size_t>(out.count++)] = p;
    }
    if ((dp < 0.0) != (dq < 0.0) && std::abs(dp - dq) > 1e-15 && dp != 0.0 && dq != 0.0 && out.count < Polygon::kMax) {
      out.points[static_cast<size_t>(out.count++)] = p + (q - p) * (dp / (dp - dq));
    }
  }
  *polygon = out;
}

double half_extent_along(const Mat3& axes, const Vec3& half, const Vec3& direction) {
  return std::abs(axes.col(0).dot(direction)) * half[0] + std::abs(axes.col(1).dot(direction)) * half[1] +
         std::abs(axes.col(2).dot(direction)) * half[2];
}

/// The face of the box that looks most along `direction`, as a polygon.
Polygon face_polygon(const Box& box, const Mat3& axes, const Vec3& direction, int* axis_out, double* cosine) {
  int axis = 0;
  double best = -1.0;
  for (int k = 0; k < 3; ++k) {
    const double c = std::abs(axes.col(k).dot(direction));
    if (c > best + 1e-9) {
      best = c;
      axis = k;
    }
  }
  const double sign = axes.col(axis).dot(direction) >= 0.0 ? 1.0 : -1.0;
  const int u = (axis + 1) % 3;
  const int v = (axis + 2) % 3;
  const Vec3 centre = box.position + axes.col(axis) * (sign * 0.5 * box.size[axis]);
  const Vec3 du = axes.col(u) * (0.5 * box.size[u]);
  const Vec3 dv = axes.col(v) * (0.5 * box.size[v]);
  Polygon polygon;
  polygon.count = 4;
  polygon.points[0] = centre - du - dv;
  polygon.points[1] = centre + du - dv;
  polygon.points[2] = centre + du + dv;
  polygon.points[3] = centre - du + dv;
  *axis_out = axis;
  *cosine = best;
  return polygon;
}

/// Move every edge of a convex polygon inwards by `shrink`; where nothing would be left keep a small core.
void shrink_polygon(double shrink, const Vec3& normal, Polygon* polygon) {
  if (polygon->count == 0 || shrink <= 0.0) {
    return;
  }
  Vec3 centre = Vec3::Zero();
  for (int i = 0; i < polygon->count; ++i) {
    centre += polygon->points[static_cast<size_t>(i)];
  }
  centre /= polygon->count;
  Polygon shrunk = *polygon;
  for (int i = 0; i < polygon->count && shrunk.count > 0; ++i) {
    const Vec3 edge =
        polygon->points[static_cast<size_t>((i + 1) % polygon->count)] - polygon->points[static_cast<size_t>(i)];
    if (edge.norm() < 1e-9) {
      continue;
    }
    Vec3 outward = edge.cross(normal).normalized();
    if (outward.dot(centre - polygon->points[static_cast<size_t>(i)]) > 0.0) {
      outward = -outward;
    }
    // A thin patch must not vanish: it shrinks to a core around its centre instead.
    const double reach = outward.dot(polygon->points[static_cast<size_t>(i)] - centre);
    clip(outward, outward.dot(centre) + std::max(reach - shrink, kShrinkKeep * reach), &shrunk);
  }
  if (shrunk.count == 0) {
    shrunk.count = 1;
    shrunk.points[0] = centre;
  }
  *polygon = shrunk;
}

/// Drop points that lie on top of one another, and reduce to kMaxPoints.
int compact(const Polygon& polygon, std::array<Vec3, Patch::kMaxPoints>* points) {
  int count = 0;
  for (int i = 0; i < polygon.count && count < Patch::kMaxPoints; ++i) {
    const Vec3& p = polygon.points[static_cast<size_t>(i)];
    bool fresh = true;
    for (int k = 0; k < count; ++k) {
      fresh = fresh && ((*points)[static_cast<size_t>(k)] - p).squaredNorm() > 1e-10;
    }
    if (fresh) {
      (*points)[static_cast<size_t>(count++)] = p;
    }
  }
  return count;
}

Vec3 plumbed(const Vec3& normal) {
  if (std::abs(normal.z()) < kPlumb) {
    if (std::abs(normal.y()) < kSquare) {
      return Vec3(normal.x() > 0.0 ? 1.0 : -1.0, 0.0, 0.0);
    }
    if (std::abs(normal.x()) < kSquare) {
      return Vec3(0.0, normal.y() > 0.0 ? 1.0 : -1.0, 0.0);
    }
    return Vec3(normal.x(), normal.y(), 0.0).normalized();
  }
  if (std::hypot(normal.x(), normal.y()) < kPlumb) {
    return Vec3(0.0, 0.0, normal.z() > 0.0 ? 1.0 : -1.0);
  }
  return normal;
}

void set_tangents(const Vec3& preferred, Patch* patch) {
  Vec3 t = preferred - patch->normal * patch->normal.dot(preferred);
  if (t.norm() < 0.1) {
    t = Vec3::UnitX() - patch->normal * patch->normal.x();
    if (t.norm() < 0.1) {
      t = Vec3::UnitY() - patch->normal * patch->normal.y();
    }
  }
  patch->tangent1 = t.normalized();
  patch->tangent2 = patch->normal.cross(patch->tangent1);
}

/// Where a box's depth is an assumption, only its near half is sure to bear anything. (What it rests on itself reaches
/// as far as it does, whatever its depth.)
void keep_sure_half(const Box& box, const Mat3& axes, Polygon* polygon) {
  for (int k = 0; k < 3; ++k) {
    if ((box.size_unknown & (1U << k)) != 0U && std::abs(axes(0, k)) > 0.5) {
      const Vec3 away = axes(0, k) > 0.0 ? axes.col(k) : Vec3(-axes.col(k));
      clip(away, away.dot(box.position), polygon);
    }
  }
}

/// Of what was measured: how far an assumed size may be off is another matter (`keep_sure_half`).
double horizontal_sigma(const Box& box, const Mat3& axes) {
  double lateral = 0.0;
  for (int k = 0; k < 3; ++k) {
    if (std::abs(axes(2, k)) > 0.5 || (box.size_unknown & (1U << k)) != 0U) {
      continue;
    }
    const int along = std::abs(axes(0, k)) > std::abs(axes(1, k)) ? 0 : 1;
    lateral = std::max({lateral, box.pose_sigma[static_cast<size_t>(along)], box.size_sigma[static_cast<size_t>(k)]});
  }
  return lateral;
}

double contact_shrink(double sigma, const StaticsParameters& parameters) {
  return parameters.shrink_m + parameters.shrink_sigmas * sigma;
}

}  // namespace

Patch box_contact(const Box& a, const Box& b, const StaticsParameters& parameters, double* deepest_m) {
  Patch none;
  if (deepest_m != nullptr) {
    *deepest_m = 0.0;
  }
  const Mat3 ra = a.orientation.toRotationMatrix();
  const Mat3 rb = b.orientation.toRotationMatrix();
  const Vec3 ha = 0.5 * a.size;
  const Vec3 hb = 0.5 * b.size;
  const Vec3 d = b.position - a.position;
  const double reach = std::max(parameters.vertical_tolerance_m, parameters.side_tolerance_m);

  double best = -1e300;
  Vec3 axis = Vec3::UnitZ();
  int kind = 0;  // 0: face of a, 1: face of b, 2: edge-edge
  const auto consider = [&](Vec3 candidate, int candidate_kind, double bias) {
    if (candidate.dot(d) < 0.0) {
      candidate = -candidate;
    }
    const double separation =
        candidate.dot(d) - half_extent_along(ra, ha, candidate) - half_extent_along(rb, hb, candidate);
    if (separation > best + bias) {
      best = separation;
      axis = candidate;
      kind = candidate_kind;
    }
    return separation <= reach;
  };
  for (int k = 0; k < 3; ++k) {
    if (!consider(ra.col(k), 0, 0.0)) {
      return none;
    }
  }
  for (int k = 0; k < 3; ++k) {
    if (!consider(rb.col(k), 1, 1e-6)) {
      return none;
    }
  }
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      const Vec3 cross = ra.col(i).cross(rb.col(j));
      const double norm = cross.norm();
      // Nearly parallel edges give no axis of their own.
      if (norm > 0.05 && !consider(cross / norm, 2, 1e-3)) {
        return none;
      }
    }
  }
  if (best < 0.0 && deepest_m != nullptr) {
    *deepest_m = -best;
  }

  const bool support = std::abs(axis.z()) >= kSupportNormalZ;
  if (best > (support ? parameters.vertical_tolerance_m : parameters.side_tolerance_m)) {
    return none;
  }

  Patch patch;
  patch.support = support;
  patch.gap_m = best;
  Polygon polygon;
  if (kind == 2) {
    // The supporting vertices of each box along the axis span an edge; take the middle of their closest points.
    Vec3 pa = a.position;
    Vec3 pb = b.position;
    for (int k = 0; k < 3; ++k) {
      const double ca = ra.col(k).dot(axis);
      const double cb = rb.col(k).dot(axis);
      pa += std::abs(ca) < 1e-6 ? Vec3::Zero().eval() : (ra.col(k) * (ca > 0 ? ha[k] : -ha[k])).eval();
      pb -= std::abs(cb) < 1e-6 ? Vec3::Zero().eval() : (rb.col(k) * (cb > 0 ? hb[k] : -hb[k])).eval();
    }
    int ea = 0;
    int eb = 0;
    for (int k = 1; k < 3; ++k) {
      ea = std::abs(ra.col(k).dot(axis)) < std::abs(ra.col(ea).dot(axis)) ? k : ea;
      eb = std::abs(rb.col(k).dot(axis)) < std::abs(rb.col(eb).dot(axis)) ? k : eb;
    }
    const Vec3 ua = ra.col(ea);
    const Vec3 ub = rb.col(eb);
    const Vec3 w = pa - pb;
    const double c = ua.dot(ub);
    const double denominator = 1.0 - c * c;
    const double sa = std::clamp((c * ub.dot(w) - ua.dot(w)) / denominator, -2.0 * ha[ea], 2.0 * ha[ea]);
    const double sb = std::clamp((ub.dot(w) - c * ua.dot(w)) / denominator, -2.0 * hb[eb], 2.0 * hb[eb]);
    polygon.count = 1;
    polygon.points[0] = 0.5 * (pa + ua * sa + pb + ub * sb);
    patch.normal = axis;
  } else {
    const Box& reference = kind == 0 ? a : b;
    const Mat3& rr = kind == 0 ? ra : rb;
    const Box& incident = kind == 0 ? b : a;
    const Mat3& ri = kind == 0 ? rb : ra;
    const Vec3 outward = kind == 0 ? axis : Vec3(-axis);  // from the reference body to the other one
    int incident_axis = 0;
    double cosine = 0.0;
    polygon = face_polygon(incident, ri, -outward, &incident_axis, &cosine);
    int reference_axis = 0;
    double unused = 0.0;
    face_polygon(reference, rr, outward, &reference_axis, &unused);
    for (int k = 0; k < 3; ++k) {
      if (k == reference_axis) {
        continue;
      }
      const double centre = rr.col(k).dot(reference.position);
      clip(rr.col(k), centre + 0.5 * reference.size[k], &polygon);
      clip(-rr.col(k), -centre + 0.5 * reference.size[k], &polygon);
    }
    if (polygon.count == 0) {
      return none;
    }
    const double face = outward.dot(reference.position) + 0.5 * reference.size[reference_axis];
    double nearest = 1e300;
    for (int i = 0; i < polygon.count; ++i) {
      nearest = std::min(nearest, outward.dot(polygon.points[static_cast<size_t>(i)]) - face);
    }
    if (nearest > (support ? parameters.vertical_tolerance_m : parameters.side_tolerance_m)) {
      return none;
    }
    const double sigma_rotation = std::max({a.pose_sigma[3], a.pose_sigma[4], b.pose_sigma[3], b.pose_sigma[4]});
    const double tilt = std::acos(std::min(1.0, cosine));
    if (tilt > kParallel_rad + 2.0 * sigma_rotation) {
      clip(outward, face + nearest + kLineSlack_m, &polygon);
    }
    for (int i = 0; i < polygon.count; ++i) {
      Vec3& p = polygon.points[static_cast<size_t>(i)];
      p -= outward * (0.5 * (outward.dot(p) - face));
    }
    patch.normal = axis;
    if (support) {
      const Polygon seen = polygon;
      axis.z() > 0.0 ? keep_sure_half(a, ra, &polygon) : keep_sure_half(b, rb, &polygon);
      shrink_polygon(
          contact_shrink(std::hypot(horizontal_sigma(a, ra), horizontal_sigma(b, rb)) / std::sqrt(2.0), parameters),
          outward, &polygon);
      patch.wide_count = compact(seen, &patch.wide);
    }
  }
  patch.normal = plumbed(patch.normal);
  patch.count = compact(polygon, &patch.points);
  patch.friction = support ? std::min({parameters.support_friction, a.friction, b.friction})
                           : std::min({parameters.side_friction, a.friction, b.friction});
  set_tangents(ra.col(0), &patch);
  return patch;
}

Patch plane_contact(const Box& box, int32_t slot, int32_t body, const Vec3& normal, double offset,
                    const StaticsParameters& parameters) {
  const Mat3 axes = box.orientation.toRotationMatrix();
  const bool support = normal.z() > kSupportNormalZ;
  Patch patch;
  int axis = 0;
  double cosine = 0.0;
  Polygon polygon = face_polygon(box, axes, -normal, &axis, &cosine);
  double nearest = 1e300;
  for (int i = 0; i < polygon.count; ++i) {
    nearest = std::min(nearest, normal.dot(polygon.points[static_cast<size_t>(i)]) - offset);
  }
  if (nearest > (support ? parameters.vertical_tolerance_m : parameters.side_tolerance_m)) {
    return patch;
  }
  const double sigma_rotation = std::max(box.pose_sigma[3], box.pose_sigma[4]);
  if (std::acos(std::min(1.0, cosine)) > kParallel_rad + 2.0 * sigma_rotation) {
    clip(normal, offset + nearest + kLineSlack_m, &polygon);
  }
  for (int i = 0; i < polygon.count; ++i) {
    Vec3& p = polygon.points[static_cast<size_t>(i)];
    p -= normal * (normal.dot(p) - offset);
  }
  patch.a = body;
  patch.b = slot;
  patch.normal = normal;
  patch.support = support;
  patch.gap_m = nearest;
  patch.friction =
      support ? std::min(parameters.support_friction, box.friction) : std::min(parameters.side_friction, box.friction);
  patch.count = compact(polygon, &patch.points);
  set_tangents(axes.col(0), &patch);
  return patch;
}

void environment_contacts(const Box& box, int32_t slot, const Trailer& trailer, const StaticsParameters& parameters,
                          std::vector<Patch>* patches) {
  const auto plane = [&](int32_t body, const Vec3& normal, double offset) {
    const Patch patch = plane_contact(box, slot, body, normal, offset, parameters);
    if (patch.count > 0) {
      patches->push_back(patch);
    }
  };
  plane(kFloor, Vec3::UnitZ(), 0.0);
  plane(kLeftWall, -Vec3::UnitY(), -0.5 * trailer.width_m);
  plane(kRightWall, Vec3::UnitY(), -0.5 * trailer.width_m);
  plane(kBackWall, -Vec3::UnitX(), -trailer.length_m);
}

ContactGraph::ContactGraph(const Trailer& trailer, const StaticsParameters& parameters)
    : trailer_(trailer), parameters_(parameters) {}

int64_t ContactGraph::cell_key(int x, int y, int z) const {
  return ((static_cast<int64_t>(x) & 0x1fffff) << 42) | ((static_cast<int64_t>(y) & 0x1fffff) << 21) |
         (static_cast<int64_t>(z) & 0x1fffff);
}

template <typename F>
void ContactGraph::for_cells(const Vec3& low, const Vec3& high, F visit) const {
  const Eigen::Vector3i from = (low / kCell_m).array().floor().cast<int>();
  const Eigen::Vector3i to = (high / kCell_m).array().floor().cast<int>();
  for (int x = from.x(); x <= to.x(); ++x) {
    for (int y = from.y(); y <= to.y(); ++y) {
      for (int z = from.z(); z <= to.z(); ++z) {
        visit(cell_key(x, y, z));
      }
    }
  }
}

int32_t ContactGraph::slot_of(uint32_t id) const {
  const auto found = slot_of_id_.find(id);
  return found == slot_of_id_.end() ? -1 : found->second;
}

void ContactGraph::query(const Vec3& low, const Vec3& high, double margin_m, std::vector<int32_t>* slots) const {
  slots->clear();
  const Vec3 margin = Vec3::Constant(margin_m);
  const Vec3 from = low - margin;
  const Vec3 to = high + margin;
  for_cells(from, to, [&](int64_t key) {
    const auto cell = cells_.find(key);
    if (cell == cells_.end()) {
      return;
    }
    for (const int32_t slot : cell->second) {
      const auto s = static_cast<size_t>(slot);
      if ((low_[s].array() <= to.array()).all() && (high_[s].array() >= from.array()).all()) {
        slots->push_back(slot);
      }
    }
  });
  std::sort(slots->begin(), slots->end());
  slots->erase(std::unique(slots->begin(), slots->end()), slots->end());
}

void ContactGraph::store(const Patch& patch) {
  int32_t index;
  if (free_patches_.empty()) {
    index = static_cast<int32_t>(patches_.size());
    patches_.push_back(patch);
  } else {
    index = free_patches_.back();
    free_patches_.pop_back();
    patches_[static_cast<size_t>(index)] = patch;
  }
  if (patch.a >= 0) {
    adjacent_[static_cast<size_t>(patch.a)].push_back(index);
  }
  adjacent_[static_cast<size_t>(patch.b)].push_back(index);
}

void ContactGraph::discard(int32_t index) {
  Patch& patch = patches_[static_cast<size_t>(index)];
  for (const int32_t body : {patch.a, patch.b}) {
    if (body >= 0) {
      auto& list = adjacent_[static_cast<size_t>(body)];
      list.erase(std::find(list.begin(), list.end(), index));
    }
  }
  patch.count = patch.wide_count = 0;
  patch.a = 0;
  patch.widened = false;
  free_patches_.push_back(index);
}

int32_t ContactGraph::add(const Box& box) {
  int32_t slot;
  if (free_slots_.empty()) {
    slot = static_cast<int32_t>(boxes_.size());
    boxes_.push_back(box);
    alive_.push_back(0);
    low_.emplace_back();
    high_.emplace_back();
    adjacent_.emplace_back();
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
    boxes_[static_cast<size_t>(slot)] = box;
  }
  const auto s = static_cast<size_t>(slot);
  const Mat3 axes = box.orientation.toRotationMatrix();
  const Vec3 half = axes.cwiseAbs() * (0.5 * box.size);
  low_[s] = box.position - half;
  high_[s] = box.position + half;

  const double margin = std::max(parameters_.vertical_tolerance_m, parameters_.side_tolerance_m);
  query(low_[s], high_[s], margin, &scratch_);
  for (const int32_t other : scratch_) {
    const Box& neighbour = boxes_[static_cast<size_t>(other)];
    double deepest = 0.0;
    Patch patch = box_contact(neighbour, box, parameters_, &deepest);
    if (deepest > parameters_.max_penetration_m) {
      std::ostringstream text;
      text << "boxes " << neighbour.id << " and " << box.id << " interpenetrate by " << deepest
           << " m: treated as touching";
      warnings_.push_back(text.str());
    }
    if (patch.count == 0) {
      continue;
    }
    patch.a = other;
    patch.b = slot;
    if (patch.support && patch.normal.z() < 0.0) {
      std::swap(patch.a, patch.b);
      patch.normal = -patch.normal;
      patch.tangent2 = -patch.tangent2;
    }
    store(patch);
  }
  std::vector<Patch> environment;
  environment_contacts(box, slot, trailer_, parameters_, &environment);
  for (const Patch& patch : environment) {
    store(patch);
  }
  for_cells(low_[s], high_[s], [&](int64_t key) { cells_[key].push_back(slot); });
  alive_[s] = 1;
  slot_of_id_[box.id] = slot;
  ++version_;
  return slot;
}

void ContactGraph::remove(int32_t slot) {
  const auto s = static_cast<size_t>(slot);
  while (!adjacent_[s].empty()) {
    discard(adjacent_[s].back());
  }
  for_cells(low_[s], high_[s], [&](int64_t key) {
    auto& cell = cells_[key];
    cell.erase(std::find(cell.begin(), cell.end(), slot));
  });
  alive_[s] = 0;
  slot_of_id_.erase(boxes_[s].id);
  free_slots_.push_back(slot);
  ++version_;
}

bool ContactGraph::carried(int32_t slot) const {
  const Vec3& centre = boxes_[static_cast<size_t>(slot)].position;
  std::vector<double> bearings;
  for (const int32_t index : adjacent_[static_cast<size_t>(slot)]) {
    const Patch& patch = patches_[static_cast<size_t>(index)];
    for (int k = 0; k < patch.count && patch.support && patch.b == slot; ++k) {
      const Vec3 arm = patch.points[static_cast<size_t>(k)] - centre;
      bearings.push_back(std::atan2(arm.y(), arm.x()));
    }
  }
  if (bearings.size() < 3) {
    return false;
  }
  // The centre lies in the hull of the points unless all of them are seen within half a turn.
  std::sort(bearings.begin(), bearings.end());
  double gap = bearings.front() + 2.0 * M_PI - bearings.back();
  for (size_t i = 1; i < bearings.size(); ++i) {
    gap = std::max(gap, bearings[i] - bearings[i - 1]);
  }
  return gap < M_PI;
}

bool ContactGraph::widen(int32_t slot) {
  bool widened = false;
  for (const int32_t index : adjacent_[static_cast<size_t>(slot)]) {
    Patch& patch = patches_[static_cast<size_t>(index)];
    if (patch.support && patch.b == slot && !patch.widened && patch.wide_count > 0) {
      std::swap(patch.points, patch.wide);
      std::swap(patch.count, patch.wide_count);
      patch.widened = widened = true;
    }
  }
  version_ += widened ? 1U : 0U;
  return widened;
}

bool ContactGraph::bear(int32_t slot) {
  const auto s = static_cast<size_t>(slot);
  for (const int32_t index : adjacent_[s]) {
    const Patch& patch = patches_[static_cast<size_t>(index)];
    if (patch.support && patch.b == slot) {
      return false;
    }
  }
  // What stands just below may be what carries it after all, read a little too low: then its removal must count.
  const Vec3 under(low_[s].x(), low_[s].y(), low_[s].z() - kUnderneath_m);
  query(under, Vec3(high_[s].x(), high_[s].y(), low_[s].z()), 0.0, &scratch_);
  for (const int32_t other : scratch_) {
    const auto o = static_cast<size_t>(other);
    const Vec3 shared = high_[s].cwiseMin(high_[o]) - low_[s].cwiseMax(low_[o]);
    if (other != slot && high_[o].z() < low_[s].z() + kUnderneath_m && shared.x() > kBeside_m &&
        shared.y() > kBeside_m) {
      return false;
    }
  }
  const Patch patch = plane_contact(boxes_[s], slot, kUnseen, Vec3::UnitZ(), low_[s].z(), parameters_);
  if (patch.count == 0) {
    return false;
  }
  store(patch);
  ++version_;
  return true;
}

std::vector<std::string> ContactGraph::warnings() const {
  std::vector<std::string> all = warnings_;
  for (const Patch& patch : patches_) {
    if (patch.a == kUnseen) {
      all.push_back("box " + std::to_string(box(patch.b).id) +
                    " has nothing seen under it: taken to stand on something unseen");
    }
  }
  return all;
}

void ContactGraph::narrow() {
  for (size_t p = 0; p < patches_.size(); ++p) {
    if (patches_[p].a == kUnseen) {
      discard(static_cast<int32_t>(p));
      ++version_;
    }
  }
  for (Patch& patch : patches_) {
    if (patch.widened) {
      std::swap(patch.points, patch.wide);
      std::swap(patch.count, patch.wide_count);
      patch.widened = false;
      ++version_;
    }
  }
}

void ContactGraph::clear() { *this = ContactGraph(trailer_, parameters_); }

}  // namespace lumper_core
