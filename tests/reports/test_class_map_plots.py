"""Pictures show the right places, strong evidence in the colour of its sign, the extremes of long signals."""

import numpy as np

from fcn_jax.inference.class_maps import CellGrid, Explained
from fcn_jax.reports.class_map_plots import envelope, shown_file, tinted


def test_a_view_reads_the_evidence_where_its_pixels_lie():
    image = np.zeros((40, 24, 1), np.uint8)
    grids = CellGrid(3.5, 8.0, 5), CellGrid(3.5, 8.0, 3)
    evidence = np.zeros((5, 3), np.float32)
    evidence[3, 1] = 2  # Centred on position (27.5, 11.5) of the image.
    explained = Explained("a.png", image, np.ones(1, np.float32), 0, evidence, evidence, grids)
    for most, factor in ((10, 0.25), (40, 1), (100, 2)):
        view = shown_file(explained, most=most)
        assert view.values.shape == (40 * factor, 24 * factor, 1)
        row, column = np.unravel_index(view.evidence.argmax(), view.evidence.shape)
        assert abs((row + 0.5) / factor - 28) <= 1 / factor
        assert abs((column + 0.5) / factor - 12) <= 1 / factor


def test_no_evidence_has_no_colour_and_each_sign_its_own():
    colours = tinted(np.full(5, 0.5), np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), limit=2.0)
    red, blue = colours[:, 0], colours[:, 2]
    assert np.ptp(colours[2]) == 0
    assert (np.diff(red - blue) > 0).all()


def test_what_lies_beneath_stays_visible():
    dark, bright = tinted(np.array([0.0, 1.0]), np.array([2.0, 2.0]), limit=2.0)
    assert (bright - dark > 0.1).all()


def test_a_long_signal_keeps_its_extremes():
    signal = np.zeros((10_001, 1))
    signal[1234], signal[9876] = 5, -7
    values, places = envelope(signal, most=100)
    assert len(values) == len(places) == 100
    assert abs(places[values[:, 0].argmax()] - 1234) <= 200
    assert abs(places[values[:, 0].argmin()] - 9876) <= 200
    short, places = envelope(signal[:50], most=100)
    assert len(short) == 50
    assert places.tolist() == list(range(50))
