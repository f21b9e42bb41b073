"""Paths that somebody else wrote stay below a folder, links followed: a table from a stranger names no other file."""

import os
from pathlib import Path


class Confined:
    """What may be read of the paths of a table.

    Args:
        root: the table's folder, where relative paths begin.
        absolute_paths: paths may be absolute, and links may lead anywhere.
    """

    def __init__(self, root: Path, *, absolute_paths: bool):
        self._root, self._absolute_paths = root, absolute_paths
        self._real_root = os.path.join(os.path.realpath(root), "")
        self._real_folders: dict[str, str] = {}

    def why_not(self, path: str) -> str:
        """Why a path may not be read; empty if it may."""
        if "\0" in path:
            return "holds a NUL"
        if ".." in Path(path).parts:
            return "goes up with .."
        if self._absolute_paths:
            return ""
        if os.path.isabs(path):
            return "is absolute"
        return "" if self._real(path).startswith(self._real_root) else "leads out of the table's folder by a link"

    def _real(self, path: str) -> str:
        """Where it leads; a folder is looked up once, for millions of files may lie in it."""
        whole = os.path.join(self._root, path)
        if os.path.islink(whole):
            return os.path.realpath(whole)
        folder, name = os.path.split(whole)
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder)
        return os.path.join(self._real_folders[folder], name)
