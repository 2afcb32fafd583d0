# %% [markdown]
# # Your own video: what does it find there?
#
# **Paper** Sec. IV-C, the sliding window · **Equations** none · **CPU** under a minute ·
# **Needs** nothing beyond the repository; a video of yours if you like ·
# **Module** [mstlib/detect.py](../mstlib/detect.py), [mstlib/upload.py](../mstlib/upload.py) ·
# **Previous** [11](11_failures.ipynb), failures · **Next** [99](99_glossary.ipynb), the glossary

# %% [markdown]
# **After this notebook you can**
#
# - put any video file through the detector, frame after frame, and keep what it finds;
# - say which frames an answer rests on, and how long it has to wait for them;
# - choose between looking ahead and answering at once, knowing what that costs;
# - tell what a model trained on generated bodies can know about your video, and what it cannot.
#
# ```text
#  street.mp4 ─► decode ─► resize ─► the window of frame t ─► detections of frame t ─► found.csv
#                (a few frames ahead)     ▼                    in pixels of the video   found.json
#              ... t-8  t-6  t-4  t-2  [ t ]  t+2  t+4  t+6  t+8 ...                    found.mp4
#                                         └── mode exact waits for these ──┘
#                                             mode causal does without them
# ```

# %% tags=["parameters"]
profile: str = "mini"      # scale: mini, the benchmark, or tiny, seconds for a test
video: str = ""            # path of a video file; empty: a clip of MiniVID, written to a file first
variant: str = "g"         # detector: column of Table III, a to g
threshold: float = 0.5     # score from which a detection is drawn and counted
mode: str = "exact"        # or cached (computes less anew), or causal (looks at the past only)
results: str = "results"   # folder of the run records, in the repository

# %%
import json
from itertools import islice
from pathlib import Path

import pandas
import torch
from IPython.display import display
from ipywidgets import IntProgress
from torch.nn.functional import interpolate

from mstlib import show
from mstlib.data.clip import Detections, window_indices
from mstlib.data.frames import resized
from mstlib.data.video import open_video
from mstlib.detect import class_names, detect_video, sides
from mstlib.evaluation.agreement import agreement, strong_part
from mstlib.evaluation.story import traveller
from mstlib.exercise import check
from mstlib.keep import csv_file, json_file
from mstlib.movie import movie_file, write_frames
from mstlib.profiles import get_config
from mstlib.report.batch import ROOT
from mstlib.report.records import read_runs
from mstlib.report.stats import slice_map
from mstlib.stream import Streamer, stream
from mstlib.training.experiment import clips_of, trained
from mstlib.upload import strip_picture, upload_box, watch

config = get_config(profile, variant)
model = trained(profile, variant).eval()
classes = class_names(model, {})
out = ROOT / "build" / "own_video" / profile                             # not in git

# %% [markdown]
# ## 1. What is a video to the detector?
#
# Frames, one after the other, of one size. `open_video` is the one door: a video file, images, a
# camera, an array. Without a file of yours the traveller's clip ([notebook 00](00_what_breaks_a_detector.ipynb))
# is written to one, enlarged and compressed as a camera would, so that what follows starts from an .mp4
# in either case.

# %%
if video:
    path = Path(video)
else:
    clip = clips_of(config, "test")[traveller(clips_of(config, "test"))[0]]
    path = write_frames(out / "clip.mp4", (clip.frame(t) for t in range(len(clip))), fps=10)
source = open_video(path, skip_bad=True)
image = next(iter(source))                                               # (3, H, W) uint8
small, scale = resized(image, *sides(model.config))                      # (3, h, w)
rate = f", {source.fps:g} a second" if source.fps else ""
print(f"{path.name}: {source.length or 'an unknown number of'} frames{rate}")
print(f"a frame is {image.shape[2]} x {image.shape[1]} pixels, "
      f"the detector sees {small.shape[2]} x {small.shape[1]}: {scale:.3g} times as large")

# %% [markdown]
# **What we see.** The detector never sees your pixels: every frame is brought to the size that it was
# trained on. An object that is small in your video is smaller still after that. Boxes come back in
# pixels of the video.
#
# ## 2. Which frames does one answer rest on?
#
# Sec. IV-C: the frame itself, the reference, and a window of support frames around it. By hand for one
# frame in the middle, then with the package's `stream`, which takes frames as they come and keeps
# what it can between them:

# %%
frames = [resized(image, *sides(model.config))[0] for image in islice(source, 24)]
t, test = len(frames) // 2, model.config.test
size = test.window if model.levels.temporal else 1
window = window_indices(t, len(frames), size, test.stride)               # the reference first
with torch.no_grad():
    by_hand = model(torch.stack([frames[s] for s in window])[None])[0][0]
streamed = list(stream(model, frames, "exact"))[t]
assert torch.equal(by_hand.labels, streamed.labels)
assert torch.allclose(by_hand.boxes, streamed.boxes, atol=1e-2)
assert torch.allclose(by_hand.scores, streamed.scores, atol=1e-4)
print(f"frame {t} rests on frames {sorted(window)}: {len(by_hand.scores)} detections, the same by both ways")

# %% [markdown]
# Now the whole video. Each frame's answer goes into three files as soon as it is there, so that a run that
# ends early keeps what it has found: a table, the same with the settings, and the video with its boxes.

# %%
about = {"video": source.name, "variant": variant, "mode": mode, "window": test.window, "stride": test.stride}
bar = IntProgress(description="detecting")
display(bar)
with (csv_file(out / "found.csv", source.name, classes) as rows,
      json_file(out / "found.json", about, classes) as lines,
      movie_file(out / "found.mp4", classes, source.fps, threshold) as movie):
    film = watch(model, source, bar, mode, write=(rows, lines, movie))
assert bar.value == bar.max
print(f"{len(film)} frames detected, each {Streamer(model, mode).delay} frames after it was read")
print("written:", ", ".join(f"{name} in {out.relative_to(ROOT).as_posix()}/"
                            for name in ("found.csv", "found.json", "found.mp4")))

# %% [markdown]
# **What we see.** The delay is half a window: the answer for a frame needs frames that come after it. A
# video of any length takes the memory of one window; what is kept here to be looked at is at most 300
# frames.
#
# ## 3. What did it find?

# %% tags=["cover"]
strip, words = strip_picture(film, classes, threshold)
show.figure_output(strip, words, photo=True)

# %%
table = pandas.read_csv(out / "found.csv")
said = table[table["score"] >= threshold]
print(f"{len(table)} detections, {len(said)} of score {threshold:g} or more")
show.table_output(pandas.DataFrame(
    {"class": name, "detections": len(mine), "in frames": mine["frame"].nunique(),
     "best score": mine["score"].max()} for name in classes for mine in [said[said["label"] == name]]), digits=2)
print("the first rows of found.csv")
show.table_output(table.head(3), digits=2)
whole = json.loads((out / "found.json").read_text())
assert whole["complete"] and sum(len(f.get("detections", [])) for f in whole["frames"]) == len(table)

# %%
drawn = list(islice(open_video(out / "found.mp4"), 2))
figure, axes = show.grid(1, len(drawn), panel=3.4, like=drawn[0])
for t, (axis, image) in enumerate(zip(axes, drawn, strict=True)):
    show.show_image(axis, image)
    axis.set_title(f"found.mp4, frame {t}", fontsize=8)
alt = (f"The first {len(drawn)} frames of the written video, with "
       + ", ".join(str(int((d.scores >= threshold).sum())) for d in film.found[:len(drawn)]) + " boxes drawn in.")
show.figure_output(figure, alt, photo=True)

# %% [markdown]
# **What we see.** Nobody has told the detector what is in this video, so that no box is judged here: all
# are solid. The table holds every detection of any score, in the format that `mst evaluate --detections`
# reads; the film shows those of `threshold` and more. In a terminal, all of this is
# `mst detect street.mp4 --out found.csv --draw found.mp4` ([docs/detect.md](../docs/detect.md)).
#
# ## 4. Look ahead, or answer at once?
#
# A camera in a car cannot wait. In mode `causal` an answer rests on the past alone. The same video in
# all three modes; "said again" is the share of what the exact mode says (class and place, score of
# `threshold` or more) that another mode says too. The last column is the benchmark's, mean over the
# run records.

# %%
runs = [run for run in read_runs(ROOT / results / "runs", profile) if run["variant"] == variant]
films = {kind: watch(model, open_video(path, skip_bad=True), mode=kind) for kind in ("exact", "cached", "causal")}
rows = []
for kind, one in films.items():
    same = agreement(films["exact"].found, one.found, threshold)
    maps = [slice_map(run, "all") for run in runs if run["tag"] == ("" if kind == "exact" else kind)]
    rows.append({"mode": kind, "waits for frames": Streamer(model, kind).delay, "detections": same.two,
                 "% said again": same.found_again, "mAP on the benchmark": sum(maps) / len(maps) if maps else None})
show.table_output(pandas.DataFrame(rows))

# %%
def differs(t: int) -> int:
    """How many detections of frame t only one of the modes exact and causal has."""
    one = agreement([films["exact"].found[t]], [films["causal"].found[t]], threshold)
    return one.one + one.two - 2 * one.both


# %%
most = sorted(range(len(film)), key=differs, reverse=True)[:4]
picked = sorted(t for t in most if differs(t)) or most[:1]
figure, axes = show.grid(2, len(picked), panel=2.2, like=film.frame(0))
for axis, (kind, t) in zip(axes, [(kind, t) for kind in ("exact", "causal") for t in picked], strict=True):
    show.draw_frame(axis, film.frame(t), None, films[kind].found[t], classes, threshold)
    show.untangle(axis)
    axis.set_title(f"{kind}, frame {film.numbers[t]}", fontsize=8)
alt = (f"Frames as exact mode sees them, and causal mode below: {sum(differs(t) > 0 for t in range(len(film)))} "
       f"of {len(film)} frames have a detection that only one of the two has.")
show.figure_output(figure, alt, photo=True)

# %% [markdown]
# **What we see.** The frames in which the two modes differ most. They are few here, and not in each of them is
# the exact mode the one that is right: what comes later helps on average, which is what the last column says. It is
# worth most where the past has no good view yet. `cached` looks ahead as `exact` does and gives up next to
# nothing ([notebook 10](10_speed_and_cost.ipynb) has the times).
#
# ## 5. What can it know, and what can it not?
#
# The shipped models have seen MiniVID and nothing else: eight classes of generated bodies, on generated
# ground, in frames of 128 pixels. How far does that carry? We change the video in ways that would not
# trouble you, detect again, and put the boxes back. "Half as large" fills the frame with four copies.

# %%
W = film.frame(0).shape[2]


def half(x: torch.Tensor) -> torch.Tensor:
    """The frame at half its size in the upper left, mirrored to the right and below: (3, H, W)."""
    shrunk = interpolate(x[None].float(), scale_factor=0.5, mode="area")[0].byte()
    wide = torch.cat([shrunk, shrunk.flip(2)], 2)
    return torch.cat([wide, wide.flip(1)], 1)


changes = {"none": (lambda x: x, lambda b: b), "played backwards": (lambda x: x, lambda b: b),
           "grey": (lambda x: x.float().mean(0, keepdim=True).byte().expand(3, -1, -1), lambda b: b),
           "mirrored": (lambda x: x.flip(2), lambda b: torch.stack([W - b[:, 2], b[:, 1], W - b[:, 0], b[:, 3]], 1)),
           "darker": (lambda x: (0.4 * x).byte(), lambda b: b), "half as large": (half, lambda b: 2 * b)}

# %%
rows, changed = [], {}
plain, sure = film.found[:24], [strong_part(found, 0.8) for found in film.found[:24]]
for name, (change, back) in changes.items():
    order = slice(None, None, -1) if name == "played backwards" else slice(None)
    images = [change(x) for x in film.frames[:24][order]]
    seen = [f.detections for f in detect_video(model, open_video(images), mode)][order]
    changed[name] = images[order][len(images) // 2], seen[len(images) // 2]
    put_back = [Detections(back(d.boxes), d.scores, d.labels) for d in seen]
    same = agreement(plain, put_back, threshold)
    rows.append({"change": name, "detections": same.two, "% said again": same.found_again,
                 "% of those of score .8 or more": agreement(sure, put_back, threshold).found_again})
show.table_output(pandas.DataFrame(rows), digits=0)

# %%
figure, axes = show.grid(1, len(changed), panel=1.5, like=film.frame(0))
for axis, (name, (image, seen)) in zip(axes, changed.items(), strict=True):
    show.draw_frame(axis, image, None, seen, classes, threshold)
    show.untangle(axis)
    axis.set_title(name, fontsize=8)
alt = "The frame in the middle under each change, with what is detected in it: " + ", ".join(
    f"{name} {int((seen.scores >= threshold).sum())}" for name, (_, seen) in changed.items()) + " boxes."
show.figure_output(figure, alt, photo=True)

# %% [markdown]
# **What we see.** Played backwards it says the same: an exact window has no direction. ("None" is not
# quite 100, since the frames kept here were made smaller once already.) Without colours the sure answers
# stay. A mirrored video, which training has shown as well, changes more than one would wish, sure answers
# among it. Objects half as large it does not see, and in the dark it sees what is not there, with
# confidence. It has no way to say "this is nothing that I know": a score tells how the classes that it
# knows compare. On a street it will call a car a cone, or pass it over. For your objects it has to be
# trained on your data, a video and boxes that you draw: [docs/own-videos.md](../docs/own-videos.md).
#
# ## 6. And in your video?
#
# Press the button and choose a video file, a few seconds long. It is detected with a progress bar, its
# strip appears, and the picture changes to it; move through it, and set the score from which boxes are
# drawn. Its table and its film with boxes lie beside those above. Of what is no video a line says so. (The
# button lives in JupyterLab, and a browser hands over some 10 MB at most: give a longer film by its path,
# as `video` above. The strip in section 3 says the same as the picture now.)

# %%
upload_box(model, film, classes, out, mode, threshold)

# %% [markdown]
# **What we see.** Nothing is sent anywhere but to the kernel, which keeps what it found and deletes the
# file that you handed in when its last frame is out. Move the score down to see all that the detector
# considers: where it is least sure, boxes of two classes lie on one object.

# %% [markdown]
# ## Exercises
#
# 1. ★☆☆, 5 minutes. Film your desk for three seconds and hand it in. Predict first: will there be no
#    boxes, or wrong ones? Which class is found most?
# 2. ★★☆, 10 minutes. "Half as large" fails. What would you do to the frames to mend it? The cell below
#    tries one thing; predict how many percent of the detections come back.
# 3. ★★★, 120 minutes. Annotate 20 seconds of a video of yours and train on it, as
#    [docs/own-videos.md](../docs/own-videos.md) says. Which score does (a) reach, which (g)?
#
# Write what you predict into `guess` and run the cell: it says whether that holds, and keeps the answer folded.
#
# <details><summary>Hints</summary>
# 1: section 5. 2: the detector resizes the whole frame; what matters is how large the object is after
# that. 3: few frames, few objects: start from the shipped weights.
# </details>

# %%
guess = {2: None}          # your prediction, percent
cut = [half(x)[:, :x.shape[1] // 2, :x.shape[2] // 2] for x in film.frames[:24]]
seen = [f.detections for f in detect_video(model, open_video(cut), mode)]
again = agreement(film.found[:24], [Detections(2 * d.boxes, d.scores, d.labels) for d in seen], threshold)
check(2, guess[2], again.found_again, f"half as large, then cut to what there is to see: {again.two} detections, "
      f"{again.both} of {again.one} said again", within=10)

# %% [markdown]
# ## Summary
#
# A video goes in as frames; each answer rests on a window of them, and waits for half of it unless told
# not to. What comes out is as good as what the model was trained on is like your video.
#
# | here | in mstlib |
# |---|---|
# | any video as frames | `data.video.open_video` |
# | the window, frames as they come | `data.clip.window_indices`, `stream.stream` |
# | detections in pixels of the video | `detect.detect_video` |
# | a progress bar, a film to look at, its strip, the button | `upload.watch`, `upload.strip_picture`, `upload.upload_box` |
# | table, JSON, film with boxes | `keep.csv_file`, `keep.json_file`, `movie.movie_file` |
# | two answers compared without truth | `evaluation.agreement.agreement` |
