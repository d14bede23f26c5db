#pragma once

#include "lumper_core/contacts.hpp"

/// Flat convex polygons in space: what two faces share, and how much of it is believed.
namespace lumper_core {

struct Polygon {
  static constexpr int kMax = 16;
  int count = 0;
  std::array<Vec3, kMax> points;
};

/// Part of the polygon where normal . p <= offset (Sutherland-Hodgman).
void clip(const Vec3& normal, double offset, Polygon* polygon);
/// The face of the box that looks most along `direction`.
Polygon face_polygon(const Box& box, const Mat3& axes, const Vec3& direction, int* axis_out, double* cosine);
/// Move every edge of a convex polygon inwards by `shrink_m`; where nothing would be left keep a small core.
void shrink_polygon(double shrink_m, const Vec3& normal, Polygon* polygon);
/// Part of `face` that lies no further than `reach_m` outside of the polygon, in the polygon's plane.
Polygon grown(const Polygon& polygon, const Vec3& normal, double reach_m, Polygon face);
/// Least distance of two parallels that the polygon lies between, m.
double width_m(const Polygon& polygon, const Vec3& normal);
/// Drop points that lie on top of one another, and reduce to kMaxPoints.
int compact(const Polygon& polygon, std::array<Vec3, Patch::kMaxPoints>* points);

}  // namespace lumper_core
