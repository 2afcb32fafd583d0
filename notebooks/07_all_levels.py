# %% [markdown]
# # All levels: what happens to one hard frame on its way through?
#
# **Paper** Sec. III-A, Fig. 2, Table III · **Equations** 1-12 · **CPU** a minute ·
# **Needs** nothing beyond the repository ·
# **Module** [mstlib/model/detector.py](../mstlib/model/detector.py),
# [mstlib/model/trace.py](../mstlib/model/trace.py) · **Previous**
# [06](06_instance_level.ipynb), the instance level · **Next** [08](08_training.ipynb), training

# %% [markdown]
# **After this notebook you can**
#
# - put the whole detector together from its parts in a dozen lines, and check it;
# - follow one deteriorated object from pixels to its score, level by level;
# - tell where in the detector an answer changes, and which level did it;
# - say why switching a level off is not the same as training without it.
#
# The parts, in the order in which a window of frames meets them (Fig. 2):
#
# ```text
#  window ─► conv1-4 ─► DAlign ─► frame level ─► RPN ─► conv5, RoIAlign ─► proposal ─► instance ─► boxes,
#                       (03)      (04)           (01)   (01)               level (05)  level (06)  scores
#   (a)        ■                                  ■      ■                                            ■
#   (b)        ■                   ■              ■      ■                                            ■
#   (c)        ■                                  ■      ■                  ■                         ■
#   (d)        ■          ■        ■              ■      ■                                            ■
#   (e)        ■          ■                       ■      ■                  ■                         ■
#   (f)        ■          ■        ■              ■      ■                  ■                         ■
#   (g)        ■          ■        ■              ■      ■                  ■           ■             ■
# ```

# %% tags=["parameters"]
profile: str = "mini"      # scale: mini, the benchmark, or tiny, seconds for a test
split: str = "test"        # clips to look at: nothing was tuned on test
threshold: float = 0.5     # score from which a detection counts as said out loud
results: str = "results"   # folder of the run records, in the repository

# %%
import pandas
import torch
from ipywidgets import Checkbox, IntSlider, ToggleButtons

from mstlib import show
from mstlib.config import VARIANTS, Levels, MSTError
from mstlib.data.minivid.benchmark import CLASSES
from mstlib.evaluation.listening import best_proposal, mass_by_kind, support_kinds
from mstlib.evaluation.story import (
    hardest,
    object_scores,
    of_track,
    track_flags,
    track_scores,
    traveller,
)
from mstlib.exercise import check
from mstlib.model.whatif import class_scores, switched
from mstlib.profiles import get_config
from mstlib.report.batch import ROOT
from mstlib.report.charts import score_chart
from mstlib.report.records import read_runs
from mstlib.report.results import make_table
from mstlib.stream import detect_clip, trace_frame
from mstlib.training.experiment import clips_of, trained

config = get_config(profile)
clips = clips_of(config, split)
number, track = traveller(clips)
clip = clips[number]
models = {v: trained(profile, v) for v in VARIANTS}
whole = models["g"]

# %% [markdown]
# ## 1. What do seven detectors say of one frame?
#
# Seven detectors, trained alike, each with other parts switched on (Table III). The frame is the one in
# which (g) gains most on the traveller over (a).

# %%
found = {v: detect_clip(model, clip, config.test) for v, model in models.items()}
scores = {v: track_scores(f, clip, track) for v, f in found.items()}
t = hardest(scores["a"], scores["g"])
target = clip.target(t)
name = CLASSES[int(of_track(target, track).labels) - 1]
figure, axes = show.even_grid(len(VARIANTS))
for axis, v in zip(axes, VARIANTS, strict=True):
    show.draw_frame(axis, clip.frame(t), target, found[v][t], CLASSES, threshold)
    axis.set_title(f"({v}) traveller {scores[v][t]:.2f}", fontsize=8)
told = ", ".join(f"({v}) {s[t]:.2f}" for v, s in scores.items())
show.figure_output(figure, f"{clip.name}, frame {t}, seven times, with the detections of each variant; "
                   f"score of the traveller, a {name}: {told}.", photo=True)

# %% [markdown]
# **What we see.** One frame proves nothing about which variant is better, but it shows what is at
# stake: the same pixels, and answers from silence to near certainty. Over the whole split, from the run
# records:

# %%
if read_runs(ROOT / results / "runs", profile):
    table = make_table("III", ROOT / results, profile)
    ours = [c for c in table if c != "runs" and not c.startswith(("our mAP (profile", "our mAP (ImageNet"))]
    show.table_output(table[ours], digits=2)
else:
    print("no run records of this profile")

# %% [markdown]
# ## 2. How do the parts make one detector?
#
# Everything `MST.forward` does to a window, written out with the parts of the earlier notebooks:

# %%
_, trace, frames = trace_frame(whole, clip, t, config.test)
images = torch.stack([clip.frame(f) for f in frames])                  # (L, 3, H, W), reference first
m, size = whole.model_config, images.shape[-2:]

# %%
with torch.no_grad():
    F = whole.c4(images)[None]                                         # (1, L, C, h, w)
    aligned, _ = whole.dalign(F)                                       # F'   (Eq. 1-3)
    updated = whole.frame(aligned)[0]                                  # F''  (Eq. 4-6): (L, C, h, w)
    keep = [m.reference_proposals] + [m.support_proposals] * (len(frames) - 1)
    boxes, objectness = whole.rpn.propose(updated, size, keep)         # of each frame (n, 4), (n,)
    rois = whole.roi_features(whole.reduce(whole.backbone.c5(updated)), boxes)
    s, s_boxes = (torch.cat([x[: m.support_proposals] for x in of]) for of in (rois, boxes))
    R1 = whole.proposal(rois[0], boxes[0], s, s_boxes)                 # R'   (Eq. 7-11): (N, d)
    R2, _ = whole.instance(R1, boxes[0], objectness[0], s, s_boxes)    # R''  (Eq. 12): (N, d)
    ours, package = whole.decode(R2, [boxes[0]], size)[0], whole(images[None])[0][0]
assert torch.allclose(ours.scores, package.scores, atol=1e-4)
print(f"{len(ours.scores)} detections from the parts, the same as the package's")

# %% [markdown]
# **What we see.** Two kinds of steps take turns: those that look at each frame alone (backbone, RPN,
# RoIAlign) and those that look across frames, the levels. Nothing else is in there.
#
# ## 3. What does each level do to the traveller?
#
# The trace of the same pass, level by level.

# %%
targets = [clip.target(f) for f in frames]
mine, kinds = best_proposal(trace, target, track), support_kinds(trace, targets, track)
box = of_track(target, track).boxes[0]
stride, hw = whole.backbone.stride, trace.maps.shape[-2:]
cell = show.cell_at(*((box[:2] + box[2:]) / 2).tolist(), hw, stride)
attention = trace.frame_attention[cell[0] * hw[1] + cell[1]]            # (L, h, w)
heard = trace.relation[-1]["weights"].mean(0)[mine]                    # (M,) of the last layer
far = int(trace.displacement[1:, cell[0], cell[1]].norm(dim=-1).argmax()) + 1  # a support
print(f"the traveller's middle is cell {cell}; most is moved in frame {frames[far]}")

# %%
loudest = int(heard.argmax())
figure, axes = show.even_grid(4)
show.show_image(axes[0], clip.frame(frames[far]))
at = show.cell_centres(hw, stride)[cell][None]                         # (1, 2) pixels
show.mark_cell(axes[0], cell, stride)
show.arrows(axes[0], at, at + stride * trace.displacement[far][cell])
show.heat_map(axes[1], clip.frame(frames[far]), attention[far], "attention")
show.show_image(axes[2], clip.frame(t))
show.draw_tagged(axes[2], boxes[0], [""] * len(boxes[0]), ["#999999"] * len(boxes[0]), "nothing there")
show.draw_tagged(axes[2], boxes[0][[mine]], ["traveller"], [show.colour_of(1)])
show.show_image(axes[3], clip.frame(frames[trace.support_frame[loudest]]))
show.draw_tagged(axes[3], trace.supports[[loudest]], [f"{100 * heard[loudest]:.0f} %"], [show.colour_of(1)])

# %% tags=["cover"]
titles = ("DAlign: where it looks", "frame level: what it averages", "RPN: its proposal", "proposal level: heard most")
for axis, title, f in zip(axes, titles, (frames[far], frames[far], t, frames[trace.support_frame[loudest]]), strict=True):
    axis.set_title(f"{title}\nframe {f}", fontsize=8)
show.figure_output(figure, "Four frames: an arrow where the traveller's middle looks, a heat map of what its cell "
                   "averages, its proposal among the others, and the support it listens to most.", photo=True)

# %%
def posterior(trace, row: int, label: int) -> dict[str, float]:
    """What the head would say of a class, read before the levels and after each: 0..1."""
    return {stop: float(class_scores(whole, f)[row, label]) for stop, f in trace.features.items()}

# %%
label = int(of_track(target, track).labels)
here = show.cell_centres(hw, stride)                                   # (h, w, 2)
inside = torch.stack([((here >= b[:2]) & (here < b[2:])).all(-1) for f in targets
                      for b in (of_track(f, track).boxes if track in f.ids else torch.zeros(1, 4))])
moved, said = trace.displacement[far][cell].norm(), posterior(trace, mine, label)
steps = [("DAlign", f"looks {moved:.1f} cells away in frame {frames[far]}"),
         ("frame level", f"{100 * attention[inside].sum():.0f} % of its attention on the traveller, "
                         f"{100 * inside.double().mean():.0f} % of the cells"),
         ("proposal level", f"{100 * mass_by_kind(heard, kinds)['same object']:.0f} % on the same object, "
                            f"{100 * (kinds == 0).double().mean():.0f} % of the supports"),
         ("head", f"{name}: " + ", ".join(f"{100 * v:.0f} % ({k})" for k, v in said.items()))]
show.table_output(pandas.DataFrame(steps, columns=["step", "the traveller in this frame"]))

# %% [markdown]
# **What we see.** Read the last line from left to right: the same proposal, and what the head would say
# of it before any relation (RoI), after the proposal level, and after the instance level. Is that so in
# every frame? The same three readings along the whole clip:

# %%
curves = {"before the levels": [], "after proposal": [], "after instance": []}
for f in range(len(clip)):
    now, said = clip.target(f), None
    if track in now.ids:
        _, there, _ = trace_frame(whole, clip, f, config.test)
        said = posterior(there, best_proposal(there, now, track), label)
    for line, value in zip(curves.values(), said.values() if said else [float("nan")] * 3, strict=True):
        line.append(value)
means = ", ".join(f"{k} {torch.tensor(v).nanmean():.2f}" for k, v in curves.items())
show.figure_output(score_chart(curves, track_flags(clip, track), threshold),
                   f"Three lines over {len(clip)} frames, what the head says of the traveller; means: {means}.")

# %% [markdown]
# **What we see.** In clean frames there is little to mend. In deteriorated frames (shaded) all lines
# fall, but the first one falls below the second nearly everywhere. Most of what MST gains is gained in
# that one step; the instance level adds little, and not always. The line "before the levels" already holds what DAlign
# and the frame level did to the map.
#
# ## 4. Is switching off the same as training without?
#
# Table III trains every variant anew. One can also take (g) and leave parts out. The score of the
# traveller in this frame, both ways:

# %%
def score_of(detections, frame: int) -> float:
    """The score of the traveller's best right detection in a frame; 0 where it is not annotated."""
    return float(object_scores(detections, of_track(clip.target(frame), track)).sum())


rows = []
for v, levels in VARIANTS.items():
    left = trace_frame(switched(whole, levels), clip, t, config.test)[0]
    rows.append({"variant": f"({v})", **{k: bool(on) for k, on in vars(levels).items()},
                 "trained so": scores[v][t], "(g), parts switched off": score_of(left, t)})
show.table_output(pandas.DataFrame(rows), digits=2)

# %% [markdown]
# **What we see.** The columns differ. In (g) the head has learned to read features that have gone
# through all levels; a level that is taken away leaves it with others. An ablation that only switches
# off measures this shock as well, which is why Table III trains every variant.
#
# Now switch yourself, and move through the clip. *Trained so* uses the variant of Table III with these
# parts, if there is one; *switched off in (g)* works for all sixteen.

# %%
kept: dict[tuple, object] = {}


def detect(levels: Levels, how: str, frame: int):
    """Detections of one frame, remembered; MSTError where nobody trained these parts together."""
    names = [v for v, known in VARIANTS.items() if known == levels]
    if how == "trained so" and not names:
        raise MSTError("Table III has no variant with these parts; switch them off in (g) instead")
    if (levels, how, frame) not in kept:
        model = models[names[0]] if how == "trained so" else switched(whole, levels)
        kept[levels, how, frame] = trace_frame(model, clip, frame, config.test)[0]
    return kept[levels, how, frame]

# %%
def look(dalign: bool, frame_level: bool, proposal: bool, instance: bool, how: str, frame: int):
    """One frame with the detections of a detector that has the chosen parts, beside (a) and (g)."""
    levels, now = Levels(dalign, frame_level, proposal, instance), clip.target(frame)
    shown = {"(a)": found["a"][frame], how: detect(levels, how, frame), "(g)": found["g"][frame]}
    figure, axes = show.even_grid(3)
    for axis, (title, of) in zip(axes, shown.items(), strict=True):
        show.draw_frame(axis, clip.frame(frame), now, of, CLASSES, threshold)
        axis.set_title(f"{title}: traveller {score_of(of, frame):.2f}", fontsize=8)
    on = ", ".join(k for k, v in vars(levels).items() if v) or "no level"
    return figure, (f"Frame {frame}, in the middle a detector with {on} ({how}). Score of the traveller: "
                    + ", ".join(f"{k} {score_of(of, frame):.2f}" for k, of in shown.items()) + ".")

# %%
boxes_on = {k: Checkbox(k != "instance") for k in ("dalign", "frame_level", "proposal", "instance")}
show.live(look, **boxes_on, how=ToggleButtons(options=["trained so", "switched off in (g)"]),
          frame=IntSlider(t, 0, len(clip) - 1))

# %% [markdown]
# ## Exercises
#
# 1. ★☆☆, 3 minutes. After which step is the traveller's class most sure: "RoI", "proposal" or "instance"?
#    Predict from the film strip of section 1, then look at the last line of section 3's table.
# 2. ★★☆, 10 minutes. Give (g) a window of copies of the reference. What can the levels still do? Predict
#    the score of the traveller, and explain why the answer is not that of (a).
# 3. ★★★, 30 minutes. Find an object that a level *harms*: go through other clips with the loop of
#    section 3 and look for frames in which "after proposal" lies under "before the levels".
#
# Write what you predict into `guess` and run the cell: it says whether that holds, and keeps the answer folded.
#
# <details><summary>Hints</summary>
# 1: compare (b) with (a), (c) with (a), (g) with (f). 2: the head was trained behind the levels, and
# proposals of the reference are supports, too. 3: start with clips that hold twins, two objects with the
# same body and different keys.
# </details>

# %%
guess = {1: None, 2: None}          # your predictions: 1 a step, 2 a score, 0 to 1
said = posterior(trace, mine, label)
check(1, guess[1], max(said, key=said.get), ", ".join(f"{step} {value:.2f}" for step, value in said.items()))
with torch.no_grad():
    copies = whole(images[:1].expand(len(frames), -1, -1, -1)[None])[0][0]
alone = score_of(copies, t)
check(2, guess[2], alone, f"score of the traveller: (a) {scores['a'][t]:.2f}, (g) on copies {alone:.2f}, "
                          f"(g) {scores['g'][t]:.2f}", within=0.05)

# %% [markdown]
# ## Summary
#
# MST is a two-stage detector with four exchanges between frames put in between. On its way through, a
# deteriorated object keeps its pixels and gets better company; most of it at the proposal level.
#
# | here | in mstlib |
# |---|---|
# | the detector from its parts | `model.detector.MST` |
# | everything a pass leaves behind | `model.trace.Trace`, `stream.trace_frame` |
# | the hard frame | `evaluation.story.hardest` |
# | the head as a lens, parts switched off | `model.whatif.class_scores`, `model.whatif.switched` |
# | Table III | `report.results.make_table` |
