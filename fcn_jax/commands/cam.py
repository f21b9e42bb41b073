"""The `cam` command: it takes paths, draws the class maps of every file and a contact sheet, and counts failures."""

import json
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from fcn_jax.config import UserError
from fcn_jax.inference.averaging import ONE_VIEW, describe_views
from fcn_jax.inference.class_maps import Explained, MapMaker, Unread, check_has_map
from fcn_jax.inference.classifier import DECIMALS, restore_trained
from fcn_jax.inference.inputs import check_paths, expand_paths
from fcn_jax.reports.class_map_plots import Caption, ShownFile, draw_file, draw_sheet, shown_file
from fcn_jax.reports.html import png_of
from fcn_jax.system.cache import use_compilation_cache
from fcn_jax.system.console import Bar, as_line, say
from fcn_jax.system.disk import make_folder, write_bytes
from fcn_jax.train.workdir import read_config

LEAST_SHOWN, MOST_SHOWN = 480, 1600
"""Bounds on the longer side of an image's picture in pixels, and on the values shown of a signal."""
SHOWN_ON_SHEET = 160
MOST_ON_SHEET = 96
SHEET = "contact.png"
MOST_LETTERS = 60
"""Most letters of a file's own name that are kept in the name of its picture."""
MOST_NAMES = 20


def draw_maps(
    paths: Sequence[str], *, workdir: Path, out: Path, label_name: str | None, which: str | None = None
) -> int:
    """Write a picture of every file and a contact sheet, print a line for every file, and return how many failed.

    Args:
        label_name: name of the class whose maps are drawn. None: draw the most probable class of each file.
        which: the checkpoint: best, last or the number of a step; None: the best if the run kept one.

    Raises:
        UserError: the command line has a mistake, or the net has no maps; no file has been read yet.
    """
    check_paths(paths)
    own = read_config(workdir)
    use_compilation_cache(own.machine)
    shown, predicted = (describe_views(config.evaluate) for config in (ONE_VIEW.on(own), own))
    if shown != predicted:
        say(f"a map is of one view ({shown}), while predict takes those of the run ({predicted})")
    trained = restore_trained(workdir, average=ONE_VIEW, which=which)
    check_has_map(trained.model)
    label = None if label_name is None else _label_of(label_name, trained.label_names)
    maker = MapMaker(trained, label=label)
    files = expand_paths(paths, rank=maker.classifier.recipe.rank)
    album = Album(out, trained.label_names, number=len(files))
    failed, bar = 0, Bar("cam", len(files))
    # On a terminal, the printed lines already show the progress.
    with nullcontext() if sys.stdout.isatty() else bar, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        for number, found in enumerate(maker.maps(files), start=1):
            failed += isinstance(found, Unread)
            said = {"error": found.error} if isinstance(found, Unread) else album.add(number, found)
            print(json.dumps({"path": found.path, **said}), flush=True)
            bar.advance()
        album.finish()
    if failed:
        say(f"{failed:,} of {len(files):,} files have no picture: their lines have an error")
    return failed


def _label_of(name: str, label_names: Sequence[str]) -> int:
    if name in label_names:
        return label_names.index(name)
    first = ", ".join(label_names[:MOST_NAMES]) + (", ..." if len(label_names) > MOST_NAMES else "")
    raise UserError(f"--label={name} is none of the {len(label_names)} classes of this net: {first}")


class Album:
    """A folder of pictures, one of each file, and their contact sheet.

    Args:
        number: number of all files, including those that turn out bad.
    """

    def __init__(self, out: Path, label_names: Sequence[str], *, number: int):
        self._out, self._label_names, self._digits, self._shown = out, label_names, len(str(number)), 0
        self._views: list[ShownFile] = []
        self._captions: list[Caption] = []
        make_folder(out)

    def add(self, number: int, explained: Explained) -> dict[str, str | float]:
        """Write the picture of file `number`; return the values of its output line."""
        self._shown += 1
        path, probabilities = Path(explained.path), explained.probabilities
        label, predicted = self._label_names[explained.label], self._label_names[explained.predicted]
        caption = Caption(as_line(path.name), as_line(label), float(probabilities[explained.label]), as_line(predicted))
        most = min(max(LEAST_SHOWN, *explained.values.shape[:-1]), MOST_SHOWN)
        picture = self._out / f"{number:0{self._digits}}_{path.stem[:MOST_LETTERS]}.png"
        write_bytes(picture, png_of(draw_file(shown_file(explained, most=most), caption)))
        if self._shown <= MOST_ON_SHEET:
            self._views.append(shown_file(explained, most=SHOWN_ON_SHEET))
            self._captions.append(caption)
        probability = round(float(probabilities[explained.predicted]), DECIMALS)
        return {"label": predicted, "probability": probability, "map_of": label, "picture": str(picture)}

    def finish(self) -> None:
        """Write the contact sheet, if it has any picture."""
        if self._views:
            first = "" if self._shown <= MOST_ON_SHEET else f"the first {MOST_ON_SHEET} of "
            title = f"{first}{self._shown:,} file{'s' if self._shown > 1 else ''}"
            write_bytes(self._out / SHEET, png_of(draw_sheet(self._views, self._captions, title=title)))
            say(f"{self._out / SHEET} shows {title}")
