# %% [markdown]
# # DAlign: where does each pixel look?
#
# **Paper** Sec. III-B, Fig. 3 · **Equations** 1-3 · **CPU** under a minute ·
# **Needs** nothing beyond the repository ·
# **Module** [mstlib/model/dalign.py](../mstlib/model/dalign.py),
# [mstlib/model/deform.py](../mstlib/model/deform.py) · **Previous**
# [02](02_the_benchmark.ipynb), how MiniVID is made · **Next** [04](04_frame_level.ipynb), the frame level

# %% [markdown]
# **After this notebook you can**
#
# - say why the features of two frames cannot simply be averaged;
# - write a deformable convolution with four loops, and check it against the fast one;
# - read the offset field of a trained detector as motion, and say how far it is wrong;
# - point at the 81 places of a support frame that one cell of the reference reads;
# - tell what alignment is worth here, and why it is not worth more.
#
# An object moves. What lies at one place of the reference frame lies elsewhere in a support frame,
# and whoever averages place by place mixes the object with the ground behind it.
#
# ```text
#   reference F_t ─────┐
#                      ├─ concatenate ─► convolutions ─► Θ: for every cell, 9 offsets   (Eq. 1)
#   support F_τ ───┬───┘                                 │
#                  │                                     ▼
#                  └────────────► read F_τ at the displaced places, twice ─► F'_τ       (Eq. 2)
#
#   all frames of the window, the reference itself among them                           (Eq. 3)
# ```

# %% tags=["parameters"]
profile: str = "mini"      # scale: mini, the benchmark, or tiny, seconds for a test
variant: str = "g"         # whose DAlign: d, e, f or g of Table III
split: str = "test"        # clips to look at: nothing was tuned on test
gap: int = 4               # frames between reference and support in the still pictures
results: str = "results"   # folder of the run records, in the repository

# %%
import pandas
import torch
from ipywidgets import Dropdown, IntSlider
from torchvision.ops import deform_conv2d

from mstlib import show
from mstlib.data.minivid.benchmark import CLASSES
from mstlib.evaluation.alignment import alignment_error, feature_differences
from mstlib.evaluation.story import fastest, of_track
from mstlib.exercise import check
from mstlib.model.deform import chain, deform_conv, displacement, sampling_points
from mstlib.profiles import get_config
from mstlib.report.batch import ROOT
from mstlib.report.controls import control_rows
from mstlib.report.lookup import measured
from mstlib.report.records import read_runs
from mstlib.stream import clip_maps
from mstlib.training.experiment import clips_of, trained

config = get_config(profile)
clips = clips_of(config, split)
model = trained(profile, variant)
dalign, stride = model.dalign, model.backbone.stride

# %% [markdown]
# ## 1. How far does an object move between two frames?
#
# The traveller of [notebook 00](00_what_breaks_a_detector.ipynb) hardly leaves its place, so that another
# object takes over here: *the runner*, which of all objects moves farthest in `gap` frames while both show
# it clean. The benchmark knows how everything moved, for it has drawn it: arrows lead from the cells that
# the runner covers in the reference to where they are in the support. The third panel is what a detector
# sees that compares the two frames place by place.

# %%
number, track, t = fastest(clips, gap)
clip, s = clips[number], min(t + gap, len(clips[number]) - 1)
maps = clip_maps(model, clip)                                          # F (T, C, h, w)
motion, owner = clip.true_motion(t, s, stride)                         # (h, w, 2), (h, w)
centres = show.cell_centres(owner.shape, stride)                       # (h, w, 2) pixels
mine = owner == track
moved = motion[mine].norm(dim=-1).mean()
print(f"{clip.name}, frames {t} and {s}: the runner moves {moved:.1f} cells of {stride} pixels")

# %%
raw = (maps[t] - maps[s]).norm(dim=0) / maps[t].norm(dim=0).mean()     # (h, w)
figure, (one, two, three) = show.grid(1, 3, panel=2.6)
for axis, frame, role in ((one, t, "reference"), (two, s, "support")):
    show.draw_frame(axis, clip.frame(frame), of_track(clip.target(frame), track), classes=CLASSES)
    axis.set_title(f"{role}: frame {frame}", fontsize=8)
show.arrows(two, centres[mine], centres[mine] + stride * motion[mine])
show.heat_map(three, clip.frame(t), raw, "|F_t - F_τ| / |F_t|")
three.set_title("difference, place by place", fontsize=8)
print(f"difference on the runner {raw[mine].mean():.2f}, elsewhere {raw[~mine].mean():.2f}")
show.figure_output(figure, f"Frames {t} and {s} with the runner boxed, arrows from where it was to "
                   "where it is, and a heat map in which the two places stand out.", photo=True)

# %% [markdown]
# **What we see.** The arrows start where the runner was in the reference and end on it in the
# support. In the heat map the features differ most exactly where it is, or was: averaged place by
# place, they would blur the very object that we want to see better.

# %% [markdown]
# ## 2. How does a convolution look elsewhere?
#
# A 3x3 convolution reads nine fixed neighbours p_n. A *deformable* one moves each of them by an
# offset dp_n of its own, and reads between cells where that falls between cells (Eq. 2):
#
# F'(p0) = Σ_n w(p_n) · F(p0 + p_n + dp_n)
#
# First with loops, as it stands:

# %%
def between(F: torch.Tensor, y: float, x: float) -> torch.Tensor:
    """A map (C, H, W) read between its cells: the four around, by nearness, 0 outside."""
    total = torch.zeros(len(F))
    for row in (int(y // 1), int(y // 1) + 1):
        for column in (int(x // 1), int(x // 1) + 1):
            if 0 <= row < F.shape[1] and 0 <= column < F.shape[2]:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * F[:, row, column]
    return total


def by_hand(F: torch.Tensor, offsets: torch.Tensor, w: torch.Tensor, row: int, column: int):
    """Eq. 2 at one cell: F (C, H, W), offsets (18, H, W), w (O, C, 3, 3) -> (O,)."""
    dp = offsets[:, row, column].view(9, 2).tolist()
    return sum(w[:, :, n // 3, n % 3] @ between(F, row + n // 3 - 1 + dy, column + n % 3 - 1 + dx)
               for n, (dy, dx) in enumerate(dp))

# %%
g = torch.Generator().manual_seed(0)
F, w = torch.randn(4, 6, 7, generator=g), torch.randn(5, 4, 3, 3, generator=g)
offsets = 2 * torch.randn(18, 6, 7, generator=g)
loops = torch.stack([by_hand(F, offsets, w, r, c) for r in range(6) for c in range(7)], 1)
ours = deform_conv(F[None], offsets[None], w)[0].flatten(1)            # (5, 42)
theirs = deform_conv2d(F[None], offsets[None], w, padding=1)[0].flatten(1)
assert torch.allclose(loops, ours, atol=1e-4) and torch.allclose(ours, theirs, atol=1e-4)
print("four loops, mstlib and torchvision give the same numbers")

# %% [markdown]
# **What we see.** Nothing in it is magic: a convolution whose neighbours may be anywhere. `mstlib`
# gathers all corners in one operation; torchvision's form has the same values and is slower on a CPU.
#
# ## 3. Who says where to look?
#
# The offsets Θ come out of plain convolutions over both frames at once (Eq. 1): only who sees the
# reference *and* the support can know how far something moved. Two deformable layers then read the
# support, so one cell looks where the second sends it and from there where the first does: their
# displacements add up, and the sum is what the detector takes for motion.

# %% tags=["cover"]
window = maps[[t, s]][None]                                            # (1, 2, C, h, w), reference first
with torch.no_grad():
    h = dalign.joint(window)                                           # both frames at once
    first, second = dalign.sampling(h)                                 # Θ, (2, 18, h, w) each
    looks = chain(displacement(first), displacement(second))[1]        # (h, w, 2) cells, (x, y)
    aligned, trace = dalign(window)                                    # the package's own way
assert torch.allclose(looks, trace["displacement"][0, 1])
print(f"moved {moved:.2f} cells, DAlign's error {(looks - motion).norm(dim=-1)[mine].mean():.2f}")
figure, axes = show.grid(1, 2, panel=3.6)
for axis, field, title in zip(axes, (motion, looks), ("true motion", "DAlign's offsets"), strict=True):
    show.show_image(axis, clip.frame(s))
    show.arrows(axis, centres.flatten(0, 1), (centres + stride * field).flatten(0, 1))
    axis.set_title(f"{title}, over support frame {s}", fontsize=8)
show.figure_output(figure, "Two fields of arrows over the support frame. True motion: long and "
                   "parallel on the runner. DAlign: the same there, and around it all point at it.", photo=True)

# %% [markdown]
# **What we see.** Where the runner was, the arrows are right: the detector saw two feature maps and
# found the motion. Around it, ground that did not move looks at the runner as well. In training DAlign
# was told how boxes of one track move, and nothing about the ground (a loss of ours that the paper does
# not have; without it the offsets stay at zero here, [DEVIATIONS.md](../DEVIATIONS.md) 8).
#
# One pair proves nothing. Over the whole split, from the run records where there are any: the error
# of the offsets in cells beside that of *zero offsets*, which is the motion itself.

# %%
rows, source = measured(ROOT / results / "runs", profile, variant, "alignment",
                        lambda: alignment_error(model, clips))
print(source)
show.table_output(pandas.DataFrame(
    {"cells": name, "error of DAlign": row["error"], "of zero offsets": row["zero_offsets"],
     "% of squared motion explained": 100 * row["explained"]} for name, row in rows.items()), digits=2)

# %% [markdown]
# **What we see.** Offsets explain most of the motion up to about three cells and fall behind beyond:
# they are bounded to ±4 cells a layer, for free ones run off the map
# ([DEVIATIONS.md](../DEVIATIONS.md) 7).
#
# ## 4. Which places does one cell read?
#
# Nine places of the second layer, nine of the first for each: 81 in all. Here for the cell in the
# middle of the runner, in the support frames around.

# %%
box = of_track(clip.target(t), track).boxes[0]
cell = show.cell_at(*((box[:2] + box[2:]) / 2).tolist(), owner.shape, stride)
supports = [f for f in (t - gap, t - gap // 2, t + gap // 2, t + gap) if 0 <= f < len(clip)]
with torch.no_grad():
    offsets = dalign(maps[[t, *supports]][None])[1]["offsets"]         # (1 + n, 18 g, h, w)


def look_there(axis, cell: tuple[int, int], theta: torch.Tensor) -> None:
    """Dots where one cell (row, column) reads, for both layers' offsets theta (18, h, w)."""
    places = sampling_points(theta, theta, cell)                       # (81, 2) cells
    show.dots(axis, (places + 0.5) * stride)

# %%
figure, axes = show.grid(1, 1 + len(supports), panel=1.9)
for k, (axis, frame) in enumerate(zip(axes, [t, *supports], strict=True)):
    show.show_image(axis, clip.frame(frame))
    look_there(axis, cell, offsets[k, :18]) if k else show.mark_cell(axis, cell, stride)
    axis.set_title(f"frame {frame}: " + ("support" if k else "reference"), fontsize=8)
show.figure_output(figure, "The reference with one cell outlined, and support frames with 81 dots each, "
                   "which follow the runner as it moves.", photo=True)

# %% [markdown]
# **What we see.** The cloud of dots leaves the outlined place and goes after the object. It keeps
# about the size of the 5x5 neighbourhood that two plain 3x3 layers would read.
#
# ## 5. Are the features closer after it?
#
# Three maps of how much a frame's features differ from the reference's: as they are; read where the
# offsets point and nothing else done; and DAlign's output F'_τ, in which learned kernels have made
# something of what was read.

# %%
far, _ = feature_differences(dalign, maps[t], maps[s])                 # each (h, w)
figure, axes = show.grid(1, 3, panel=2.6)
for axis, (name, values) in zip(axes, far.items(), strict=True):
    show.heat_map(axis, clip.frame(t), values, "|F_t - F| / |F_t|", top=float(far["before"].max()))
    axis.set_title(f"{name}: {values[mine].mean():.2f} on the runner", fontsize=8)
show.figure_output(figure, "Three heat maps of feature differences: read where the offsets point, "
                   "the runner fades and the ground around it stands out; DAlign's output is as before.", photo=True)

# %% [markdown]
# **What we see.** Read where the offsets point, the runner's features differ less from the
# reference's; some difference stays, for the body has turned as well, and the ground around it, which
# now reads the runner, differs more. DAlign's output hardly uses any of it. Here it *adds* what it read
# to F_τ through a layer that starts at zero and learns slowly, because as printed, in F_τ's place, it
# does harm at this scale ([DEVIATIONS.md](../DEVIATIONS.md) 6). Keep that in mind for section 6.
#
# Now yourself: choose a clip, a reference and a support, and **click on the reference** (or use the
# sliders). Then the support with the places read (the arrow is their mean), and the three maps. (It
# lives in JupyterLab; the strips above say the same.)

# %%
def look(clip: int, reference: int, support: int, row: int, column: int):
    """What a cell of the reference reads in the support, and what alignment does to the features."""
    if clip not in kept:
        kept[clip] = clip_maps(model, clips[clip])
    three, how = feature_differences(dalign, *kept[clip][[reference, support]])
    moved = how["displacement"][0, 1, row, column]
    figure, axes = show.grid(1, 5, panel=1.9)
    panels(axes, clips[clip], reference, support, three)
    show.mark_cell(axes[0], (row, column), stride)
    look_there(axes[1], (row, column), how["offsets"][1, :18])
    show.arrows(axes[1], centres[row, column][None], (centres[row, column] + stride * moved)[None], "white")
    said = ", ".join(f"{name} {values[row, column]:.2f}" for name, values in three.items())
    return figure, (f"Row {row}, column {column} looks {moved[0]:+.1f} cells to the right and {moved[1]:+.1f} "
                    f"down. Difference of features there: {said}.")

# %%
def panels(axes, clip, reference: int, support: int, three: dict[str, torch.Tensor]) -> None:
    """The two frames, and three maps on one scale."""
    show.show_image(axes[0], clip.frame(reference))
    show.show_image(axes[1], clip.frame(support))
    top = float(three["before"].max())
    for axis, values in zip(axes[2:], three.values(), strict=True):
        show.heat_map(axis, clip.frame(reference), values, top=top)
    titles = [f"reference: frame {reference}", f"support: frame {support}", *three]
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=7)

# %%
kept, last, (h, w) = {number: maps}, len(clip) - 1, owner.shape        # maps of clips looked at
show.live(look, lambda axis, x, y: dict(zip(("row", "column"), show.cell_at(x, y, (h, w), stride),
                                            strict=True)),
          clip=Dropdown(options=[(clips[c].name, c) for c in range(len(clips))], value=number),
          reference=IntSlider(t, 0, last), support=IntSlider(s, 0, last),
          row=IntSlider(cell[0], 0, h - 1), column=IntSlider(cell[1], 0, w - 1))

# %% [markdown]
# ## 6. What is alignment worth?
#
# In the paper it brings half a point (Table III: (d) over (b), (e) over (c)). Ours, each line a
# difference in mAP with its 95 % interval over videos and seeds: first with the frame level as Eq. 5
# has it, then with one that knows *places*, a control of ours.

# %%
runs = read_runs(ROOT / results / "runs", profile)
wanted = ("d > b", "b-place > b", "d-place > b-place", "d-place > d-place-free")
controls = [row for row in control_rows(runs) if row["claim"] in wanted]
show.table_output(pandas.DataFrame(controls)[
    ["claim", "what", "our difference", "95 % low", "95 % high", "seeds", "verdict"]], digits=2)

# %% [markdown]
# **What we see.** With the paper's frame level alignment is worth nothing here, though it finds the
# motion: Eq. 5 lets every cell ask every cell, *wherever it lies*, so that it does not matter where
# DAlign has moved something to ([notebook 04](04_frame_level.ipynb) shows it). Once near cells count
# more, alignment pays (in these controls its output takes F_τ's place, as printed), and it is the
# offsets that do it: untaught, with offsets that stay at zero, the gain is gone.

# %% [markdown]
# ## Exercises
#
# 1. ★☆☆, 3 minutes. Set `gap` to 2 and to 8. Predict what happens to the error of section 3, then
#    compare with the rows of its table.
# 2. ★★☆, 10 minutes. Where is DAlign's error largest in this pair: on the runner, on other objects, or on
#    the ground? Predict; the cell below splits the same field.
# 3. ★★★, 20 minutes. FGFA uses optical flow (FlowNetS) where MST uses DAlign, with 20 times the
#    parameters at the paper's scale (Table IV). Is its motion better? The cell below compares the two
#    on the runner's pair of frames; extend it to more.
#
# Write what you predict into `guess` and run the cell: it says whether that holds, and keeps the answer folded.
#
# <details><summary>Hints</summary>
# 1: offsets are bounded, and far motion was rarer in training. 2: only boxes of tracked objects were
# taught. 3: `trained(profile, "fgfa").dalign` has the same trace; its maps carry their images.
# </details>

# %%
guess = {2: None, 3: None}  # your predictions: 2 "runner", "other objects" or "ground", 3 "DAlign" or "flow"
parts = {"runner": mine, "other objects": (owner >= 0) & ~mine, "ground": owner < 0}
far = {name: motion[part].norm(dim=-1).mean() for name, part in parts.items() if part.any()}
off = {name: float((looks - motion)[parts[name]].norm(dim=-1).mean()) for name in far}
check(2, guess[2], max(off, key=off.get), [
    f"{name}: moved {far[name]:.2f} cells, error of DAlign {off[name]:.2f}" for name in off])
rival = trained(profile, "fgfa")
with torch.no_grad():
    flow = rival.dalign(clip_maps(rival, clip)[[t, s]][None])[1]["displacement"][0, 1]
errors = {name: float((there - motion)[mine].norm(dim=-1).mean()) for name, there in (("DAlign", looks), ("flow", flow))}
sizes = [sum(p.numel() for p in m.dalign.parameters()) for m in (model, rival)]
check(3, guess[3], min(errors, key=errors.get), ", ".join(
    f"{name}: error {error:.2f}, {size:,} parameters" for (name, error), size in zip(errors.items(), sizes, strict=True)))

# %% [markdown]
# ## Summary
#
# Averaging place by place blurs what moves. DAlign predicts from both frames where each cell of the
# reference has gone, and reads the support there. It finds most of the motion of objects; what that is
# worth depends on whether the next level cares for places.
#
# | here | in mstlib |
# |---|---|
# | Eq. 2 with loops | `model.deform.deform_conv` |
# | Θ, the offsets of both layers | `model.dalign.DAlign` |
# | where a cell looks, the 81 places | `model.deform.chain`, `model.deform.sampling_points` |
# | error against true motion, differences before and after | `evaluation.alignment.alignment_error`, `evaluation.alignment.feature_differences` |
# | arrows, dots, heat maps, the live picture | `show.arrows`, `show.dots`, `show.heat_map`, `show.live` |
# | numbers from the run records | `report.lookup.measured`, `report.controls.control_rows` |
