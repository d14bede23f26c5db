#include "lumper_core/contacts.hpp"

#include <algorithm>
#include <cmath>

#include "polygon.hpp"

namespace lumper_core {
namespace {

constexpr double kSupportNormalZ = 0.5;  // a contact whose normal is within 60 deg of vertical carries weight
constexpr double kParallel_rad = 0.03;
constexpr double kLineSlack_m = 0.002;
// Normals this close to level or plumb are taken as such: pose noise must not make two side faces carry weight as a
// wedge.
constexpr double kPlumb = 0.03;
// The same for yaw: a row of cartons stacked square must not be wedged fast by the noise of its side faces.
constexpr double kSquare = 0.06;

double half_extent_along(const Mat3& axes, const Vec3& half, const Vec3& direction) {
  return std::abs(axes.col(0).dot(direction)) * half[0] + std::abs(axes.col(1).dot(direction)) * half[1] +
         std::abs(axes.col(2).dot(direction)) * half[2];
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

/// Variance of a box's edges in the horizontal, m^2. Of what was measured: how far an assumed size may be off is
/// another matter (`keep_sure_half`).
double edge_variance(const Box& box, const Mat3& axes) {
  double worst = 0.0;
  for (int k = 0; k < 3; ++k) {
    if (std::abs(axes(2, k)) > 0.5 || (box.size_unknown & (1U << k)) != 0U) {
      continue;
    }
    const size_t along = std::abs(axes(0, k)) > std::abs(axes(1, k)) ? 0 : 1;
    const double half_size = 0.5 * box.size_sigma[static_cast<size_t>(k)];
    worst = std::max(worst, box.pose_sigma[along] * box.pose_sigma[along] + half_size * half_size);
  }
  return worst;
}

Polygon polygon_of(const std::array<Vec3, Patch::kMaxPoints>& points, int count) {
  Polygon polygon;
  polygon.count = count;
  std::copy_n(points.begin(), count, polygon.points.begin());
  return polygon;
}

}  // namespace

Vec3 Patch::middle() const {
  const Polygon polygon = count > 0 ? polygon_of(points, count) : polygon_of(seen, seen_count);
  Vec3 sum = Vec3::Zero();
  for (int i = 0; i < polygon.count; ++i) {
    sum += polygon.points[static_cast<size_t>(i)];
  }
  return sum / polygon.count;
}

void believe(const Box& lower, const Box& upper, const StaticsParameters& parameters, Trust trust, Patch* patch) {
  const Mat3 lower_axes = lower.orientation.toRotationMatrix();
  const Mat3 upper_axes = upper.orientation.toRotationMatrix();
  const double sigma = std::sqrt(edge_variance(lower, lower_axes) + edge_variance(upper, upper_axes));
  const double doubt_m = parameters.shrink_sigmas * sigma;
  const Polygon seen = polygon_of(patch->seen, patch->seen_count);
  Polygon polygon = seen;
  patch->trust = trust;
  if (trust == Trust::kSure) {
    patch->doubtful = width_m(seen, patch->normal) < parameters.doubt_sigmas * sigma;
    if (patch->doubtful) {
      polygon.count = 0;
    }
    keep_sure_half(lower, lower_axes, &polygon);
    shrink_polygon(doubt_m, patch->normal, &polygon);
  } else if (trust == Trust::kReach) {
    int axis = 0;
    double cosine = 0.0;
    polygon = grown(seen, patch->normal, doubt_m, face_polygon(upper, upper_axes, -patch->normal, &axis, &cosine));
  }
  patch->count = compact(polygon, &patch->points);
}

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
  }
  patch.normal = plumbed(patch.normal);
  patch.count = compact(polygon, &patch.points);
  if (support && kind != 2) {
    patch.seen = patch.points;
    patch.seen_count = patch.count;
    believe(axis.z() > 0.0 ? a : b, axis.z() > 0.0 ? b : a, parameters, Trust::kSure, &patch);
    if (patch.count == patch.seen_count && patch.points == patch.seen) {
      patch.seen_count = 0;
    }
  }
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

}  // namespace lumper_core
