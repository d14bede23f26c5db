#include "polygon.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lumper_core {
namespace {

constexpr double kShrinkKeep = 0.15;  // a patch narrower than twice the shrink keeps this part of its size
constexpr double kNoEdge_m = 1e-9;

Vec3 centre_of(const Polygon& polygon) {
  Vec3 centre = Vec3::Zero();
  for (int i = 0; i < polygon.count; ++i) {
    centre += polygon.points[static_cast<size_t>(i)];
  }
  return centre / polygon.count;
}

/// Calls `visit(outward, corner)` with each edge's outward normal in the polygon's plane and its first corner.
template <typename F>
void for_edges(const Polygon& polygon, const Vec3& normal, F visit) {
  const Vec3 centre = centre_of(polygon);
  for (int i = 0; i < polygon.count; ++i) {
    const Vec3& corner = polygon.points[static_cast<size_t>(i)];
    const Vec3 edge = polygon.points[static_cast<size_t>((i + 1) % polygon.count)] - corner;
    if (edge.norm() < kNoEdge_m) {
      continue;
    }
    Vec3 outward = edge.cross(normal).normalized();
    if (outward.dot(centre - corner) > 0.0) {
      outward = -outward;
    }
    visit(outward, corner);
  }
}

}  // namespace

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

void shrink_polygon(double shrink_m, const Vec3& normal, Polygon* polygon) {
  if (polygon->count == 0 || shrink_m <= 0.0) {
    return;
  }
  const Vec3 centre = centre_of(*polygon);
  Polygon shrunk = *polygon;
  for_edges(*polygon, normal, [&](const Vec3& outward, const Vec3& corner) {
    // A thin patch must not vanish: it shrinks to a core around its centre instead.
    const double reach = outward.dot(corner - centre);
    clip(outward, outward.dot(centre) + std::max(reach - shrink_m, kShrinkKeep * reach), &shrunk);
  });
  if (shrunk.count == 0) {
    shrunk.count = 1;
    shrunk.points[0] = centre;
  }
  *polygon = shrunk;
}

Polygon grown(const Polygon& polygon, const Vec3& normal, double reach_m, Polygon face) {
  for_edges(polygon, normal,
            [&](const Vec3& outward, const Vec3& corner) { clip(outward, outward.dot(corner) + reach_m, &face); });
  for (int i = 0; i < face.count; ++i) {
    Vec3& p = face.points[static_cast<size_t>(i)];
    p -= normal * normal.dot(p - polygon.points[0]);
  }
  return face;
}

double width_m(const Polygon& polygon, const Vec3& normal) {
  double width = std::numeric_limits<double>::infinity();
  for_edges(polygon, normal, [&](const Vec3& outward, const Vec3& corner) {
    double across = 0.0;
    for (int i = 0; i < polygon.count; ++i) {
      across = std::max(across, outward.dot(corner - polygon.points[static_cast<size_t>(i)]));
    }
    width = std::min(width, across);
  });
  return width;
}

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

}  // namespace lumper_core
