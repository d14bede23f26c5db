#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>

#include "lumper_core/plan.hpp"

namespace py = pybind11;
using namespace lumper_core;

namespace {

struct BoxRecord {
  uint32_t id;
  double position[3];
  double orientation[4];
  double size[3];
  uint8_t size_unknown;
  double pose_sigma[6];
  double size_sigma[3];
  double mass;
  double mass_sigma;
  double friction;
  double confidence;
  uint8_t visible_faces;
};

struct GraspRecord {
  uint8_t count;
  uint32_t ids[4];
  uint8_t stroke;
  double position[3];
  double orientation[4];
  uint32_t zones;
  double extract[3];
  double lift;
  double tilt;
  double speed_limit;
  double size[3];
  double load_position[3];
  double load_orientation[4];
  double place_position[3];
  double place_orientation[4];
  double mass;
  double holding_margin;
};

struct RemovalRecord {
  uint32_t id;
  uint8_t verdict;
  uint8_t nontrivial;
  double acceleration;
  uint32_t boxes_solved;
  uint32_t iterations;
  double seconds;
  uint64_t certificate;
};

struct StrokeRecord {
  uint8_t safe;
  uint8_t verdict;
  double displacement;
  double acceleration;
  double speed_limit;
};

struct ContactRecord {
  int32_t a;
  int32_t b;
  double position[3];
  double normal[3];
  double tangent[3];
  double friction;
  uint32_t patch;
};

using BoxArray = py::array_t<BoxRecord, py::array::c_style>;

void copy(const Vec3& from, double* to) { std::memcpy(to, from.data(), 3 * sizeof(double)); }
void copy(const Quaternion& from, double* to) { std::memcpy(to, from.coeffs().data(), 4 * sizeof(double)); }

std::vector<Box> to_boxes(const BoxArray& array) {
  if (array.ndim() != 1) {
    throw InputError(std::nullopt, std::nullopt, "boxes", "boxes must be a one-dimensional array of BOX_DTYPE");
  }
  std::vector<Box> boxes(static_cast<size_t>(array.shape(0)));
  const BoxRecord* records = array.data();
  for (size_t i = 0; i < boxes.size(); ++i) {
    const BoxRecord& r = records[i];
    Box& box = boxes[i];
    box.id = r.id;
    box.position = Eigen::Map<const Vec3>(r.position);
    box.orientation.coeffs() = Eigen::Map<const Eigen::Vector4d>(r.orientation);
    box.size = Eigen::Map<const Vec3>(r.size);
    box.size_unknown = r.size_unknown;
    std::copy_n(r.pose_sigma, 6, box.pose_sigma.begin());
    std::copy_n(r.size_sigma, 3, box.size_sigma.begin());
    box.mass = r.mass;
    box.mass_sigma = r.mass_sigma;
    box.friction = r.friction;
    box.confidence = r.confidence;
    box.visible_faces = r.visible_faces;
  }
  return boxes;
}

void fill(const Box& box, BoxRecord* r) {
  std::memset(static_cast<void*>(r), 0, sizeof(*r));
  r->id = box.id;
  copy(box.position, r->position);
  copy(box.orientation, r->orientation);
  copy(box.size, r->size);
  r->size_unknown = box.size_unknown;
  std::copy(box.pose_sigma.begin(), box.pose_sigma.end(), r->pose_sigma);
  std::copy(box.size_sigma.begin(), box.size_sigma.end(), r->size_sigma);
  r->mass = box.mass;
  r->mass_sigma = box.mass_sigma;
  r->friction = box.friction;
  r->confidence = box.confidence;
  r->visible_faces = box.visible_faces;
}

py::array_t<GraspRecord> to_array(const std::vector<Grasp>& grasps) {
  py::array_t<GraspRecord> array(static_cast<py::ssize_t>(grasps.size()));
  GraspRecord* records = array.mutable_data();
  for (size_t i = 0; i < grasps.size(); ++i) {
    const Grasp& grasp = grasps[i];
    GraspRecord& r = records[i];
    std::memset(static_cast<void*>(&r), 0, sizeof(r));
    r.count = static_cast<uint8_t>(grasp.count);
    std::copy(grasp.ids.begin(), grasp.ids.end(), r.ids);
    r.stroke = static_cast<uint8_t>(grasp.stroke);
    copy(grasp.position, r.position);
    copy(grasp.orientation, r.orientation);
    r.zones = grasp.zones;
    copy(grasp.extract, r.extract);
    r.lift = grasp.lift;
    r.tilt = grasp.tilt;
    r.speed_limit = grasp.speed_limit;
    copy(grasp.size, r.size);
    copy(grasp.load_position, r.load_position);
    copy(grasp.load_orientation, r.load_orientation);
    copy(grasp.place_position, r.place_position);
    copy(grasp.place_orientation, r.place_orientation);
    r.mass = grasp.mass;
    r.holding_margin = grasp.holding_margin;
  }
  return array;
}

RemovalRecord to_record(const ContactGraph& graph, const Statics& statics, const std::vector<int32_t>& slots,
                        const Removal& removal) {
  RemovalRecord r;
  std::memset(static_cast<void*>(&r), 0, sizeof(r));
  r.id = slots.empty() ? 0 : graph.box(slots[0]).id;
  r.verdict = static_cast<uint8_t>(removal.verdict);
  r.nontrivial = statics.nontrivial(slots) ? 1 : 0;
  r.acceleration = removal.acceleration;
  r.boxes_solved = static_cast<uint32_t>(removal.boxes_solved);
  r.iterations = static_cast<uint32_t>(removal.iterations);
  r.seconds = removal.seconds;
  r.certificate = removal.certificate;
  return r;
}

py::array_t<double> vec(const Vec3& v) {
  py::array_t<double> out(3);
  copy(v, out.mutable_data());
  return out;
}

py::array_t<double> vec(const Quaternion& q) {
  py::array_t<double> out(4);
  copy(q, out.mutable_data());
  return out;
}

/// A standing pile with its balance, kept up to date.
class Pile {
 public:
  Pile(const BoxArray& boxes, const Trailer& trailer, const StaticsParameters& parameters)
      : graph_(trailer, parameters), statics_(graph_) {
    add(boxes);
  }

  size_t size() const { return order_.size(); }

  void add(const BoxArray& array) {
    const std::vector<Box> fresh = to_boxes(array);
    py::gil_scoped_release release;
    std::vector<Box> all = boxes();
    all.insert(all.end(), fresh.begin(), fresh.end());
    std::vector<std::string> warnings;
    const std::vector<Box> good = checked(all, graph_.parameters(), &warnings);
    warnings_.insert(warnings_.end(), warnings.begin(), warnings.end());
    for (size_t i = order_.size(); i < good.size(); ++i) {
      graph_.add(good[i]);
      order_.push_back(good[i].id);
    }
    settle(&graph_, &statics_);
  }

  void remove(const std::vector<uint32_t>& ids) {
    const std::vector<int32_t> gone = slots(ids);
    py::gil_scoped_release release;
    for (size_t i = 0; i < gone.size(); ++i) {
      graph_.remove(gone[i]);
      order_.erase(std::find(order_.begin(), order_.end(), ids[i]));
    }
    settle(&graph_, &statics_);
  }

  void move(const BoxArray& array) {
    const std::vector<Box> moved = to_boxes(array);
    std::vector<uint32_t> ids;
    for (const Box& box : moved) {
      ids.push_back(box.id);
    }
    const std::vector<int32_t> old = slots(ids);
    py::gil_scoped_release release;
    const std::vector<Box> good = checked(moved, graph_.parameters(), &warnings_);
    for (const int32_t slot : old) {
      graph_.remove(slot);
    }
    for (const Box& box : good) {
      graph_.add(box);
    }
    settle(&graph_, &statics_);
  }

  std::vector<Box> boxes() const {
    std::vector<Box> all;
    all.reserve(order_.size());
    for (const uint32_t id : order_) {
      all.push_back(graph_.box(graph_.slot_of(id)));
    }
    return all;
  }

  std::vector<int32_t> slots(const std::vector<uint32_t>& ids, bool distinct = true) const {
    std::vector<int32_t> found;
    for (size_t i = 0; i < ids.size(); ++i) {
      const int32_t slot = graph_.slot_of(ids[i]);
      if (slot < 0) {
        throw InputError(ids[i], i, "id", "box " + std::to_string(ids[i]) + " is not in the pile");
      }
      if (distinct && std::find(found.begin(), found.end(), slot) != found.end()) {
        throw InputError(ids[i], i, "id", "box " + std::to_string(ids[i]) + " is named twice");
      }
      found.push_back(slot);
    }
    return found;
  }

  ContactGraph graph_;
  Statics statics_;
  std::vector<uint32_t> order_;
  std::vector<std::string> warnings_;
};

/// Constructor from keyword arguments only; an unknown or mistyped name is a TypeError that names it.
template <typename T>
T from_keywords(const py::kwargs& values) {
  T result;
  py::object target = py::cast(&result, py::return_value_policy::reference);
  for (const auto& [name, value] : values) {
    if (!py::hasattr(target, name)) {
      throw py::type_error("unknown parameter: " + py::cast<std::string>(name));
    }
    py::setattr(target, name, value);
  }
  return result;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "Native part of lumper_core; see the package's __init__.pyi.";

  PYBIND11_NUMPY_DTYPE(BoxRecord, id, position, orientation, size, size_unknown, pose_sigma, size_sigma, mass,
                       mass_sigma, friction, confidence, visible_faces);
  PYBIND11_NUMPY_DTYPE(GraspRecord, count, ids, stroke, position, orientation, zones, extract, lift, tilt, speed_limit,
                       size, load_position, load_orientation, place_position, place_orientation, mass, holding_margin);
  PYBIND11_NUMPY_DTYPE(RemovalRecord, id, verdict, nontrivial, acceleration, boxes_solved, iterations, seconds,
                       certificate);
  PYBIND11_NUMPY_DTYPE(ContactRecord, a, b, position, normal, tangent, friction, patch);
  PYBIND11_NUMPY_DTYPE(StrokeRecord, safe, verdict, displacement, acceleration, speed_limit);
  m.attr("STROKE_DTYPE") = py::dtype::of<StrokeRecord>();
  m.attr("BOX_DTYPE") = py::dtype::of<BoxRecord>();
  m.attr("GRASP_DTYPE") = py::dtype::of<GraspRecord>();
  m.attr("REMOVAL_DTYPE") = py::dtype::of<RemovalRecord>();
  m.attr("CONTACT_DTYPE") = py::dtype::of<ContactRecord>();

  static py::handle input_error =
      PyErr_NewException("lumper_core.InputError", PyExc_ValueError, nullptr);  // lives as long as the interpreter
  m.attr("InputError") = input_error;
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) {
        std::rethrow_exception(p);
      }
    } catch (const InputError& error) {
      py::object value = py::reinterpret_borrow<py::object>(input_error)(error.what());
      value.attr("box_id") = error.box_id ? py::cast(*error.box_id) : py::none();
      value.attr("index") = error.index ? py::cast(*error.index) : py::none();
      value.attr("field") = error.field;
      PyErr_SetObject(input_error.ptr(), value.ptr());
    }
  });

  py::class_<Trailer>(m, "Trailer")
      .def(py::init(&from_keywords<Trailer>))
      .def_readwrite("width_m", &Trailer::width_m)
      .def_readwrite("height_m", &Trailer::height_m)
      .def_readwrite("length_m", &Trailer::length_m);
  py::class_<StaticsParameters>(m, "StaticsParameters")
      .def(py::init(&from_keywords<StaticsParameters>))
      .def_readwrite("vertical_tolerance_m", &StaticsParameters::vertical_tolerance_m)
      .def_readwrite("side_tolerance_m", &StaticsParameters::side_tolerance_m)
      .def_readwrite("shrink_sigmas", &StaticsParameters::shrink_sigmas)
      .def_readwrite("doubt_sigmas", &StaticsParameters::doubt_sigmas)
      .def_readwrite("support_friction", &StaticsParameters::support_friction)
      .def_readwrite("side_friction", &StaticsParameters::side_friction)
      .def_readwrite("max_penetration_m", &StaticsParameters::max_penetration_m)
      .def_readwrite("max_boxes", &StaticsParameters::max_boxes)
      .def_readwrite("acceleration_threshold_mps2", &StaticsParameters::acceleration_threshold_mps2)
      .def_readwrite("force_bound_n", &StaticsParameters::force_bound_n)
      .def_readwrite("verify", &StaticsParameters::verify);
  py::class_<Gripper>(m, "Gripper")
      .def(py::init(&from_keywords<Gripper>))
      .def_readwrite("width_m", &Gripper::width_m)
      .def_readwrite("height_m", &Gripper::height_m)
      .def_readwrite("columns", &Gripper::columns)
      .def_readwrite("rows", &Gripper::rows)
      .def_readwrite("zone_force_n", &Gripper::zone_force_n)
      .def_readwrite("shear_friction", &Gripper::shear_friction)
      .def_readwrite("seal_fraction", &Gripper::seal_fraction)
      .def_readwrite("cup_stroke_m", &Gripper::cup_stroke_m)
      .def_readwrite("safety_factor", &Gripper::safety_factor)
      .def_readwrite("clearance_m", &Gripper::clearance_m);
  py::class_<Arm>(m, "Arm")
      .def(py::init(&from_keywords<Arm>))
      .def_readwrite("mount_x_m", &Arm::mount_x_m)
      .def_readwrite("mount_y_m", &Arm::mount_y_m)
      .def_readwrite("shoulder_z_m", &Arm::shoulder_z_m)
      .def_readwrite("wrist_to_tool_m", &Arm::wrist_to_tool_m)
      .def_readwrite("reach_min_m", &Arm::reach_min_m)
      .def_readwrite("reach_max_m", &Arm::reach_max_m)
      .def_readwrite("payload_kg", &Arm::payload_kg)
      .def_readwrite("tool_speed_mps", &Arm::tool_speed_mps)
      .def_readwrite("tool_acceleration_mps2", &Arm::tool_acceleration_mps2)
      .def_readwrite("carry_speed_mps", &Arm::carry_speed_mps);
  py::class_<Conveyor>(m, "Conveyor")
      .def(py::init(&from_keywords<Conveyor>))
      .def_readwrite("infeed_x_m", &Conveyor::infeed_x_m)
      .def_readwrite("infeed_y_m", &Conveyor::infeed_y_m)
      .def_readwrite("infeed_z_m", &Conveyor::infeed_z_m)
      .def_readwrite("belt_width_m", &Conveyor::belt_width_m);
  py::class_<PlanParameters>(m, "PlanParameters")
      .def(py::init(&from_keywords<PlanParameters>))
      .def_readwrite("max_picks", &PlanParameters::max_picks)
      .def_readwrite("max_group", &PlanParameters::max_group)
      .def_readwrite("lookahead", &PlanParameters::lookahead)
      .def_readwrite("confidence_min", &PlanParameters::confidence_min)
      .def_readwrite("grip_s", &PlanParameters::grip_s)
      .def_readwrite("release_s", &PlanParameters::release_s)
      .def_readwrite("sense_s", &PlanParameters::sense_s)
      .def_readwrite("base_speed_mps", &PlanParameters::base_speed_mps)
      .def_readwrite("base_overhead_s", &PlanParameters::base_overhead_s)
      .def_readwrite("fall_cost_s", &PlanParameters::fall_cost_s)
      .def_readwrite("pull_speed_mps", &PlanParameters::pull_speed_mps)
      .def_readwrite("slow_pull_speed_mps", &PlanParameters::slow_pull_speed_mps)
      .def_readwrite("lift_m", &PlanParameters::lift_m)
      .def_readwrite("tilt_rad", &PlanParameters::tilt_rad)
      .def_readwrite("extract_margin_m", &PlanParameters::extract_margin_m)
      .def_readwrite("working_distance_m", &PlanParameters::working_distance_m)
      .def_readwrite("max_advance_m", &PlanParameters::max_advance_m)
      .def_readwrite("hold_press_n", &PlanParameters::hold_press_n)
      .def_readwrite("drag_cost_s", &PlanParameters::drag_cost_s)
      .def_readwrite("level_cost_spm", &PlanParameters::level_cost_spm)
      .def_readwrite("stroke_limit_m", &PlanParameters::stroke_limit_m);

  py::class_<Certificate>(m, "Certificate")
      .def_property_readonly("_verdict", [](const Certificate& c) { return static_cast<int>(c.removal.verdict); })
      .def_readonly("removed", &Certificate::removed)
      .def_property_readonly("hash", [](const Certificate& c) { return c.removal.certificate; })
      .def_property_readonly("acceleration", [](const Certificate& c) { return c.removal.acceleration; });

  py::class_<Pile>(m, "Pile")
      .def(py::init<const BoxArray&, const Trailer&, const StaticsParameters&>(), py::arg("boxes"),
           py::arg("trailer") = Trailer(), py::arg("parameters") = StaticsParameters())
      .def("__len__", &Pile::size)
      .def("add", &Pile::add, py::arg("boxes"))
      .def("remove", &Pile::remove, py::arg("ids"))
      .def("move", &Pile::move, py::arg("boxes"))
      .def("boxes",
           [](const Pile& pile) {
             const std::vector<Box> boxes = pile.boxes();
             py::array_t<BoxRecord> array(static_cast<py::ssize_t>(boxes.size()));
             for (size_t i = 0; i < boxes.size(); ++i) {
               fill(boxes[i], array.mutable_data() + i);
             }
             return array;
           })
      .def("warnings",
           [](const Pile& pile) {
             std::vector<std::string> all = pile.warnings_;
             const std::vector<std::string> seen = pile.graph_.warnings();
             all.insert(all.end(), seen.begin(), seen.end());
             return all;
           })
      .def("contacts",
           [](const Pile& pile) {
             std::vector<int32_t> row(pile.graph_.slots(), -1);
             for (size_t i = 0; i < pile.order_.size(); ++i) {
               row[static_cast<size_t>(pile.graph_.slot_of(pile.order_[i]))] = static_cast<int32_t>(i);
             }
             std::vector<ContactRecord> records;
             const auto& patches = pile.graph_.patches();
             for (size_t p = 0; p < patches.size(); ++p) {
               const Patch& patch = patches[p];
               for (int k = 0; k < patch.count; ++k) {
                 ContactRecord r;
                 std::memset(static_cast<void*>(&r), 0, sizeof(r));
                 r.a = patch.a < 0 ? patch.a : row[static_cast<size_t>(patch.a)];
                 r.b = row[static_cast<size_t>(patch.b)];
                 copy(patch.points[static_cast<size_t>(k)], r.position);
                 copy(patch.normal, r.normal);
                 copy(patch.tangent1, r.tangent);
                 r.friction = patch.friction;
                 r.patch = static_cast<uint32_t>(p);
                 records.push_back(r);
               }
             }
             return py::array_t<ContactRecord>(static_cast<py::ssize_t>(records.size()), records.data());
           })
      .def("standing",
           [](const Pile& pile) {
             RemovalRecord r = to_record(pile.graph_, pile.statics_, {}, pile.statics_.standing());
             return py::array_t<RemovalRecord>(1, &r);
           })
      .def("unexplained",
           [](const Pile& pile) {
             std::vector<uint32_t> ids;
             for (const int32_t slot : pile.statics_.standing().falls) {
               ids.push_back(pile.graph_.box(slot).id);
             }
             return ids;
           })
      .def(
          "analyse",
          [](Pile& pile, const std::optional<std::vector<uint32_t>>& ids, double budget_s) {
            const std::vector<int32_t> slots = pile.slots(ids ? *ids : pile.order_, false);
            py::array_t<RemovalRecord> array(static_cast<py::ssize_t>(slots.size()));
            RemovalRecord* records = array.mutable_data();
            py::gil_scoped_release release;
            const double start = thread_cpu_s();
            for (size_t i = 0; i < slots.size(); ++i) {
              Removal removal;
              if (thread_cpu_s() - start < budget_s) {
                removal = pile.statics_.analyse({slots[i]});
              }
              records[i] = to_record(pile.graph_, pile.statics_, {slots[i]}, removal);
            }
            return array;
          },
          py::arg("ids") = py::none(), py::arg("budget_s") = 1e9)
      .def(
          "analyse_group",
          [](Pile& pile, const std::vector<uint32_t>& ids) {
            const std::vector<int32_t> slots = pile.slots(ids);
            RemovalRecord r;
            {
              py::gil_scoped_release release;
              Removal removal = pile.statics_.analyse(slots);
              r = to_record(pile.graph_, pile.statics_, slots, removal);
            }
            return py::array_t<RemovalRecord>(1, &r);
          },
          py::arg("ids"))
      .def(
          "certificate",
          [](Pile& pile, const std::vector<uint32_t>& ids) {
            const std::vector<int32_t> slots = pile.slots(ids);
            py::gil_scoped_release release;
            return pile.statics_.certify(slots);
          },
          py::arg("ids"))
      .def("falls",
           [](const Pile& pile, const Certificate& certificate) {
             std::vector<uint32_t> ids;
             for (const int32_t slot : certificate.removal.falls) {
               ids.push_back(pile.graph_.box(slot).id);
             }
             return ids;
           })
      .def("forces",
           [](const Pile& pile, const Certificate& certificate) {
             const auto& patches = pile.graph_.patches();
             std::vector<double> rows;
             for (size_t p = 0; p < patches.size(); ++p) {
               for (int k = 0; k < patches[p].count; ++k) {
                 const Vec3& f = certificate.forces[p * Patch::kMaxPoints + static_cast<size_t>(k)];
                 rows.insert(rows.end(), f.data(), f.data() + 3);
               }
             }
             py::array_t<double> array({static_cast<py::ssize_t>(rows.size() / 3), py::ssize_t{3}});
             std::copy(rows.begin(), rows.end(), array.mutable_data());
             return array;
           })
      .def("direction",
           [](const Pile& pile, const Certificate& certificate) {
             py::array_t<double> array({static_cast<py::ssize_t>(pile.order_.size()), py::ssize_t{6}});
             for (size_t i = 0; i < pile.order_.size(); ++i) {
               const auto slot = static_cast<size_t>(pile.graph_.slot_of(pile.order_[i]));
               std::copy_n(certificate.direction[slot].data(), 6, array.mutable_data() + 6 * i);
             }
             return array;
           })
      .def("relief", [](const Pile& pile) {
        py::array_t<double> array({static_cast<py::ssize_t>(pile.order_.size()), py::ssize_t{6}});
        for (size_t i = 0; i < pile.order_.size(); ++i) {
          const auto slot = static_cast<size_t>(pile.graph_.slot_of(pile.order_[i]));
          std::copy_n(pile.statics_.relief()[slot].data(), 6, array.mutable_data() + 6 * i);
        }
        return array;
      });

  m.def(
      "check",
      [](const Pile& pile, const Certificate& certificate) {
        py::gil_scoped_release release;
        return check(pile.graph_, certificate);
      },
      py::arg("pile"), py::arg("certificate"));

  py::class_<Pick>(m, "Pick")
      .def_property_readonly(
          "carton_ids",
          [](const Pick& p) { return std::vector<uint32_t>(p.grasp.ids.begin(), p.grasp.ids.begin() + p.grasp.count); })
      .def_property_readonly("_stroke", [](const Pick& p) { return static_cast<int>(p.grasp.stroke); })
      .def_property_readonly("grasp_position", [](const Pick& p) { return vec(p.grasp.position); })
      .def_property_readonly("grasp_orientation", [](const Pick& p) { return vec(p.grasp.orientation); })
      .def_property_readonly("zones", [](const Pick& p) { return p.grasp.zones; })
      .def_property_readonly("extract_m", [](const Pick& p) { return vec(p.grasp.extract); })
      .def_property_readonly("lift_m", [](const Pick& p) { return p.grasp.lift; })
      .def_property_readonly("tilt_rad", [](const Pick& p) { return p.grasp.tilt; })
      .def_property_readonly("speed_limit_mps", [](const Pick& p) { return p.grasp.speed_limit; })
      .def_property_readonly("place_position", [](const Pick& p) { return vec(p.grasp.place_position); })
      .def_property_readonly("place_orientation", [](const Pick& p) { return vec(p.grasp.place_orientation); })
      .def_property_readonly("size_m", [](const Pick& p) { return vec(p.grasp.size); })
      .def_property_readonly("load_position", [](const Pick& p) { return vec(p.grasp.load_position); })
      .def_property_readonly("load_orientation", [](const Pick& p) { return vec(p.grasp.load_orientation); })
      .def_property_readonly("mass_kg", [](const Pick& p) { return p.grasp.mass; })
      .def_property_readonly("holding_margin", [](const Pick& p) { return p.grasp.holding_margin; })
      .def_readonly("predicted_accel_mps2", &Pick::predicted_accel_mps2)
      .def_readonly("expected_s", &Pick::expected_s)
      .def_readonly("risk_s", &Pick::risk_s)
      .def_readonly("certificate", &Pick::certificate);
  py::class_<Rejection>(m, "Rejection")
      .def_readonly("carton_id", &Rejection::carton_id)
      .def_property_readonly("_reason", [](const Rejection& r) { return static_cast<int>(r.reason); })
      .def_readonly("figure", &Rejection::figure)
      .def_readonly("limit", &Rejection::limit)
      .def_readonly("because_of", &Rejection::because_of)
      .def_readonly("text", &Rejection::text);
  py::class_<LeastBad>(m, "LeastBad")
      .def_readonly("pick", &LeastBad::pick)
      .def_readonly("rejection", &LeastBad::rejection);
  py::class_<Plan>(m, "Plan")
      .def_property_readonly("_outcome", [](const Plan& p) { return static_cast<int>(p.outcome); })
      .def_readonly("text", &Plan::text)
      .def_readonly("picks", &Plan::picks)
      .def_readonly("rejected", &Plan::rejected)
      .def_readonly("least_bad", &Plan::least_bad)
      .def_readonly("advance_base_m", &Plan::advance_base_m)
      .def_readonly("expected_s", &Plan::expected_s)
      .def_readonly("planning_s", &Plan::planning_s)
      .def_readonly("complete", &Plan::complete)
      .def_readonly("dead_end", &Plan::dead_end);

  py::class_<Planner>(m, "Planner")
      .def(py::init<const Trailer&, const Gripper&, const Arm&, const Conveyor&, const StaticsParameters&,
                    const PlanParameters&>(),
           py::arg("trailer") = Trailer(), py::arg("gripper") = Gripper(), py::arg("arm") = Arm(),
           py::arg("conveyor") = Conveyor(), py::arg("statics") = StaticsParameters(),
           py::arg("parameters") = PlanParameters())
      .def(
          "plan",
          [](Planner& planner, const BoxArray& array, const std::array<double, 3>& base, const py::object& reach,
             const std::optional<py::array_t<double, py::array::c_style | py::array::forcecast>>& unknown,
             const std::vector<uint32_t>& skip, const std::optional<std::map<uint32_t, int>>& failed, int max_failed,
             double budget_s, uint64_t seed) {
            PlanRequest request;
            request.base = {base[0], base[1], base[2]};
            if (!(std::isfinite(base[0]) && std::isfinite(base[1]) && std::isfinite(base[2]))) {
              throw InputError(std::nullopt, std::nullopt, "base", "base must be finite: x, y in m and yaw in rad");
            }
            if (!reach.is_none()) {
              request.reach = [&reach](const std::vector<Grasp>& grasps) {
                py::gil_scoped_acquire acquire;
                const auto times =
                    py::cast<py::array_t<double, py::array::c_style | py::array::forcecast>>(reach(to_array(grasps)));
                return std::vector<double>(times.data(), times.data() + times.size());
              };
            }
            if (unknown) {
              if (unknown->ndim() != 2 || unknown->shape(1) != 6) {
                throw InputError(std::nullopt, std::nullopt, "unknown", "unknown must be (M, 6): min xyz, max xyz");
              }
              for (py::ssize_t i = 0; i < unknown->shape(0); ++i) {
                const double* row = unknown->data(i, 0);
                request.unknown.emplace_back(Eigen::Map<const Vec3>(row), Eigen::Map<const Vec3>(row + 3));
              }
            }
            request.skip = skip;
            if (failed) {
              request.failed = *failed;
            }
            request.max_failed = max_failed;
            request.budget_s = budget_s;
            request.seed = seed;
            const std::vector<Box> boxes = to_boxes(array);
            py::gil_scoped_release release;
            return planner.plan(boxes, request);
          },
          py::arg("boxes"), py::kw_only(), py::arg("base") = std::array<double, 3>{0.0, 0.0, 0.0},
          py::arg("reach") = py::none(), py::arg("unknown") = py::none(), py::arg("skip") = std::vector<uint32_t>{},
          py::arg("failed") = py::none(), py::arg("max_failed") = 2, py::arg("budget_s") = 0.05, py::arg("seed") = 0)
      .def(
          "grasps",
          [](Planner& planner, const BoxArray& array) {
            const std::vector<Box> boxes = to_boxes(array);
            return to_array(planner.grasps(boxes));
          },
          py::arg("boxes"))
      .def(
          "strokes",
          [](Planner& planner, const BoxArray& array, const py::array_t<GraspRecord, py::array::c_style>& asked) {
            const std::vector<Box> boxes = to_boxes(array);
            std::vector<Grasp> grasps(static_cast<size_t>(asked.size()));
            for (size_t i = 0; i < grasps.size(); ++i) {
              const GraspRecord& r = asked.data()[i];
              if (r.count < 1 || r.count > Grasp::kMaxIds || r.stroke > 4) {
                throw InputError(std::nullopt, i, "count", "a grasp has 1 to 4 ids and a stroke of the Stroke values");
              }
              Grasp& grasp = grasps[i];
              grasp.count = r.count;
              std::copy_n(r.ids, Grasp::kMaxIds, grasp.ids.begin());
              grasp.stroke = static_cast<Stroke>(r.stroke);
              grasp.extract = Eigen::Map<const Vec3>(r.extract);
              grasp.lift = r.lift;
              grasp.tilt = r.tilt;
              grasp.speed_limit = r.speed_limit;
            }
            std::vector<StrokePrediction> predictions;
            {
              py::gil_scoped_release release;
              predictions = planner.strokes(boxes, grasps);
            }
            py::array_t<StrokeRecord> array_out(static_cast<py::ssize_t>(predictions.size()));
            for (size_t i = 0; i < predictions.size(); ++i) {
              const StrokePrediction& p = predictions[i];
              StrokeRecord& r = array_out.mutable_data()[i];
              std::memset(static_cast<void*>(&r), 0, sizeof(r));
              r.safe = p.safe ? 1 : 0;
              r.verdict = static_cast<uint8_t>(p.verdict);
              r.displacement = p.displacement_m;
              r.acceleration = p.acceleration;
              r.speed_limit = p.speed_limit_mps;
            }
            return array_out;
          },
          py::arg("boxes"), py::arg("grasps"));
}
