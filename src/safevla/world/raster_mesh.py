"""What the rasteriser needs to know about a model: slots (drawn geoms), flat faces and vertices.

Boxes, planes and meshes are drawn as convex polygons; spheres, ellipsoids, cylinders and capsules are
intersected exactly, pixel by pixel, so that they are round at every size and need no tessellation.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

# Compiled code holds these numbers; numba looks only at the file of a function, so after a change here
# touch raster_kernels.py and raster_shading.py.
FLAT, ELLIPSOID, CYLINDER, CAPSULE = range(4)  # how the surface of a slot is found
PLAIN, WOOD, FABRIC, TILE, WALL, CARPET = range(6)  # procedural textures
TEXTURES = {"wood": WOOD, "fabric": FABRIC, "tile": TILE, "wall": WALL, "carpet": CARPET, "plain": PLAIN}

# A slot is one drawn geom. `size` is half extents in metres; for a capsule (radius, radius, half length
# of its straight part). A curved slot owns one face (a cylinder three: side, top, bottom) without vertices.
SLOT = np.dtype(
    [
        ("geom", np.int32),
        ("shape", np.int32),
        ("texture", np.int32),
        ("first_vertex", np.int32),
        ("end_vertex", np.int32),
        ("first_face", np.int32),
        ("end_face", np.int32),
        ("radius", np.float32),
        ("size_x", np.float32),
        ("size_y", np.float32),
        ("size_z", np.float32),
        ("red", np.float32),
        ("green", np.float32),
        ("blue", np.float32),
    ],
    align=True,
)
# A face is a convex polygon of `corners` vertices (0: a curved surface), counter-clockwise from outside.
FACE = np.dtype(
    [
        ("slot", np.int32),
        ("shape", np.int32),
        ("corners", np.int32),
        ("a", np.int32),
        ("b", np.int32),
        ("c", np.int32),
        ("d", np.int32),
        ("normal_x", np.float32),
        ("normal_y", np.float32),
        ("normal_z", np.float32),
    ],
    align=True,
)

_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
_BOX_FACES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
_BOX_NORMALS = np.array(
    [[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]], dtype=np.float64
)
_PLANE_CORNERS = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=np.float64)
_INFINITE = 50.0  # half size in metres at which an endless plane is drawn
_VISIBLE_GROUPS = 3  # MuJoCo shows geom groups 0 to 2 unless told otherwise
_UNSET_COLOUR = np.array([0.5, 0.5, 0.5, 1.0], dtype=np.float32)  # MuJoCo: this rgba means "ask the material"


@dataclass(frozen=True)
class RasterMesh:
    """The drawn geometry of one model. Read only, so threads may share it.

    Attributes:
        slots: (S,) records of dtype SLOT, one per geom that is drawn.
        faces: (F,) records of dtype FACE.
        vertices: (V, 3) float32, in the frame of their geom, metres.
        ceiling: (S,) bool, slots of geoms whose name starts with "ceiling".
        fovy: (ncam,) float64, vertical field of view of the model's cameras, degrees.
    """

    slots: np.ndarray
    faces: np.ndarray
    vertices: np.ndarray
    ceiling: np.ndarray
    fovy: np.ndarray

    @classmethod
    def from_model(cls, model: mujoco.MjModel) -> RasterMesh:
        """Collect every visible geom of `model`; transparent geoms (alpha 0) and groups above 2 are left out.

        Raises:
            ValueError: a visible geom has a type that cannot be drawn (height field, SDF).
        """
        builder = _Builder(model)
        for geom in np.flatnonzero(model.geom_group < _VISIBLE_GROUPS):
            builder.add(int(geom))
        return builder.finish()


class _Builder:
    """Collects slots, faces and vertices geom by geom."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model = model
        self.slots: list[tuple] = []
        self.faces: list[tuple] = []
        self.vertices: list[np.ndarray] = []
        self.vertex_count = 0
        self.material_texture = [_texture(model, index) for index in range(model.nmat)]
        self.ceiling: list[bool] = []

    def add(self, geom: int) -> None:
        """Append one geom unless it is transparent."""
        model = self.model
        material = int(model.geom_matid[geom])
        colour = model.geom_rgba[geom]
        if material >= 0 and np.array_equal(colour, _UNSET_COLOUR):
            colour = model.mat_rgba[material]
        if colour[3] == 0.0:
            return
        first_vertex, first_face = self.vertex_count, len(self.faces)
        shape, size, radius = self._surface(geom)
        texture = self.material_texture[material] if material >= 0 else PLAIN
        vertex_range = (first_vertex, self.vertex_count)
        face_range = (first_face, len(self.faces))
        self.slots.append((geom, shape, texture, *vertex_range, *face_range, radius, *size, *colour[:3]))
        self.ceiling.append(_name(model, mujoco.mjtObj.mjOBJ_GEOM, geom).startswith("ceiling"))

    def finish(self) -> RasterMesh:
        """Return the collected mesh with read-only arrays."""
        vertices = np.concatenate(self.vertices) if self.vertices else np.zeros((0, 3))
        mesh = RasterMesh(
            slots=np.array(self.slots, dtype=SLOT),
            faces=np.array(self.faces, dtype=FACE),
            vertices=np.ascontiguousarray(vertices, dtype=np.float32),
            ceiling=np.array(self.ceiling, dtype=bool),
            fovy=np.array(self.model.cam_fovy, dtype=np.float64),
        )
        for array in (mesh.slots, mesh.faces, mesh.vertices, mesh.ceiling, mesh.fovy):
            array.flags.writeable = False
        return mesh

    def _surface(self, geom: int) -> tuple[int, tuple[float, float, float], float]:
        """Append the faces of a geom; return its shape, size and bounding radius."""
        kinds = mujoco.mjtGeom
        kind = mujoco.mjtGeom(int(self.model.geom_type[geom]))
        x, y, z = (float(value) for value in self.model.geom_size[geom])
        if kind == kinds.mjGEOM_BOX:
            self._polygons(_CORNERS * (x, y, z), _BOX_FACES, _BOX_NORMALS)
            return FLAT, (x, y, z), float(np.sqrt(x * x + y * y + z * z))
        if kind == kinds.mjGEOM_PLANE:
            x, y = x or _INFINITE, y or _INFINITE
            self._polygons(
                _PLANE_CORNERS * (x, y, 1.0), np.array([[0, 1, 2, 3]]), np.array([[0.0, 0.0, 1.0]])
            )
            return FLAT, (x, y, 0.0), float(np.hypot(x, y))
        if kind == kinds.mjGEOM_MESH:
            return self._mesh(geom)
        if kind in (kinds.mjGEOM_SPHERE, kinds.mjGEOM_ELLIPSOID):
            size = (x, x, x) if kind == kinds.mjGEOM_SPHERE else (x, y, z)
            self._curved(ELLIPSOID)
            return ELLIPSOID, size, max(size)
        if kind == kinds.mjGEOM_CYLINDER:
            self._curved(CYLINDER)
            self._curved(FLAT, normal_z=1.0)
            self._curved(FLAT, normal_z=-1.0)
            return CYLINDER, (x, x, y), float(np.hypot(x, y))
        if kind == kinds.mjGEOM_CAPSULE:
            self._curved(CAPSULE)
            return CAPSULE, (x, x, y), x + y
        name = _name(self.model, mujoco.mjtObj.mjOBJ_GEOM, geom) or f"number {geom}"
        raise ValueError(
            f"geom {name} is of a type that the raster cannot draw; replace it by a mesh or a primitive"
        )

    def _mesh(self, geom: int) -> tuple[int, tuple[float, float, float], float]:
        """Append the triangles of a mesh geom; faces without area are dropped."""
        model, mesh = self.model, int(self.model.geom_dataid[geom])
        start, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
        points = model.mesh_vert[start : start + count].astype(np.float64)
        start, count = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
        corners = model.mesh_face[start : start + count]
        a, b, c = (points[corners[:, index]] for index in range(3))
        normals = np.cross(b - a, c - a)
        length = np.linalg.norm(normals, axis=1)
        solid = length > 1e-12
        self._polygons(points, corners[solid], normals[solid] / length[solid, None])
        half = np.abs(points).max(axis=0)
        return (
            FLAT,
            (float(half[0]), float(half[1]), float(half[2])),
            float(np.linalg.norm(points, axis=1).max()),
        )

    def _polygons(self, points: np.ndarray, corners: np.ndarray, normals: np.ndarray) -> None:
        slot, base, count = len(self.slots), self.vertex_count, corners.shape[1]
        for row, normal in zip((corners + base).tolist(), normals.tolist(), strict=True):
            self.faces.append((slot, FLAT, count, *row, *([-1] * (4 - count)), *normal))
        self.vertices.append(points)
        self.vertex_count += len(points)

    def _curved(self, shape: int, normal_z: float = 0.0) -> None:
        self.faces.append((len(self.slots), shape, 0, -1, -1, -1, -1, 0.0, 0.0, normal_z))


def _name(model: mujoco.MjModel, kind: mujoco.mjtObj, index: int) -> str:
    return mujoco.mj_id2name(model, kind, index) or ""


def _texture(model: mujoco.MjModel, material: int) -> int:
    """Choose a procedural texture by the start of the material's name."""
    name = _name(model, mujoco.mjtObj.mjOBJ_MATERIAL, material)
    return next((texture for prefix, texture in TEXTURES.items() if name.startswith(prefix)), PLAIN)
