"""What the rasteriser needs to know about a model: slots (drawn geoms), flat faces and vertices.

Boxes, planes and meshes are drawn as convex polygons; spheres, ellipsoids, cylinders and capsules are
intersected exactly, pixel by pixel, so that they are round at every size and need no tessellation.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from safevla.world.appearance import surface_colours
from safevla.world.lighting import Lighting

# Compiled code holds these numbers; numba looks only at the file of a function, so after a change here
# touch raster_kernels.py and raster_shading.py.
FLAT, ELLIPSOID, CYLINDER, CAPSULE = range(4)  # how the surface of a slot is found
PLAIN, WOOD, FABRIC, TILE, WALL, CARPET, FOLIAGE, WICKER, STRIPES, CHECKS, MARBLE = range(11)  # textures

# By the start of a material's name: texture, and how strongly highlights show. The last entry is for others.
MATERIALS = {
    "wood": (WOOD, 0.05),
    "fabric": (FABRIC, 0.0),
    "tile": (TILE, 0.05),
    "wall": (WALL, 0.0),
    "carpet": (CARPET, 0.0),
    "foliage": (FOLIAGE, 0.0),
    "wicker": (WICKER, 0.0),
    "stripes": (STRIPES, 0.0),
    "checks": (CHECKS, 0.0),
    "marble": (MARBLE, 0.3),
    "metal": (PLAIN, 0.6),
    "glass": (PLAIN, 0.8),
    "": (PLAIN, 0.2),
}

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
        ("gloss", np.float32),
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

_INFINITE = 50.0  # half size in metres at which an endless plane is drawn
_VISIBLE_GROUPS = 3  # MuJoCo shows geom groups 0 to 2 unless told otherwise


@dataclass(frozen=True)
class RasterMesh:
    """The drawn geometry of one model. Read only, so threads may share it.

    Attributes:
        slots: (S,) records of dtype SLOT, one per geom that is drawn.
        faces: (F,) records of dtype FACE.
        vertices: (V, 3) float32, in the frame of their geom, metres.
        ceiling: (S,) bool, slots of geoms whose name starts with "ceiling".
        fovy: (ncam,) float64, vertical field of view of the model's cameras, degrees.
        lighting: of the model.
    """

    slots: np.ndarray
    faces: np.ndarray
    vertices: np.ndarray
    ceiling: np.ndarray
    fovy: np.ndarray
    lighting: Lighting

    @classmethod
    def from_model(cls, model: mujoco.MjModel) -> RasterMesh:
        """Collect every visible geom of `model`; transparent geoms (alpha 0) and groups above 2 are left out.

        Raises:
            ValueError: a visible geom has a type that cannot be drawn (height field, SDF).
        """
        colours = surface_colours(model)
        geoms = np.flatnonzero((model.geom_group < _VISIBLE_GROUPS) & (colours[:, 3] > 0.0))
        forms = _forms(model, geoms)
        sizes = _sizes(model, geoms)
        vertex_ends = np.cumsum([len(form.points) for form in forms], dtype=np.int32)
        face_ends = np.cumsum([len(form.corners) for form in forms], dtype=np.int32)
        slots = np.zeros(len(geoms), SLOT)
        slots["geom"] = geoms
        slots["shape"] = [form.shape for form in forms]
        textures, gloss = _finishes(model)
        slots["texture"] = textures[model.geom_matid[geoms]]
        slots["gloss"] = gloss[model.geom_matid[geoms]]
        slots["first_vertex"][1:], slots["end_vertex"] = vertex_ends[:-1], vertex_ends
        slots["first_face"][1:], slots["end_face"] = face_ends[:-1], face_ends
        slots["radius"] = _radii(model, geoms, sizes)
        for axis, field in enumerate(("size_x", "size_y", "size_z")):
            slots[field] = sizes[:, axis]
        for channel, field in enumerate(("red", "green", "blue")):
            slots[field] = colours[geoms, channel]
        names = [mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_GEOM, geom) or "" for geom in geoms]
        mesh = cls(
            slots=slots,
            faces=_join_faces(forms, slots),
            vertices=_join_vertices(forms, sizes),
            ceiling=np.array([name.startswith("ceiling") for name in names], dtype=bool),
            fovy=np.array(model.cam_fovy, dtype=np.float64),
            lighting=Lighting.from_model(model),
        )
        for array in (mesh.slots, mesh.faces, mesh.vertices, mesh.ceiling, mesh.fovy):
            array.flags.writeable = False
        return mesh


@dataclass(frozen=True)
class _Form:
    """Points and faces of a kind of geom at size 1 (a mesh: at its own size)."""

    shape: int
    points: np.ndarray  # (v, 3) float64
    corners: np.ndarray  # (f, 4) int32, -1 where there is none
    normals: np.ndarray  # (f, 3) float64, zero where the surface is curved
    face_shapes: np.ndarray  # (f,) int32, FLAT where the face has a normal, else the shape


def _form(shape: int, points: np.ndarray, corners: np.ndarray, normals: np.ndarray) -> _Form:
    face_shapes = np.where(normals.any(axis=1), FLAT, shape).astype(np.int32)
    return _Form(shape, points, corners.astype(np.int32), normals.astype(np.float64), face_shapes)


def _flat_form(points: list[list[int]], corners: list[list[int]], normals: list[list[int]]) -> _Form:
    return _form(FLAT, np.array(points, np.float64), np.array(corners), np.array(normals))


def _curved_form(shape: int, normals: list[list[int]]) -> _Form:
    return _form(shape, np.zeros((0, 3)), np.full((len(normals), 4), -1), np.array(normals))


# Plain integers: comparing an array with MuJoCo's enumerations is a slow loop in Python.
_BOX, _PLANE, _SPHERE, _MESH = (
    int(kind)
    for kind in (
        mujoco.mjtGeom.mjGEOM_BOX,
        mujoco.mjtGeom.mjGEOM_PLANE,
        mujoco.mjtGeom.mjGEOM_SPHERE,
        mujoco.mjtGeom.mjGEOM_MESH,
    )
)
_ELLIPSOID = int(mujoco.mjtGeom.mjGEOM_ELLIPSOID)
_CYLINDER, _CAPSULE = int(mujoco.mjtGeom.mjGEOM_CYLINDER), int(mujoco.mjtGeom.mjGEOM_CAPSULE)
_ROUND = _curved_form(ELLIPSOID, [[0, 0, 0]])
_FORMS = {
    _BOX: _flat_form(
        [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)],
        [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]],
        [[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]],
    ),
    _PLANE: _flat_form([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], [[0, 1, 2, 3]], [[0, 0, 1]]),
    _SPHERE: _ROUND,
    _ELLIPSOID: _ROUND,
    _CYLINDER: _curved_form(CYLINDER, [[0, 0, 0], [0, 0, 1], [0, 0, -1]]),
    _CAPSULE: _curved_form(CAPSULE, [[0, 0, 0]]),
}


def _forms(model: mujoco.MjModel, geoms: np.ndarray) -> list[_Form]:
    """Return the form of every geom; a type that cannot be drawn raises ValueError."""
    forms, meshes = [], {}
    for geom, kind, mesh in zip(geoms, model.geom_type[geoms], model.geom_dataid[geoms], strict=True):
        if kind == _MESH:
            if mesh not in meshes:
                meshes[mesh] = _mesh_form(model, int(mesh))
            forms.append(meshes[mesh])
        elif int(kind) in _FORMS:
            forms.append(_FORMS[int(kind)])
        else:
            name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_GEOM, geom) or f"number {geom}"
            raise ValueError(
                f"the raster cannot draw the type of geom {name}; use a mesh or a primitive instead"
            )
    return forms


def _mesh_form(model: mujoco.MjModel, mesh: int) -> _Form:
    """Return the triangles of a mesh; those without area are dropped."""
    start, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
    points = model.mesh_vert[start : start + count].astype(np.float64)
    start, count = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
    triangles = model.mesh_face[start : start + count]
    a, b, c = (points[triangles[:, index]] for index in range(3))
    normals = np.cross(b - a, c - a)
    length = np.linalg.norm(normals, axis=1)
    solid = length > 1e-12
    corners = np.full((np.count_nonzero(solid), 4), -1, np.int32)
    corners[:, :3] = triangles[solid]
    return _form(FLAT, points, corners, normals[solid] / length[solid, None])


def _sizes(model: mujoco.MjModel, geoms: np.ndarray) -> np.ndarray:
    """Return (S, 3) half extents, by which the points of a form are scaled (1 for a mesh)."""
    kinds = model.geom_type[geoms]
    sizes: np.ndarray = model.geom_size[geoms]
    sizes[kinds == _SPHERE] = sizes[kinds == _SPHERE, :1]
    tubes = (kinds == _CYLINDER) | (kinds == _CAPSULE)
    sizes[tubes] = sizes[tubes][:, [0, 0, 1]]
    planes = kinds == _PLANE
    sizes[planes] = np.where(sizes[planes] > 0.0, sizes[planes], _INFINITE) * (1.0, 1.0, 0.0)
    sizes[kinds == _MESH] = 1.0
    return sizes


def _radii(model: mujoco.MjModel, geoms: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return (S,) radii of spheres around the geoms' centres that hold them; MuJoCo gives none for planes."""
    planes = model.geom_type[geoms] == _PLANE
    radii: np.ndarray = np.where(planes, np.linalg.norm(sizes, axis=1), model.geom_rbound[geoms])
    return radii


def _join_vertices(forms: list[_Form], sizes: np.ndarray) -> np.ndarray:
    """Return (V, 3) float32, the points of all slots at their size."""
    points = np.concatenate([np.zeros((0, 3)), *(form.points for form in forms)])
    scales = np.repeat(sizes, [len(form.points) for form in forms], axis=0)
    return np.ascontiguousarray(points * scales, dtype=np.float32)


def _join_faces(forms: list[_Form], slots: np.ndarray) -> np.ndarray:
    """Return (F,) FACE records of all slots."""
    owner = np.repeat(np.arange(len(slots)), slots["end_face"] - slots["first_face"])
    faces = np.zeros(len(owner), FACE)
    if not forms:
        return faces
    corners = np.concatenate([form.corners for form in forms])
    normals = np.concatenate([form.normals for form in forms])
    faces["slot"] = owner
    faces["shape"] = np.concatenate([form.face_shapes for form in forms])
    faces["corners"] = np.count_nonzero(corners >= 0, axis=1)
    corners = np.where(corners >= 0, corners + slots["first_vertex"][owner][:, None], -1)
    for index, field in enumerate("abcd"):
        faces[field] = corners[:, index]
    for index, field in enumerate(("normal_x", "normal_y", "normal_z")):
        faces[field] = normals[:, index]
    return faces


def _finishes(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Return (nmat + 1,) textures and gloss of the materials; the last is for no material."""
    names = [
        mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_MATERIAL, index) or "" for index in range(model.nmat)
    ]
    prefixes = [next(prefix for prefix in MATERIALS if name.startswith(prefix)) for name in [*names, ""]]
    textures, gloss = zip(*(MATERIALS[prefix] for prefix in prefixes), strict=True)
    return np.array(textures, np.int32), np.array(gloss, np.float32)
