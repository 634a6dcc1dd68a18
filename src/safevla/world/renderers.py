"""Names of the renderers and what to do where one does not start. No heavy imports: settings read it."""

from __future__ import annotations

RENDERERS = {
    "raster": "safevla.world.raster:Raster",
    "gl": "safevla.world.render_gl:GlRenderer",
    "filament": "safevla.world.render_filament:FilamentRenderer",
}

REMEDIES = {
    "gl": (
        "it needs OpenGL without a display: a graphics driver with EGL, or on Debian and Ubuntu "
        "'apt-get install libegl1 libgl1-mesa-dri' (or 'libosmesa6') for drawing in software; "
        "the renderer 'raster' needs none of it"
    ),
    "filament": (
        "it needs a mujoco with the module mjrf (3.17, or 4.0.1 and newer) and Vulkan: a graphics driver, or "
        "on Debian and Ubuntu 'apt-get install libvulkan1 mesa-vulkan-drivers' for drawing in software; "
        "the renderer 'raster' needs none of it"
    ),
}
