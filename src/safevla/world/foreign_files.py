"""Files of foreign homes: where a scene is, what it refers to, and what identifies it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from xml.etree import ElementTree

from safevla.config import ConfigError
from safevla.world.sidecar import metadata_path, sidecar_path

FOLDERS_VARIABLE = "SAFEVLA_HOMES"  # folders in which scenes are looked for, as in PATH


def scene_file(source: str | Path) -> Path:
    """Return the MJCF file that is meant; ConfigError if there is none, or more than one.

    What is not found from here is looked for in the folders of the environment variable SAFEVLA_HOMES.
    """
    path = Path(source)
    folders = [
        Path(),
        *(Path(part) for part in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if part),
    ]
    found = next((folder / path for folder in folders if (folder / path).exists()), None)
    if found is None:
        raise ConfigError(
            f"there is no scene {path}; give the path of an MJCF file or folder, or name the folder that "
            f"it is in by the environment variable {FOLDERS_VARIABLE}"
        )
    if found.is_file():
        return found
    scenes = sorted(found.glob("*.xml"))
    if (found / "scene.xml") in scenes:
        return found / "scene.xml"
    if len(scenes) == 1:
        return scenes[0]
    there = f"{len(scenes)} .xml files" if scenes else "no .xml file"
    raise ConfigError(f"the folder {path} holds {there}; name the MJCF file of the scene")


def home_hash(source: str | Path) -> str:
    """Return sixteen hex digits of everything that a home is made from: scene, assets, sidecar, metadata."""
    path = scene_file(source)
    digest = hashlib.sha256()
    found, missing = referred_files(path)
    digest.update("\n".join(sorted(missing)).encode())
    files = [path, *found]
    files += [extra for extra in (sidecar_path(path), metadata_path(path)) if extra and extra.is_file()]
    for file in sorted({file.resolve() for file in files}):
        digest.update(file.name.encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def referred_files(path: Path) -> tuple[list[Path], list[str]]:
    """Return the files that a scene refers to, directly or not, and the names of those not found."""
    documents, names, folders = [path], [], {path.parent}
    for document in documents:  # grows while it is read
        try:
            root = ElementTree.parse(document).getroot()
        except ElementTree.ParseError as error:
            raise ConfigError(
                f"{document} is not XML ({error}); give a file in MuJoCo's format MJCF"
            ) from error
        if document == path and root.tag == "mujocoinclude":
            raise ConfigError(f"{path} is a part of a scene (mujocoinclude); name the file that includes it")
        folders.add(document.parent)
        for compiler in root.iter("compiler"):
            directories = (compiler.get(key) for key in ("assetdir", "meshdir", "texturedir"))
            folders |= {path.parent / directory for directory in directories if directory}
        for element in root.iter():
            for key in (key for key in element.attrib if key.startswith("file")):
                name = element.attrib[key]
                places = (path.parent / name, document.parent / name)
                found = next((place for place in places if place.is_file()), None)
                if name.lower().endswith(".xml") and found is not None:
                    if found not in documents:
                        documents.append(found)
                elif name:
                    names.append(name)
    files, missing = documents[1:], []
    for name in dict.fromkeys(names):
        target = next((where / name for where in sorted(folders) if (where / name).is_file()), None)
        if target is None:
            missing.append(name)
        else:
            files.append(target)
    return files, missing
