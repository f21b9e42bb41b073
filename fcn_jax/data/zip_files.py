"""A zip archive of a folder, read in place."""

import stat
import struct
import zipfile
from io import BufferedReader
from pathlib import Path

from fcn_jax.config import UserError
from fcn_jax.data.archives import Archive, Member, folders_above, parts_of
from fcn_jax.system.disk import reading

LOCAL_HEADER = struct.Struct("<4s22xHH")
"""The header of a member: its signature, and the lengths of the name and of what else stands before the bytes."""
SIGNATURE = b"PK\3\4"
IS_ENCRYPTED = 1
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
A_LINK = "a link in an archive"
NAMED_TWICE = "named as a member before it"


def open_zip(archive: Path) -> Archive:
    """Return the files of a zip archive.

    Raises:
        UserError: it cannot be read, is no zip archive, is empty or encrypted, or has a member of a forbidden name.
    """
    with reading(archive), archive.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as opened:
                infos = opened.infolist()
        except Exception as error:  # zipfile raises many kinds for a damaged archive.
            if isinstance(error, OSError) and error.errno:
                raise
            raise UserError(
                f"{archive} is a file, but no zip archive that can be read ({error}): give a folder, or zip it again"
            ) from error
        members, left_out, seen, folders = {}, {}, set(), []
        for info in infos:
            parts = parts_of(archive, info.filename)
            path = str(archive.joinpath(*parts))
            if info.is_dir():
                folders.append((*parts, ""))
                continue
            if info.flag_bits & IS_ENCRYPTED:
                raise UserError(f"{path} is encrypted: unpack {archive}, or zip its folder without a password")
            seen.add(parts)
            if stat.S_ISLNK(info.external_attr >> 16):
                left_out[path] = A_LINK
            elif info.compress_type not in METHODS:
                left_out[path] = "packed by another method than deflate"
            elif path in members:
                left_out[f"{path} (again)"] = NAMED_TWICE
            else:
                members[path] = _member(file, archive, info)
    if not members and not left_out:
        raise UserError(f"{archive} is empty: zip a folder that holds files")
    tops = folders_above([*seen, *folders])
    return Archive(members, left_out=left_out, folders=[str(archive.joinpath(*parts)) for parts in tops])


def _member(file: BufferedReader, archive: Path, info: zipfile.ZipInfo) -> Member:
    """Return where the bytes of a member are: behind its own header, which only repeats what the list of all says."""
    file.seek(info.header_offset)
    head = file.read(LOCAL_HEADER.size)
    start = -1
    if len(head) == LOCAL_HEADER.size:
        signature, name, extra = LOCAL_HEADER.unpack(head)
        start = info.header_offset + LOCAL_HEADER.size + name + extra if signature == SIGNATURE else -1
    return Member(
        archive=str(archive),
        start=start,
        stored=info.compress_size,
        length=info.file_size,
        is_deflated=info.compress_type == zipfile.ZIP_DEFLATED,
        checksum=info.CRC,
    )
