"""Pictures say what is so: verdicts on hand-made detections, and marks that survive greyscale."""

import io
import itertools
import math
from dataclasses import replace

import numpy as np
import pandas
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from scenes import SquareClip, square_clips

from mstlib import show
from mstlib.checkpoint import save_weights
from mstlib.config import MSTError
from mstlib.data.clip import DETERIORATIONS, Detections
from mstlib.evaluation import story
from mstlib.model.detector import build_model
from mstlib.png import save_figure
from mstlib.profiles import get_config
from mstlib.report import charts, lookup, picture
from mstlib.report.results import make_claims


class Marked(SquareClip):
    """The two squares: red is blurred in frames 2 and 3, green is hidden in frame 4."""

    def target(self, t):
        flags = torch.zeros(2, 4, dtype=torch.bool)
        flags[0, 0], flags[1, 2] = t in (2, 3), t == 4
        return replace(super().target(t), flags=flags)


def detections(*rows) -> Detections:
    """Rows of (box, score, label)."""
    boxes = torch.tensor([box for box, _, _ in rows], dtype=torch.float32).reshape(-1, 4)
    scores, labels = torch.tensor([r[1] for r in rows]), torch.tensor([r[2] for r in rows]).long()
    return Detections(boxes, scores, labels)


def seen(clip, t, red=0.0, green=0.0) -> Detections:
    """Perfect boxes of the two squares with these scores."""
    red_box, green_box = clip.target(t).boxes.tolist()
    return detections((red_box, red, 1), (green_box, green, 2))


def test_judge_knows_right_wrong_absent_and_missed():
    target = SquareClip("squares").target(0)
    red, green = target.boxes.tolist()
    found = detections((red, 0.9, 1), (green, 0.8, 1), ([50.0, 0, 60, 10], 0.7, 2), (green, 0.4, 2))
    kinds, shown = story.judge(found, target)
    assert kinds == ["found", "wrong class", "nothing there", "weak"]
    assert shown.tolist() == [True, False]  # the right answer for green is below the threshold
    kinds, shown = story.judge(found, target, threshold=0.4)
    assert kinds[3] == "found" and shown.tolist() == [True, True]
    assert story.judge(found, None)[0] == ["found", "found", "found", "weak"]


def test_judge_without_detections_or_objects():
    target = SquareClip("squares").target(0)
    assert story.judge(detections(), target)[1].tolist() == [False, False]
    nothing = story.of_track(target, 7)
    assert story.judge(detections(([0.0, 0, 9, 9], 0.9, 1)), nothing)[0] == ["nothing there"]


def test_scores_of_objects_and_tracks():
    clip = SquareClip("squares", ids=(5, 3))
    found = [seen(clip, t, red=t / 10, green=0.9) for t in range(len(clip))]
    found[4] = detections()
    assert story.object_scores(found[3], clip.target(3)).tolist() == pytest.approx([0.3, 0.9])
    assert story.track_scores(found, clip, 5) == pytest.approx([0, 0.1, 0.2, 0.3, 0, 0.5])
    assert all(math.isnan(score) for score in story.track_scores(found, clip, 8))
    half = detections(([*clip.target(0).boxes[0, :2].tolist(), 17.0, 29.0], 0.9, 1))
    assert story.object_scores(half, clip.target(0)).tolist() == [0, 0]  # IoU below 0.5


def test_rescued_objects_are_deteriorated_missed_found_and_sorted():
    clips = [Marked("plain"), Marked("marked")]
    plain = [[seen(c, t, 0.3, 0.3) for t in range(6)] for c in clips]
    full = [[seen(c, t, 0.6, 0.45) for t in range(6)] for c in clips]
    plain[1][2], full[1][3] = seen(clips[1], 2, 0.1), seen(clips[1], 3, 0.99)
    plain[0][3] = seen(clips[0], 3, 0.5)  # found by both: no rescue
    places = [(case.clip, case.t, case.track) for case in story.find_rescued(clips, plain, full)]
    assert places == [(1, 3, 0), (1, 2, 0), (0, 2, 0)]  # gaps 0.69, 0.5, 0.3; green stays missed
    first = story.find_rescued(clips, plain, full)[0]
    assert (first.plain, first.full) == pytest.approx((0.3, 0.99))
    assert len(story.find_rescued(clips, plain, full, threshold=0.4)) == 5  # frame 4, green, too


def test_the_traveller_goes_through_the_most():
    clips = [*square_clips(2), Marked("marked")]
    assert story.traveller(clips) == (2, 0)  # of the marked ones: cleaner half of the time
    with pytest.raises(MSTError, match="none of 0 clips"):
        story.traveller([])


def test_events_and_clean_views():
    clips = [SquareClip("squares"), Marked("marked")]
    assert story.find_event(clips, "motion blur") == (1, 0, 3)
    assert story.find_event(clips, "occlusion") == (1, 1, 4)
    assert story.find_event(clips, "defocus") is None
    views = story.clean_in_window(clips, 3, 1)
    assert views["motion blur"] == 100 and math.isnan(views["rare pose"])
    assert story.clean_in_window(clips, 1, 1)["motion blur"] == 0


def test_the_palette_survives_greyscale():
    greys = [255 * show.grey_of(colour) for colour in show.PALETTE]
    assert all(b - a >= 15 for a, b in itertools.pairwise(greys))
    for colour in show.PALETTE:
        assert abs(show.grey_of(show.ink_on(colour)) - show.grey_of(colour)) > 0.4


def texts_of(figure) -> list[str]:
    """Every text that is drawn on the frames of a figure."""
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_a_film_strip_names_what_it_shows():
    clip = Marked("marked")
    wrong = detections((clip.target(2).boxes[1].tolist(), 0.75, 1))
    strip = show.film_strip(clip, [1, 2], {1: seen(clip, 1, 0.9, 0.8), 2: wrong},
                            classes=("red", "green"))
    assert [axis.get_title() for axis in strip.axes] == ["frame 1\nclean", "frame 2\nmotion blur"]
    assert texts_of(strip) == ["red .90", "green .80", "≠ red .75", "✕ red", "✕ green"]
    legend = strip.texts[0].get_text()
    assert all(word in legend for word in ("dashed", "solid", "hatched", "✕"))
    assert "dotted" not in legend  # nothing of that kind is there


def test_a_film_strip_of_one_track_and_of_many_rows():
    clip = Marked("marked")
    found = [seen(clip, t, 0.9, 0.8) for t in range(6)]
    strip = show.film_strip(clip, range(6), found, columns=4, track=1)
    assert len(strip.axes) == 8 and set(texts_of(strip)) == {"class 2 .80"}
    bare = show.film_strip(clip, [0], targets=False)
    assert texts_of(bare) == [] and bare.texts[0].get_text() == ""
    with pytest.raises(MSTError, match="at least one frame"):
        show.film_strip(clip, [])


def test_boxes_are_drawn_where_they_are():
    figure, (axis,) = show.grid(1, 1, panel=0.64)
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    show.show_image(axis, image)
    boxes, one = torch.tensor([[16.0, 8, 48, 40]]), torch.tensor([1])
    show.draw_boxes(axis, boxes, one, ids=7 * one)
    assert axis.patches[0].get_bbox().extents.tolist() == [16, 8, 48, 40]
    assert axis.texts[0].get_text() == "class 1 #7"
    with pytest.raises(MSTError, match=r"boxes must be \(N, 4\) xyxy, got \(5, 3\)"):
        show.draw_boxes(axis, torch.zeros(5, 3))
    with pytest.raises(MSTError, match="unknown style 'bold'"):
        show.draw_boxes(axis, torch.zeros(0, 4), style="bold")


def test_the_smallest_box_is_under_a_place_and_a_track_keeps_its_colour():
    boxes = torch.tensor([[0.0, 0, 40, 40], [10, 10, 20, 20], [50, 0, 60, 9]])
    assert [show.box_under(boxes, *at) for at in ((15, 15), (5, 5), (45, 5))] == [1, 0, None]
    assert show.box_under(boxes[:0], 5, 5) is None
    one, none, again = show.track_colours(torch.tensor([3, -1, 3]))
    assert one == again != none


@pytest.mark.parametrize("style", show.STYLES)
@pytest.mark.parametrize("box", [[0, 0, 20, 6], [50, 0, 64, 64], [30, 58, 64, 64]])
def test_tags_stay_on_the_image(style, box):
    _, (axis,) = show.grid(1, 1)
    show.show_image(axis, torch.zeros(3, 64, 64, dtype=torch.uint8))
    show.draw_boxes(axis, torch.tensor([box]).float(), torch.tensor([3]), style=style)
    text = axis.texts[0]
    extent = text.get_window_extent().transformed(axis.transData.inverted())
    x0, x1 = sorted((extent.x0, extent.x1))
    y0, y1 = sorted((extent.y0, extent.y1))
    assert x0 >= -1 and x1 <= 65 and y0 >= -1 and y1 <= 65


def test_arrows_and_heat_maps_lie_on_the_image():
    figure, (one, two) = show.grid(1, 2)
    image = torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    show.show_image(one, image)
    show.arrows(one, torch.tensor([[8.0, 8]]), torch.tensor([[40.0, 20]]))
    arrow = one.collections[0]
    assert arrow.XY.tolist() == [[8, 8]] and (arrow.U[0], arrow.V[0]) == (32, 12)
    show.heat_map(two, image, torch.rand(8, 8), "weight")
    assert two.images[1].get_extent() == two.images[0].get_extent() == [0, 64, 64, 0]
    assert show.figure_bytes(figure)


def test_figures_give_the_same_bytes_and_need_alt_text(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **more: shown.append((data, more)))
    strips = [show.film_strip(Marked("marked"), [1, 2]) for _ in range(2)]
    for photo, kind in ((False, "image/png"), (True, "image/jpeg")):
        for strip in strips:
            show.figure_output(strip, "Two frames\n of squares.", photo)
        (first, more), (second, _) = shown[-2:]
        assert first == second and first["text/plain"] == "Two frames of squares."
        assert more["metadata"] == {kind: {"alt": "Two frames of squares."}}
        assert Image.open(io.BytesIO(first[kind])).width == strips[0].get_figwidth() * show.DPI // 1
    with pytest.raises(MSTError, match="needs alt text"):
        show.figure_output(strips[0], " ")


def test_tables_are_markdown(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **more: shown.append(data))
    show.table_output(pandas.DataFrame({
        "variant": ["a", "b"], "on": [True, False], "paper mAP": [75.1, None],
        "our difference": [-0.001, 2.0]}), digits=2)
    assert shown[0]["text/markdown"].splitlines() == [
        "| variant | on | paper mAP | our difference |", "| --- | --- | --- | --- |",
        "| a | ✓ | 75.1 | +0.00 |", "| b |  | – | +2.00 |"]


def test_every_public_name_is_there():
    assert [name for name in show.__all__ if not hasattr(show, name)] == []
    assert len(set(show.__all__)) == len(show.__all__)


def test_columns_that_nobody_ran_are_a_line_under_the_table(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **more: shown.append(data))
    table = pandas.DataFrame({"variant": ["a", "b"], "midi": ["not run: needs a GPU"] * 2,
                              "VID": [70.0, "not run: needs VID"]})
    table.attrs["caption"] = "Table III."
    show.table_output(table)
    show.table_output(table.iloc[:0])
    assert shown[0]["text/markdown"].splitlines() == [
        "Table III.", "", "| variant | VID |", "| --- | --- |", "| a | 70.0 |",
        "| b | not run: needs VID |", "", "midi: not run: needs a GPU"]
    assert "| variant | midi | VID |" in shown[1]["text/markdown"]


def test_a_score_chart_shades_the_deteriorated_frames():
    flags = story.track_flags(Marked("marked"), 0)
    assert flags.shape == (6, 4) and flags[:, 0].tolist() == [False] * 2 + [True] * 2 + [False] * 2
    figure = charts.score_chart({"(a)": [0.9, 0.8, 0.1, float("nan"), 0.7, 0.9]}, flags)
    axis = figure.axes[0]
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels[3:] == list(DETERIORATIONS)
    hatched = [patch for patch in axis.patches if patch.get_hatch()]
    assert len(hatched) == 2 and {p.get_x() + 0.5 for p in hatched} == {2, 3}


def test_a_forest_plot_marks_verdicts_and_the_paper():
    nan = float("nan")
    rows = [("c > a", 6.7, 3.0, 2.0, 4.0, "holds"), ("g > f", 0.5, 0.1, -1.0, 1.0, "within noise"),
            ("d > b", None, -3.0, -4.0, -2.0, "does not hold"),
            ("e > c", 0.6, nan, nan, nan, "not measured")]
    columns = ["claim", "paper difference", "our difference", "95 % low", "95 % high", "verdict"]
    frame = pandas.DataFrame(rows, columns=columns).assign(frames=["all", "clean", "all", "all"])
    axis = charts.forest_chart(frame).axes[0]
    points = [line for line in axis.lines if len(line.get_xdata()) == 1 and line.get_marker() != ""]
    ours = [(p.get_marker(), p.get_markerfacecolor()) for p in points if p.get_marker() in "oX"]
    assert ours == [("o", charts.INK), ("o", "white"), ("X", charts.INK)]
    assert [p.get_xdata()[0] for p in points if p.get_marker() == "D"] == [6.7, 0.5]
    labels = [label.get_text().replace("\u00a0", " ") for label in axis.get_yticklabels()]
    assert labels == ["c > a", "g > f (clean frames)", "d > b"]  # what is not measured is left out


@pytest.mark.parametrize("table", ["V", "Fig. 5"])
def test_a_forest_plot_of_claims_without_runs_is_empty(tmp_path, table):
    claims = make_claims([], tmp_path, [table])
    assert len(claims) and not len(charts.forest_chart(claims).axes[0].get_yticks())


def run_of(variant, seed, level, tag="") -> dict:
    """As much of a run record as charts look at."""
    return {"id": f"{variant}{tag}{seed}", "variant": variant, "tag": tag, "seed": seed,
            "protocol": "vid", "metrics": {"vid": {"slices": {"all": level, "clean": level + 9}}}}


def test_a_seed_chart_has_a_row_a_run_and_a_dot_a_seed():
    runs = [run_of("g", 1, 62.0), run_of("g", 0, 60.0), run_of("g", 0, 50.0, "k2"),
            run_of("a", 0, 40.0)]
    axis = charts.seed_chart(runs).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["g", "g-k2", "a"]
    dots = {line.get_ydata()[0]: list(line.get_xdata()) for line in axis.lines
            if line.get_marker() == "o"}
    bars = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "|"]
    assert dots == {0: [60, 62], 1: [50], 2: [40]} and bars == [61, 50, 40]
    clean = charts.seed_chart(runs[:1], "clean").axes[0]
    assert clean.lines[0].get_xdata() == [71] and "clean frames" in clean.get_xlabel()


def test_bars_say_what_is_not_measured():
    axis = charts.bar_chart({"all": 51.25, "clean": float("nan")}, "mAP").axes[0]
    assert [text.get_text() for text in axis.texts] == ["51.2", "not measured"]


def test_the_hard_frame_is_where_the_supports_help_most(monkeypatch):
    clips = [*square_clips(2), Marked("marked")]
    scores = {"a": [0.9, 0.2, 0.5, 0.1, 0.9, 0.9], "g": [0.9, 0.3, 0.9, 0.4, 0.5, 1.0]}
    monkeypatch.setattr(lookup, "trained", lambda profile, variant: variant)
    monkeypatch.setattr(lookup, "detect_clip", lambda variant, clip, test: [
        seen(clip, t, score) for t, score in enumerate(scores[variant])])
    hard = lookup.hard_frame("tiny", clips, get_config("tiny").test)
    assert hard[:3] == (2, 2, 0) and hard[3:] == pytest.approx((0.5, 0.9))


def test_slice_scores_are_measured_where_there_is_no_record(tmp_path):
    found = {"all": 3.0, "rare pose": 1.0, "slow motion": 5.0, "small objects": 2.0}
    scores, source = lookup.slice_scores(tmp_path / "runs", "tiny", "a", lambda: found)
    assert scores == {"all": 3.0, "rare pose": 1.0} and "measured now" in source


def test_slice_scores_of_records_with_and_without_slices_of_objects(monkeypatch, tmp_path):
    """Records made before slices of objects were measured lack them; the bars show neither."""
    frames = dict.fromkeys(lookup.PARTS, 60.0)
    slices = [frames, frames | {"all": 70.0, "rare pose": None, "fast motion": 9.0}]
    runs = [{"id": f"r{k}", "variant": "a", "tag": "", "protocol": "vid",
             "metrics": {"vid": {"slices": part}}, "dataset": {"name": "d", "split": "test"}}
            for k, part in enumerate(slices)]
    for order in (runs, runs[::-1]):
        monkeypatch.setattr("mstlib.report.lookup.read_runs", lambda *_, order=order: order)
        scores, source = lookup.slice_scores(tmp_path, "tiny", "a", dict)
        assert tuple(scores) == lookup.PARTS and scores["all"] == 65.0 and scores["clean"] == 60.0
        assert scores["rare pose"] != scores["rare pose"]  # NaN: not measured in one of them
        assert source.startswith("d test: mean of the run records r")


def test_the_rescued_picture_is_small_and_legible(tmp_path):
    clip = Marked("marked")
    case = story.Rescue(0, 3, 0, 0.1, 0.9)
    figure = picture.rescued_picture(clip, case, seen(clip, 3, 0.1, 0.9), seen(clip, 3, 0.9, 0.9),
                                     [3, 1, 2, 4, 5], ("red", "green"))
    assert isinstance(figure, Figure)
    words = texts_of(figure)
    assert "✕ red" in words and "red .90" in words and "green .90" not in words
    out = save_figure(figure, tmp_path / "figures" / "rescued.png", dpi=150)
    with Image.open(out) as image:
        assert image.mode == "P" and image.width > 2 * image.height
        assert len(np.unique(np.asarray(image))) > 8
    assert out.stat().st_size < 300_000
    assert list(out.parent.iterdir()) == [out]


def test_an_untrained_pair_has_nothing_to_show(tmp_path, monkeypatch):
    monkeypatch.setenv("MST_DATA", str(tmp_path / "data"))
    with pytest.raises(MSTError, match="tiny-a.safetensors: no such checkpoint"):
        picture.write_rescued(tmp_path / "out.png", tmp_path, "tiny")
    for variant in "ag":
        model = build_model(get_config("tiny", variant))
        save_weights(model, tmp_path / f"tiny-{variant}.safetensors", 0)
    with pytest.raises(MSTError, match=r"\(g\) rescues 0 objects on test, there is no number 0"):
        picture.write_rescued(tmp_path / "out.png", tmp_path, "tiny")
    assert not (tmp_path / "out.png").exists()
