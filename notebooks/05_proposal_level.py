# %% [markdown]
# # Proposal level: which boxes speak?
#
# **Paper** Sec. III-C, Fig. 4 · **Equations** 7-11 · **CPU** under a minute ·
# **Needs** nothing beyond the repository ·
# **Module** [mstlib/model/attention.py](../mstlib/model/attention.py),
# [mstlib/model/proposal.py](../mstlib/model/proposal.py) · **Previous**
# [04](04_frame_level.ipynb), the frame level · **Next** [06](06_instance_level.ipynb), the instance level

# %% [markdown]
# **After this notebook you can**
#
# - say who asks and who is asked, and how many they are;
# - compute the weight of one pair of boxes by hand, from appearance and from size;
# - point at the boxes that a proposal of a hard frame listens to;
# - tell how much of its attention reaches the same object, and what the box sizes add to that;
# - show that it is the *other* frames that help, not the extra layers.
#
# The frame level compared cells, this level compares boxes. What the detector knows of a box is one
# feature vector a, pooled from the map (RoIAlign and a fully connected layer).
#
# ```text
#   reference: N proposals                        all frames of the window: their best, M proposals
#
#   a_i, box_i ──┬─ <W_q a_i, W_k a_j> / sqrt(d_k) ──┬── a_j, box_j      appearance   (Eq. 8)
#                ├─ log max(W_g e_ij, 1e-6) ─────────┤                   geometry     (Eq. 9)
#                │        softmax over j of the sum: s_ij                              (Eq. 7)
#                ▼
#   a'_i = a_i + sum_j s_ij W_p a_j        twice: two layers, the supports stay        (Eq. 10, 11)
# ```

# %% tags=["parameters"]
profile: str = "mini"      # scale: mini, the benchmark, or tiny, seconds for a test
variant: str = "g"         # whose proposal level: c, e, f or g of Table III
split: str = "test"        # clips to look at: nothing was tuned on test
every: int = 2             # sections 4 and 5 look at every second clip
results: str = "results"   # folder of the run records, in the repository

# %%
import functools
from math import cos, log, sin

import pandas
import torch
from ipywidgets import Dropdown, IntSlider, ToggleButtons

from mstlib import show
from mstlib.data.minivid.benchmark import CLASSES
from mstlib.evaluation.listening import (
    KINDS,
    best_proposal,
    mass_by_kind,
    shown_ids,
    support_ids,
    support_kinds,
)
from mstlib.evaluation.story import object_scores, of_track
from mstlib.exercise import check
from mstlib.model.attention import FLOOR, heads
from mstlib.model.whatif import class_scores
from mstlib.profiles import get_config
from mstlib.report.batch import ROOT
from mstlib.report.cells import by_name
from mstlib.report.lookup import hard_frame
from mstlib.report.records import read_runs
from mstlib.report.verdicts import claim_rows
from mstlib.stream import trace_frame
from mstlib.training.experiment import clips_of, trained

config = get_config(profile)
clips = clips_of(config, split)
model = trained(profile, variant)

# %% [markdown]
# ## 1. Who asks, and who is asked?
#
# The reference is the frame of the traveller with the widest gap between variant (a), which sees one
# frame, and the whole method (g). The region proposal network (RPN) has proposed boxes in every frame
# of its window. We draw them; the colour, only for us, is the object that a box shows (IoU ≥ 0.5), and
# a dotted one shows none.

# %%
number, t, track, alone, whole = hard_frame(profile, clips, config.test)
clip = clips[number]
print(f"{clip.name}, frame {t}: score {alone:.2f} without supports, {whole:.2f} with them")


@functools.cache
def traced(clip: int, t: int):
    """Detections and trace of a reference, and frames and targets of its window, reference first."""
    found, trace, frames = trace_frame(model, clips[clip], t, config.test)
    return found, trace, frames, [clips[clip].target(f) for f in frames]

# %%
def draw(axis, clip, f: int, boxes: torch.Tensor, ids: torch.Tensor, texts: list[str]) -> None:
    """Boxes (n, 4) on frame f, coloured by the track id that they show; dotted for none."""
    show.show_image(axis, clip.frame(f))
    for style, part in (("nothing there", ids < 0), ("found", ids >= 0)):
        some = [text for text, on in zip(texts, part.tolist(), strict=True) if on]
        show.draw_tagged(axis, boxes[part], some, show.track_colours(ids[part]), style)
    show.untangle(axis)


found, trace, frames, targets = traced(number, t)
owners = support_ids(trace, targets)                                   # (M,) track id or -1
N, M, L = len(trace.proposals[0]), len(trace.supports), len(frames)

# %%
figure, axes = show.even_grid(L)
for axis, f in zip(axes, sorted(frames), strict=True):
    here = trace.support_frame == frames.index(f)
    draw(axis, clip, f, trace.supports[here], owners[here], [""] * int(here.sum()))
    axis.set_title(f"frame {f}: {'reference' if f == t else 'support'}", fontsize=8)
about = int((owners == track).sum())
print(f"N = {N} reference proposals ask M = {M} support proposals of {L} frames; {about} of these show the traveller")
show.figure_output(figure, f"The {L} frames of the window with their proposals; of {M} boxes {about} show the "
                   f"traveller, {int((owners < 0).sum())} show nothing.", photo=True)

# %% [markdown]
# **What we see.** Far fewer are asked than in the frame level: boxes instead of cells, and most of them
# on objects. An object has several, slightly shifted. The reference's own best proposals are supports
# as well, so that a proposal can also listen to itself.
#
# ## 2. What is the weight of a pair?
#
# Two questions: do the two *look* alike (Eq. 8), and are they of a fitting *size* (Eq. 9)? For the
# second, three logarithms of ratios are embedded as sines and cosines of eight wavelengths, 48 numbers;
# a linear layer makes a weight of them for every head. Both, for one pair:

# %%
def appearance(layer, a_i: torch.Tensor, a_j: torch.Tensor) -> torch.Tensor:
    """Eq. 8 of one pair of features (d,): a logit for every head, (G,)."""
    q, k = (x.view(layer.G, -1) for x in (layer.query(a_i), layer.key(a_j)))
    return (q * k).sum(1) / q.shape[1] ** 0.5


def geometry(layer, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """Eq. 9 of one pair of boxes (4,): a logit for every head, (G,)."""
    (w_i, h_i), (w_j, h_j) = ((b[2:] - b[:2]).tolist() for b in (one, two))
    terms = log(w_i / w_j), log(h_i / h_j), log(w_i / h_i) - log(w_j / h_j)
    angles = [100 * term / 1000 ** (k / 8) for term in terms for k in range(8)]
    e = torch.tensor([sin(x) for x in angles] + [cos(x) for x in angles])  # (48,)
    return (layer.geometry.weight.weight @ e + layer.geometry.weight.bias).clamp(min=FLOOR).log()

# %%
layer, b = model.proposal.layers[0], trace.proposals[0]                # boxes of the reference (N, 4)
a, s, boxes = trace.features["RoI"], trace.support_features, trace.supports  # (N, d), (M, d), (M, 4)
mine = best_proposal(trace, targets[0], track)
with torch.no_grad():
    app = torch.stack([appearance(layer, a[mine], s[j]) for j in range(M)], 1)  # (G, M)
    geo = torch.stack([geometry(layer, b[mine], boxes[j]) for j in range(M)], 1)
    S = (app + geo).softmax(1)                                         # Eq. 7, in each head
    W_a = heads(layer.value(s), layer.G)                               # W_p a_j, (G, M, d/G)
    heard = torch.cat([sum(S[g, j] * W_a[g, j] for j in range(M)) for g in range(layer.G)])
    one = layer(a, b, s, boxes)                                        # Eq. 10 of all N at once
    two = model.proposal.layers[1](one, b, s, boxes)                   # Eq. 11: asks the same supports
assert torch.allclose(S, trace.relation[0]["weights"][:, mine], atol=1e-4)
assert torch.allclose(a[mine] + heard, one[mine], atol=1e-3)
assert torch.allclose(two, trace.features["proposal"], atol=1e-3)

# %% [markdown]
# **What we see.** The second layer asks the same supports again, now as somebody who has already heard
# them. As in the frame level *where* a box is does not enter: Eq. 9 knows widths and heights alone,
# because objects move.
#
# ## 3. Whom does the traveller's proposal listen to?
#
# Its eight strongest supports, mean weight over heads. First on the frames, then as a list: which head
# hears a support best, and both parts of its logit in that head.

# %%
def weights_of(trace, layer: int, part: str) -> torch.Tensor:
    """Weights (N, M) of a layer, 0 or 1, mean over heads; as they are, or of one part of Eq. 7 alone."""
    how = trace.relation[layer]
    return (how["weights"] if part == "both" else how[part].softmax(-1)).mean(0)


def listened(axes, clip, window, weights: torch.Tensor, most: int = 8) -> None:
    """On the frames of a window the supports with the highest weights (M,), in percent."""
    found, trace, frames, targets = window
    top, owners = weights.argsort(descending=True)[:most], support_ids(trace, targets)
    for axis, f in zip(axes, sorted(frames), strict=True):
        here = trace.support_frame == frames.index(f)
        some = torch.tensor([j for j in top.tolist() if here[j]], dtype=torch.long)
        draw(axis, clip, f, trace.supports[some], owners[some], [f"{100 * w:.0f} %" for w in weights[some]])
        axis.set_title(f"frame {f}: {100 * weights[here].sum():.0f} %", fontsize=8)

# %% tags=["cover"]
weights = weights_of(trace, 0, "both")[mine]                           # s_ij, (M,)
kinds = support_kinds(trace, targets, track)
figure, axes = show.even_grid(L)
listened(axes, clip, traced(number, t), weights)
mass = ", ".join(f"{name} {100 * share:.0f} %" for name, share in mass_by_kind(weights, kinds).items())
show.figure_output(figure, f"The window with the eight support boxes of highest weight. All weight of the "
                   f"traveller's proposal by what the supports show: {mass}.", photo=True)
rows = []
for j in weights.argsort(descending=True)[:8].tolist():
    g = int(S[:, j].argmax())
    rows.append({"frame": frames[int(trace.support_frame[j])], "shows": KINDS[int(kinds[j])],
                 "weight, mean of heads": float(weights[j]), "best head": g + 1, "weight there": float(S[g, j]),
                 "appearance logit": float(app[g, j]), "geometry logit": float(geo[g, j])})
show.table_output(pandas.DataFrame(rows), digits=2)
print(f"of {M} supports geometry silences, head by head:", (geo < log(FLOOR) + 1).sum(1).tolist())

# %% [markdown]
# **What we see.** The proposal of a nearly hidden object asks two frames back, where it is hidden too,
# and then the frames in which the cross on its front can be read. A good part goes to the other object,
# and hardly anything to boxes that show nothing. Each head has favourites of its own. Appearance ranks
# the supports; geometry is rather a gate, for where the maximum in Eq. 9 cuts off (at log 1e-6, -13.8)
# that head hardly hears a box of that size. Some heads shut out most sizes, others none.
#
# Choose yourself: **click on a proposal in the first picture**, which shows the reference's (or use the
# slider, in the order of objectness), and look at both layers and both parts. (It lives in JupyterLab;
# the strip above says the same.)

# %%
def look(clip: int, reference: int, proposal: int, layer: int, part: str):
    """Whom one proposal of a reference listens to."""
    window = found, trace, frames, targets = traced(clip, reference)
    i = min(proposal, len(trace.proposals[0])) - 1
    weights, ids = weights_of(trace, layer - 1, part)[i], shown_ids(trace.proposals[0], targets[0])
    figure, axes = show.even_grid(1 + len(frames))
    texts = ["asks" if k == i else "" for k in range(len(ids))]
    draw(axes[0], clips[clip], reference, trace.proposals[0], ids, texts)
    axes[0].set_title(f"reference: frame {reference}", fontsize=8)
    listened(axes[1:], clips[clip], window, weights)
    mass = mass_by_kind(weights, support_kinds(trace, targets, int(ids[i])))
    if ids[i] < 0:                                                     # nothing is its own kind
        mass = {"boxes that show nothing either": mass["same object"], "objects": 1 - mass["same object"]}
    return figure, f"Proposal {i + 1} listens to: " + ", ".join(f"{k} {100 * v:.0f} %" for k, v in mass.items()) + "."

# %%
knobs = {"clip": Dropdown(options=[(c.name, k) for k, c in enumerate(clips)], value=number),
         "reference": IntSlider(t, 0, len(clip) - 1), "proposal": IntSlider(mine + 1, 1, N),
         "layer": IntSlider(1, 1, len(trace.relation)),
         "part": ToggleButtons(options=["both", "appearance", "geometry"])}


def click(axis: int, x: float, y: float) -> dict[str, int]:
    """The smallest proposal of the reference under a click on the first picture."""
    proposals = traced(knobs["clip"].value, knobs["reference"].value)[1].proposals[0]
    under = show.box_under(proposals, x, y) if axis == 0 else None
    return {} if under is None else {"proposal": under + 1}


show.live(look, click, **knobs)

# %% [markdown]
# ## 4. How much of it reaches the same object?
#
# One proposal proves nothing. In one frame of every second clip we take, of each object, the proposal
# that shows it best, and add up its weights by what the supports show: in the first layer, for each
# part of the weight alone, and for a listener who hears all supports alike.

# %%
def listening(c: int, t: int) -> list[dict]:
    """Of each object of a frame that a proposal shows: where its attention goes, and what the head says."""
    found, trace, frames, targets = traced(c, t)
    shown, rows = shown_ids(trace.proposals[0], targets[0]), []
    for k, i in enumerate(targets[0].ids.tolist()):
        p, kinds = best_proposal(trace, targets[0], i), support_kinds(trace, targets, i)
        parts = {part: weights_of(trace, 0, part)[p] for part in ("both", "appearance", "geometry")}
        parts["heard alike"] = torch.full((len(kinds),), 1 / len(kinds))
        parts["last layer"] = weights_of(trace, -1, "both")[p]
        said = {stop: float(class_scores(model, trace.features[stop])[p, targets[0].labels[k]])
                for stop in ("RoI", "proposal")}
        if shown[p] == i:
            rows.append({"object": "deteriorated" if targets[0].flags[k].any() else "clean"} | said | {
                (part, kind): 100 * m for part, w in parts.items() for kind, m in mass_by_kind(w, kinds).items()})
    return rows

# %%
references = [(c, 5 * c % len(clips[c])) for c in range(0, len(clips), every)]
rows = [row for place in references for row in listening(*place)]
many, harmed = pandas.DataFrame(rows), sum(row["object"] != "clean" for row in rows)
print(f"{len(many)} proposals of {len(references)} windows, {harmed} on deteriorated objects")
if len(many):
    show.table_output(pandas.DataFrame([{"what the support shows": kind} | {
        f"% by {part}" if part != "heard alike" else "% heard alike": many[part, kind].mean()
        for part in ("both", "appearance", "geometry", "heard alike")} for kind in KINDS]))

# %% [markdown]
# **What we see.** Four fifths of the attention reach the same object, where blind listening would give
# a half, and background is nearly ruled out, although this level was never told what belongs together.
# Most of it is the work of appearance; sizes alone tell little, but add to it. About a sixth still goes
# to other objects: that is what the instance level is for.
#
# ## 5. What does it change?
#
# The detector's head reads features. We let it read them before the level and after it, as if the
# detector stopped there: for the traveller's proposal, and for those of section 4 on average.

# %%
label = int(of_track(targets[0], track).labels)
stops = {"before": "RoI", "after the proposal level": "proposal"}
said = {name: class_scores(model, trace.features[stop])[mine] for name, stop in stops.items()}
show.table_output(pandas.DataFrame([{"what the head says": name + (" (right)" if k == label else "")} | {
    stop: float(p[k]) for stop, p in said.items()} for k, name in enumerate(["background", *CLASSES])]), digits=2)
if len(many):
    table = many.groupby("object")[["RoI", "proposal"]].mean().reset_index()
    show.table_output(table.rename(columns={v: f"right class, {k}" for k, v in stops.items()}), digits=2)

# %% [markdown]
# **What we see.** Before, the head has a faint idea; after, it has seen the cross elsewhere and says so.
# On average clean objects gain about as much probability as deteriorated ones, but these start far lower.
#
# Is that the supports, or would two more layers do the same for a single frame? A control: the window
# holds nothing but copies of the reference. All levels stay on, there is just nothing new to hear.

# %%
single, size = trained(profile, "a"), config.test.window


@torch.no_grad()
def answers(c: int, t: int) -> list[dict]:
    """For each object of a frame the score of its best right detection: alone, among copies, in its window."""
    image, target = clips[c].frame(t), clips[c].target(t)
    found = {"(a), no level": single(image[None, None])[0][0],
             f"({variant}), {size} copies": model(image.expand(1, size, -1, -1, -1))[0][0],
             f"({variant}), its window": traced(c, t)[0]}
    scores = {name: object_scores(f, target).tolist() for name, f in found.items()}
    return [{"object": "deteriorated" if flags.any() else "clean"} | {name: of[k] for name, of in scores.items()}
            for k, flags in enumerate(target.flags)]

# %%
with torch.no_grad():
    copies = layer(a, b, s.repeat(size, 1), boxes.repeat(size, 1))     # every support `size` times
assert torch.allclose(copies, one, atol=1e-3)        # ... is heard as often as once
table = pandas.DataFrame([row for place in references for row in answers(*place)])
print("score of the best right detection, mean over objects")
show.table_output(table.groupby("object").mean().reset_index(), digits=2)

# %%
records = read_runs(ROOT / results / "runs", profile)
wanted = ("c > a", "c > b", "f > d", "e > c")
claims = [row for row in claim_rows(by_name(records), ROOT / results / "bench", ("III",))
          if row["claim"].endswith(wanted)]
columns = ["claim", "frames", "paper difference", "our difference", "95 % low", "95 % high", "seeds", "verdict"]
show.table_output(pandas.DataFrame(claims)[columns], digits=2)

# %% [markdown]
# **What we see.** Copies bring next to nothing over (a), the real window does. And why should they: a
# weighted mean over copies is the mean over one of each (the `assert`). What helps is what the other
# frames show. The second table is from the run records, in points of mAP, the paper's differences on
# its own data: of the paper's parts this one brings most, in the paper and here, and more where frames are
# deteriorated. Only DAlign under it adds nothing that our runs could show.

# %% [markdown]
# ## Exercises
#
# 1. ★☆☆, 3 minutes. Does the last layer listen more to the same object than the first, or less?
#    Predict, try it in the picture above, then write it down.
# 2. ★★☆, 10 minutes. Which sizes pass the gate? Predict how many heads hear a support twice as large as who
#    asks; the answer counts them for half as large and as large, too.
# 3. ★★★, 20 minutes. Leave geometry out of both layers, at test. What score is left for the traveller's
#    right class? Extend the cell to the proposals of section 4.
#
# Write what you predict into `guess` and run the cell: it says whether that holds, and keeps the answer folded.
#
# <details><summary>Hints</summary>
# 1: the second layer asks with features that are already a mixture. 2: a box of quite another size is a
# bad proposal, or another object; but heads may share the work. 3: `layer.weighted` takes any logits; mind that the layers were
# trained with geometry.
# </details>

# %%
guess = {1: None, 2: None, 3: None}          # your predictions: 1 "more" or "less", 2 heads, 3 a score, 0 to 1
first, last = (many[of, "same object"].mean() if len(many) else float("nan") for of in ("both", "last layer"))
check(1, guess[1], None if first != first else "more" if last > first else "less",
      f"{first:.0f} % of the attention goes to the same object in the first layer, {last:.0f} % in the last")
box, x, scales = torch.tensor([[0.0, 0, 20, 20]]), a, (0.5, 1.0, 2.0)
with torch.no_grad():
    gates = [layer.geometry(box, scale * box)[:, 0, 0] for scale in scales]                     # (G,) each
    for each in model.proposal.layers:
        x = each.weighted(x, each.supports(s, boxes).v, each.logits(x, b, s, boxes)[0])
heads = [int((gate > log(FLOOR) + 1).sum()) for gate in gates]
check(2, guess[2], heads[2], [f"{scale:g} times as large: {number} of {layer.G} heads hear it"
                              for scale, number in zip(scales, heads, strict=True)], within=1)
score = float(class_scores(model, x)[mine, label])
check(3, guess[3], score, f"the right class without geometry: {score:.2f}", within=0.05)

# %% [markdown]
# ## Summary
#
# A proposal of the reference takes over what proposals of all frames show that look like it and have a
# fitting size. Most of what it hears is of its own object, and the head can tell. Without other frames
# there is nothing to take over.
#
# | here | in mstlib |
# |---|---|
# | Eq. 7-10 for one pair, for all | `model.attention.Relation`, `model.attention.Geometry` |
# | two layers, unchanged supports | `model.proposal.ProposalLevel` |
# | whose object a box shows, attention by kind | `evaluation.listening.support_ids`, `evaluation.listening.mass_by_kind` |
# | boxes with their weights | `show.draw_tagged`, `show.even_grid`, `show.live` |
# | what the head says before and after | `model.whatif.class_scores` |
# | claims of the paper | `report.verdicts.claim_rows` |
