# %% [markdown]
# # What does a detector see that looks at one frame, and what does it miss?
#
# **Paper** Sec. IV-B, variant (a) of Table III · **Equations** none · **CPU** under a minute ·
# **Needs** nothing beyond the repository ·
# **Module** [mstlib/model/rpn.py](../mstlib/model/rpn.py),
# [mstlib/model/detector.py](../mstlib/model/detector.py),
# [mstlib/evaluation/outcome.py](../mstlib/evaluation/outcome.py) · **Previous**
# [00](00_what_breaks_a_detector.ipynb), what breaks a detector · **Next**
# [02](02_the_benchmark.ipynb), how MiniVID is made

# %% [markdown]
# **After this notebook you can**
#
# - follow one object through Faster R-CNN: feature map, anchors, proposals, RoIAlign, class scores;
# - write anchors, non-maximum suppression and RoIAlign with loops, and check them against the fast ones;
# - tell its two ways to fail, *not proposed* and *misnamed*, and how often each happens;
# - say which deterioration leads to which, and what only other frames can supply.
#
# Variant **(a)** is the detector that the rest of this series extends. Where MST comes in is marked;
# here nothing does.
#
# ```text
#                      ▼ DAlign, frame level                         ▼ proposal, instance level
#   frame ─► conv1-4 ─►│─► RPN: is there something? ─► proposals     │
#                      │                                   │         │
#                      └─► conv5 ──────────────────► RoIAlign ─► fc ─►│─► head: what is it?
# ```

# %% tags=["parameters"]
profile: str = "mini"      # scale: mini, the benchmark, or tiny, seconds for a test
split: str = "test"        # clips to look at: nothing was tuned on test
threshold: float = 0.5     # score from which a detection counts as said out loud
results: str = "results"   # folder of the run records, in the repository

# %%
import math

import pandas
import torch
from ipywidgets import FloatSlider, IntSlider
from torchvision.ops import clip_boxes_to_image, nms, roi_align

from mstlib import show
from mstlib.data.clip import DETERIORATIONS
from mstlib.data.minivid.benchmark import CLASSES
from mstlib.evaluation.evaluate import slice_masks
from mstlib.evaluation.listening import best_proposal, shown_objects
from mstlib.evaluation.measures import proposal_recall
from mstlib.evaluation.outcome import OUTCOMES, halves, known_elsewhere, outcomes
from mstlib.evaluation.story import hardest, of_track, track_flags, track_scores, traveller
from mstlib.exercise import check
from mstlib.model.backbone import normalised
from mstlib.profiles import get_config
from mstlib.report.batch import ROOT
from mstlib.report.charts import score_chart
from mstlib.report.lookup import measured
from mstlib.stream import clip_maps, detect_clip, find_clip, trace_frame
from mstlib.training.experiment import clips_of, targets_of, trained

config = get_config(profile)
clips = clips_of(config, split)
single = trained(profile, "a").eval()
m, stride, size = single.model_config, single.backbone.stride, (config.data.size, config.data.size)
NAMES = ("background", *CLASSES)

# %% [markdown]
# ## 1. What is left of a frame after the backbone?
#
# Three frames of the traveller accompany us: a *clear* one, in which (a) is surest; a *hard* one, in
# which it falls behind the whole method (g) the most; and one in which the traveller has *turned*: we
# see its body, but hardly anything of its key, the sign on its front.

# %%
number, track = traveller(clips)
clip = clips[number]
known = [t for t in range(len(clip)) if track in clip.target(t).ids]
traces = [trace_frame(single, clip, t, config.test)[1] for t in range(len(clip))]
alone = detect_clip(single, clip, config.test)
scores = track_scores(alone, clip, track)
helped = track_scores(detect_clip(trained(profile, "g"), clip, config.test), clip, track)
rows = {t: {k: float(v[clip.at(t)["id"] == track][0]) for k, v in clip.at(t).items()
            if k in ("visible", "key", "label")} for t in known}
label = int(rows[known[0]]["label"])
times = {"clear": max(known, key=lambda t: scores[t]), "hard": hardest(scores, helped),
         "turned": max(known, key=lambda t: rows[t]["visible"] - rows[t]["key"])}
for role, t in times.items():
    print(f"{role}: frame {t}, {100 * rows[t]['visible']:.0f} % of the body in view, key turned to us "
          f"{100 * rows[t]['key']:.0f} %; score of (a) {scores[t]:.2f}, of (g) {helped[t]:.2f}")

# %%
image, stages = clip.frame(times["clear"]), {}
with torch.no_grad():
    x = normalised(image[None], single.mean, single.std)                   # (1, 3, H, W)
    for stage in ("stem", "conv2", "conv3", "conv4"):
        x = getattr(single.backbone, stage)(x)
        stages[stage] = x[0]                                               # (C, h, w)
    assert torch.allclose(x, single.c4(image[None]))                       # the package's own way
figure, axes = show.grid(1, 5, panel=1.7)
show.draw_frame(axes[0], image, of_track(clip.target(times["clear"]), track), classes=CLASSES)
axes[0].set_title("frame: " + " x ".join(map(str, image.shape)), fontsize=8)
for axis, (stage, F) in zip(axes[1:], stages.items(), strict=True):
    show.heat_map(axis, image, F.norm(dim=0))
    axis.set_title(f"{stage}: " + " x ".join(map(str, F.shape)), fontsize=8)
show.figure_output(figure, "The clear frame with the traveller boxed, and the strength of its features "
                   "after each stage of the backbone, in ever coarser cells.", photo=True)

# %% [markdown]
# **What we see.** Of 128 x 128 pixels stay 16 x 16 cells of 64 numbers (`mini`; the paper's cells are 16
# pixels wide and have 1024). All that follows reads this one map: what it lacks is lost.
#
# ## 2. Where does it look for objects?
#
# The region proposal network (RPN) starts from fixed boxes, the *anchors*: in each cell one for each of
# three aspect ratios and four sizes, 12 in all, as in the paper (`tiny` has fewer sizes). For each it
# says how much it looks like an object, its *objectness*, and by how much to move and stretch it.

# %%
def anchors_by_hand(row: int, column: int) -> torch.Tensor:
    """The anchors of one cell, (A, 4), around its upper left corner, as torchvision has them."""
    x, y, boxes = column * stride, row * stride, []
    for ratio in m.anchor_ratios:                                          # height / width
        for side in m.anchor_sizes:                                        # of a square as large
            w, h = round(side / ratio**0.5 / 2), round(side * ratio**0.5 / 2)
            boxes.append([x - w, y - h, x + w, y + h])
    return torch.tensor(boxes, dtype=torch.float32)


def moved_by_hand(anchor: list[float], delta: list[float]) -> list[float]:
    """An anchor whose middle moves by dx, dy of its size, which grows by exp(dw), exp(dh)."""
    middle = [(anchor[i] + anchor[i + 2]) / 2 + delta[i] * (anchor[i + 2] - anchor[i]) for i in (0, 1)]
    half = [(anchor[i + 2] - anchor[i]) * math.exp(delta[i + 2]) / 2 for i in (0, 1)]
    return [middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]]

# %%
middle = of_track(clip.target(times["clear"]), track).centres[0].tolist()
cell = show.cell_at(*middle, x.shape[-2:], stride)                         # of the traveller's middle
with torch.no_grad():
    objectness, deltas, anchors = (of.view(*x.shape[-2:], -1, of.shape[-1]) for of in single.rpn.score(x, size))
    decoded = single.rpn.parts.box_coder.decode_single(deltas.flatten(0, 2), anchors.flatten(0, 2))
assert torch.allclose(anchors[cell], anchors_by_hand(*cell))               # (A, 4), A = 12 at mini
moved = torch.tensor([moved_by_hand(a, by) for a, by in zip(anchors[cell].tolist(), deltas[cell].tolist(), strict=True)])
assert torch.allclose(moved, decoded.view_as(deltas)[cell], atol=1e-2)
print(f"{len(moved)} anchors in a cell, {len(decoded)} in the frame")

# %%
said = objectness[cell][:, 0].sigmoid()
far = int(((moved - anchors[cell]).norm(dim=1) * (said >= 0.95 * said.max())).argmax())
groups = [*anchors[cell].chunk(3), torch.stack([moved[far], anchors[cell][far]])]
titles = [*(f"anchors, height / width {r:g}" for r in m.anchor_ratios), f"one of objectness {said[far]:.2f}"]
figure, axes = show.grid(1, 4, panel=2.05)
for axis, some, title in zip(axes, groups, titles, strict=True):
    show.show_image(axis, image)
    tags = ["moved", "anchor"] if len(some) == 2 else [""] * len(some)
    show.draw_tagged(axis, some, tags, [show.PALETTE[k] for k in (5, 2, 6, 1)[:len(some)]])
    axis.set_title(title, fontsize=8)
    show.untangle(axis)
show.figure_output(figure, "The clear frame four times: anchors of three shapes and several sizes around one "
                   "cell, and one of them moved onto the traveller.", photo=True)

# %% [markdown]
# **What we see.** The anchors know nothing of the frame. They only make sure that a box of about the right
# shape is near; the deltas do the rest, in one step. On the right the one that has to go farthest of those
# that this cell takes for an object.
#
# ## 3. Which boxes stay?
#
# Every anchor gives a box, so that an object has dozens. *Non-maximum suppression* (NMS) goes from the
# best box down and drops each that overlaps one already kept by more than 0.7 (intersection over union).

# %%
def iou_by_hand(a: list[float], b: list[float]) -> float:
    """Intersection over union of two boxes x1 y1 x2 y2."""
    w, h = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    both = max(w, 0) * max(h, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def nms_by_hand(boxes: list[list[float]], most: float) -> list[int]:
    """Which boxes stay, of boxes from the best down."""
    kept: list[int] = []
    for i, box in enumerate(boxes):
        if all(iou_by_hand(box, boxes[j]) <= most for j in kept):
            kept.append(i)
    return kept

# %%
flat = objectness.flatten()                                                # (h * w * A,)
order = flat.topk(min(m.rpn_pre_nms, len(flat))).indices
boxes, trace = clip_boxes_to_image(decoded[order], size), traces[times["clear"]]
kept, N = nms_by_hand(boxes.tolist(), m.rpn_nms), len(trace.proposals[0])
assert kept == nms(boxes, flat[order], m.rpn_nms).tolist() and torch.allclose(boxes[kept[:N]], trace.proposals[0])
figure, axes = show.grid(1, 3, panel=2.7)
show.heat_map(axes[0], image, objectness.amax((2, 3)).sigmoid(), "objectness", top=1.0)
axes[0].set_title("the cells' best objectness", fontsize=8)
for axis, rows in zip(axes[1:], (range(min(64, len(boxes))), kept[:N]), strict=True):
    show.show_image(axis, image)
    axis.set_title(f"the {len(rows)} best boxes " + ("after NMS" if axis is axes[2] else "before NMS"), fontsize=8)
    tags = [f"{flat[order[i]].sigmoid():.2f}" if axis is axes[2] else "" for i in rows]
    show.draw_tagged(axis, boxes[list(rows)], tags, [show.PALETTE[i % 8] for i in range(len(rows))])
    show.untangle(axis)
show.figure_output(figure, f"Objectness of the cells; a heap of boxes; the {N} that stay.", photo=True)

# %% [markdown]
# **What we see.** Left, the map lights up where objects are. In the middle the best boxes before NMS, right
# what the detector goes on with: 8 *proposals* at `mini`, and 300 in the paper, whose images are 37 times
# as large ([DEVIATIONS.md](../DEVIATIONS.md) 18). A proposal says *something is here*, and not yet what.
#
# ## 4. How does a box become a name?
#
# *RoIAlign* lays a grid of 5 x 5 cells (7 x 7 in the paper) over the proposal, on the conv5 map, reads
# four points in each, between the cells of the map, and takes their mean.

# %%
def between(F: torch.Tensor, y: float, x: float) -> torch.Tensor:
    """A map (C, H, W) read between its cells, by nearness of the four around; beyond its rim, the rim."""
    total, (y, x) = 0, (min(max(v, 0.0), n - 1) for v, n in zip((y, x), F.shape[1:], strict=True))
    for row in {int(y), min(int(y) + 1, F.shape[1] - 1)}:
        for column in {int(x), min(int(x) + 1, F.shape[2] - 1)}:
            total = total + (1 - abs(y - row)) * (1 - abs(x - column)) * F[:, row, column]
    return total


def roi_cell_by_hand(F: torch.Tensor, box: torch.Tensor, i: int, j: int) -> torch.Tensor:
    """RoIAlign of one proposal (4,), row i and column j of its grid: the mean of four points, (C,)."""
    x1, y1, x2, y2 = (box / stride - 0.5).tolist()                         # cells, middles at 0, 1, ...
    points = [(y1 + (i + a) / m.roi_size * (y2 - y1), x1 + (j + b) / m.roi_size * (x2 - x1))
              for a in (0.25, 0.75) for b in (0.25, 0.75)]
    return sum(between(F, y, x) for y, x in points) / 4

# %%
shows = best_proposal(trace, clip.target(times["clear"]), track)           # its row among the proposals
box = trace.proposals[0][shows]
with torch.no_grad():
    c5 = single.reduce(single.backbone.c5(x))                              # (1, C, h, w)
    theirs = roi_align(c5, [box[None]], m.roi_size, 1 / stride, 2, aligned=True)[0]
    ours = torch.stack([roi_cell_by_hand(c5[0], box, i, j)
                        for i in range(m.roi_size) for j in range(m.roi_size)], 1).view_as(theirs)
    vector = torch.relu(single.fc(ours.flatten()))                         # (d,)
    says = single.head(vector[None])[0][0].softmax(0)                      # (classes + 1,), 0 is background
assert torch.allclose(ours, theirs, atol=1e-4)                             # (C, n, n)
assert torch.allclose(says, trace.scores[shows], atol=1e-4)
print(f"box {tuple(box.shape)} -> RoI {tuple(ours.shape)} -> {tuple(vector.shape)} -> {len(says)} shares")

# %% tags=["cover"]
figure, axes = show.grid(2, 3, panel=2.35)
quarters = (torch.arange(2 * m.roi_size) + 0.5) / (2 * m.roi_size)
grid = torch.cartesian_prod(quarters, quarters)                            # (4 n n, 2)
for axis, below, (role, t) in zip(axes[:3], axes[3:], times.items(), strict=True):
    i = best_proposal(traces[t], clip.target(t), track)
    box = traces[t].proposals[0][i]
    show.show_image(axis, clip.frame(t))
    show.draw_tagged(axis, box[None], [f"objectness {traces[t].objectness[0][i]:.2f}"], [show.PALETTE[2]])
    show.dots(axis, box[:2] + grid * (box[2:] - box[:2]), size=2)
    axis.set_title(f"{role}: frame {t}", fontsize=8)
    show.share_bars(below.inset_axes((0.36, 0.02, 0.62, 0.96)),
                    dict(zip(NAMES, traces[t].scores[i].tolist(), strict=True)), NAMES[label])
show.figure_output(figure, "The traveller's proposal in the three frames, with the points that RoIAlign "
                   "reads; under each, as bars, the shares that the head gives the classes.", photo=True)

# %% [markdown]
# **What we see.** In all three frames a proposal lies well on the traveller, with objectness near 1. In the
# clear frame it has one name. In the hard one, three quarters of the body covered, nearly every body comes
# into question. In the turned one the body has its name, and the two keys share what there is. The box is
# found each time; it is the *name* that one frame does not give.
#
# ## 5. Which half of the name is missing?
#
# A class of MiniVID has two halves, body and key. For each frame, of the traveller's best proposal: the
# share of its right body with either key, and the share of its right key *among the two of that body*.

# %%
parts = [halves(traces[t].scores[best_proposal(traces[t], clip.target(t), track)], label) if t in known
         else (math.nan, math.nan) for t in range(len(clip))]              # (body, key) of each frame
lines = {"right body": [body for body, _ in parts], "right key, of the two": [key for _, key in parts]}
figure = score_chart(lines, track_flags(clip, track), 0.5)
figure.axes[0].set_ylabel("share of the posterior", fontsize=9, loc="top")
figure.axes[0].get_legend().get_texts()[-1].set_text("a toss-up")
sure = [sum(share >= 0.9 for share in line) for line in lines.values()]
show.figure_output(figure, f"Two lines over {len(clip)} frames: the share of the right body is .9 or more in "
                   f"{sure[0]} frames, that of the right key in {sure[1]}.")
steps = sorted({*times.values(), *range(0, len(clip), max(1, len(clip) // 6))})[:8]
strip = show.film_strip(clip, steps, alone, True, CLASSES, threshold, len(steps), track=track)
show.figure_output(strip, "Film strip of the traveller with the detections of (a); a cross marks that it is "
                   f"missed, in {sum(scores[t] < threshold for t in steps)} of {len(steps)} frames.", photo=True)

# %% [markdown]
# **What we see.** While the traveller hides behind something (frames 0 to 3) its very body is in doubt.
# From frame 16 on it is blurred and turns away, and the body stays as sure as ever: what goes is the key.
# Blurred, the cross is taken for a disc; turned away it is a toss-up. That is no mistake that training could
# mend: from behind the two classes look the same, pixel by pixel
# ([notebook 02](02_the_benchmark.ipynb) checks it), and a guess is the best answer there is.
#
# Now yourself: choose a frame and the score from which a detection counts, and **click on the frame** to
# ask the proposal nearest to that place (or use the slider; 0 has the highest objectness). Left the
# detections, judged, and that proposal (dotted, white), right what the head says of it. (It lives in
# JupyterLab; the pictures above say the same.)

# %%
def look(frame: int, score: float, proposal: int):
    """Detections of (a) in one frame, and the class shares of one of its proposals."""
    trace, target, (figure, (left, right)) = traces[frame], clip.target(frame), show.grid(1, 2, panel=3.2)
    i = min(proposal, len(trace.proposals[0]) - 1)
    row = int(shown_objects(trace.proposals[0][i][None], target))          # -1: it shows no object
    used = show.draw_frame(left, clip.frame(frame), target, alone[frame], CLASSES, score)
    show.draw_tagged(left, trace.proposals[0][i][None], [f"proposal {i}"], ["white"], "nothing there")
    show.untangle(left)
    show.share_bars(right.inset_axes((0.25, 0.02, 0.74, 0.96)),
                    dict(zip(NAMES, trace.scores[i].tolist(), strict=True)), NAMES[target.labels[row] if row >= 0 else 0])
    return figure, (f"Frame {frame}, boxes: {', '.join(sorted(used)) or 'none'}. Proposal {i}, objectness "
                    f"{trace.objectness[0][i]:.2f}, is taken for {NAMES[int(trace.scores[i].argmax())]}.")

# %%
def nearest(axis: int, x: float, y: float) -> dict[str, int]:
    """The proposal of the frame on show whose middle is nearest to a click on it."""
    boxes = traces[frame.value].proposals[0]
    away = ((boxes[:, :2] + boxes[:, 2:]) / 2 - torch.tensor([x, y])).norm(dim=1)
    return {"proposal": int(away.argmin())} if axis == 0 else {}


frame = IntSlider(times["hard"], 0, len(clip) - 1)
first = best_proposal(traces[times["hard"]], clip.target(times["hard"]), track)
show.live(look, nearest, frame=frame, score=FloatSlider(threshold, min=0, max=1, step=0.05),
          proposal=IntSlider(first, 0, m.reference_proposals - 1))

# %% [markdown]
# ## 6. What does it miss?
#
# An object can be lost in two places: no proposal shows it, or one does and gets the wrong name. How often
# is there a proposal (the *recall* of the RPN)? From the run records, where there are any. Then, of one
# seed and object by object, what becomes of each: its name is that of the strongest detection on it,
# however weak. And of what goes wrong: does the same detector, in another frame of the test window, name
# that object rightly with a score of `threshold` or more?

# %%
truth = targets_of(clips)
found = [list(find_clip(single, c, config.test)) for c in clips]           # clips x frames
recall, source = measured(ROOT / results / "runs", profile, "a", "rpn_recall", lambda: {
    part: proposal_recall([[f.proposals for f in of] for of in found], truth, frames=mask)
    for part, mask in slice_masks(truth).items()})
print(source)
show.table_output(pandas.DataFrame({"frames": list(recall), "% of their objects proposed": [
    None if share is None else 100 * share for share in recall.values()]}))
kinds = [[outcomes(f.detections, f.proposals, target) for f, target in zip(*of, strict=True)]
         for of in zip(found, truth, strict=True)]
elsewhere = known_elsewhere(clips, [[f.detections for f in of] for of in found], kinds, config.test.window,
                            config.test.stride, threshold)

# %%
kind, flags = torch.cat([k for of in kinds for k in of]), torch.cat([of.flags for c in truth for of in c])
parts = {"all": flags.sum(1) >= 0, "clean": ~flags.any(1), "deteriorated": flags.any(1)}
parts |= {f"{name} alone": flags[:, k] & (flags.sum(1) == 1) for k, name in enumerate(DETERIORATIONS)}
shares = {f"{part} ({int(mask.sum())})": {
    name: 100 * float((kind[mask] == k).double().mean()) for k, name in enumerate(OUTCOMES)}
    for part, mask in parts.items() if mask.any()}
show.figure_output(show.stacked_bars(shares, "percent of the objects"), "Stacked bars of outcomes, percent right: "
                   + ", ".join(f"{part} {row['right']:.0f}" for part, row in shares.items()))
turned = parts["rare pose alone"] & (kind < 2)
print(f"in a rare pose alone {int(turned.sum())} objects got the right body, and "
      f"{100 * (kind[turned] == 0).double().mean():.0f} % of these the right key")
counts = [int((kind == k).sum()) for k in range(1, len(OUTCOMES))]
show.table_output(pandas.DataFrame({"in this frame": list(elsewhere), "objects": counts,
                                    "% right elsewhere in the window": elsewhere.values()}))

# %% [markdown]
# **What we see.** By far most errors are wrong names, not missing boxes. Each deterioration has its own:
# turned away, nine in ten have the right body, and the key is right as often as a coin is; blur costs keys,
# and some bodies; it is occlusion that costs boxes. So there are two things to ask other frames for: *is there
# something?*, which is the frame level's question, and *what is it?*, that of the proposal and instance
# level.
#
# And other frames could tell. What (a) gets wrong in one frame it knows in another of the same window,
# nine times in ten. That is the room in which MST works. The whole method takes a part of it, with an mAP of
# 79 where (a) has 72 ([table III](../results/tables/table_III.md)). To find the same object again, and to
# know which of several answers to trust, is what the other notebooks are about.

# %% [markdown]
# ## Exercises
#
# 1. ★☆☆, 3 minutes. NMS drops boxes that overlap by more than 0.7. Predict how many of the boxes of section
#    3 stay for 0.5, and whether the first ones still show every object.
# 2. ★★☆, 5 minutes. Occluded objects have fewer proposals. Would keeping more of them help? Predict the
#    recall, in percent, for 32 proposals a frame.
# 3. ★★★, 15 minutes. How many columns does one cell of conv4 read? Work it out from the kernels and strides
#    in [mstlib/model/backbone.py](../mstlib/model/backbone.py). Why is a larger reach no help for a key that
#    is turned away?
#
# Write what you predict into `guess` and run the cell: it says whether that holds, and keeps the answer folded.
#
# <details><summary>Hints</summary>
# 1: two objects, and boxes of one object differ by little. 2: the cell below counts on every eighth clip;
# think of what the head would have to do with them. 3: go backwards from one cell; a 3x3 kernel adds 2, a
# stride multiplies.
# </details>

# %%
guess = {1: None, 2: None, 3: None}          # your predictions, three numbers
boxes, target, few = clip_boxes_to_image(decoded[order], size), clip.target(times["clear"]), clips[::8]
left = {most: nms(boxes, flat[order], most) for most in (0.3, 0.5, 0.7, 0.9)}
seen = {most: len(set(shown_objects(boxes[k[:N]], target).tolist()) - {-1}) for most, k in left.items()}
check(1, guess[1], len(left[0.5]), [f"NMS {most}: {len(left[most])} of {len(boxes)} stay, the first {N} show "
                                    f"{seen[most]} objects" for most in left], within=0.1 * len(boxes))
with torch.no_grad():
    recall = {n: 100 * proposal_recall([single.rpn.propose(clip_maps(single, c), size, [n] * len(c))[0] for c in few],
                                       targets_of(few)) for n in sorted({4, m.reference_proposals, 16, 32})}
check(2, guess[2], recall[32], [f"{n} proposals: recall {value:.1f} %" for n, value in recall.items()], within=2)
pixels = normalised(image[None], single.mean, single.std).requires_grad_()
single.backbone.c4(pixels)[0, :, x.shape[-2] // 2, x.shape[-1] // 2].sum().backward()
reach = pixels.grad[0].abs().sum((0, 1)).nonzero().flatten()               # columns that matter
check(3, guess[3], columns := int(reach[-1] - reach[0]) + 1,
      f"a cell in the middle reads {columns} of {size[1]} columns", within=8)

# %% [markdown]
# ## Summary
#
# A detector for single frames finds nearly every object and misnames many: it cannot know what the frame
# does not show. Other frames show it. The notebooks from 03 on ask them, one level at a time.
#
# | here | in mstlib |
# |---|---|
# | feature maps | `model.backbone.MiniBackbone`, `stream.clip_maps` |
# | anchors, deltas, NMS | `model.rpn.RPN`, `model.rpn.nms_each` |
# | RoIAlign, the head, what it says of each proposal | `model.detector.MST`, `stream.trace_frame` |
# | the proposal that shows an object | `evaluation.listening.best_proposal` |
# | recall of the RPN | `evaluation.measures.proposal_recall`, `report.lookup.measured` |
# | right, misnamed, not proposed; known elsewhere | `evaluation.outcome.outcomes`, `evaluation.outcome.known_elsewhere` |
# | shares as bars | `show.share_bars`, `show.stacked_bars` |
