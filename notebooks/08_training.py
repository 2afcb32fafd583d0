# %% [markdown]
# # Training: how do the levels learn what they do?
#
# **Paper** Sec. IV-C · **Equations** none of its own · **CPU** under a minute ·
# **Needs** nothing beyond the repository ·
# **Module** [mstlib/training/train.py](../mstlib/training/train.py),
# [mstlib/model/losses.py](../mstlib/model/losses.py) · **Previous**
# [07](07_all_levels.ipynb), all levels together · **Next** [09](09_tables.ipynb), the tables

# %% [markdown]
# **After this notebook you can**
#
# - draw a training window by lot: a reference, its supports, one flip for all of them;
# - name the six losses, and write the two that use track ids by hand;
# - train a detector with all levels in seconds, twice, to the same last bit;
# - read a training curve, and say what it does not tell;
# - say what all trainings of this repository cost.
#
# ```text
#   clips ─► lot(seed, step): clip, reference t, two supports within ±span, one flip
#              │
#              ▼
#   windows ─► conv1-4 (frozen here) ─► the method ─► RPN: class, box · head: class, box
#                                          │           DAlign: motion · instance level: identity
#                                          ▼
#   one number ◄─ weighted sum;  a step along its gradient, clipped;  save now and then
# ```

# %% tags=["parameters"]
profile: str = "mini"      # whose run records and logs are read: mini or tiny
live: str = "tiny"         # scale of the training that runs here, live
seed: int = 0              # of the live training: decides every lot and every weight
results: str = "results"   # folder of the run records, in the repository

# %%
import tempfile
from pathlib import Path

import pandas
import torch
from ipywidgets import Dropdown, IntSlider

from mstlib import show
from mstlib.data.minivid.benchmark import CLASSES
from mstlib.exercise import check
from mstlib.model.losses import losses_of, motion_loss
from mstlib.profiles import get_config
from mstlib.report.batch import ROOT
from mstlib.report.charts import seed_chart
from mstlib.report.curves import curve_chart, kept_logs, read_log
from mstlib.report.records import read_runs
from mstlib.report.stats import slice_map
from mstlib.training.batches import draw, image_window, step_seed
from mstlib.training.experiment import clips_of, run_pretraining, run_training, trained
from mstlib.training.state import load_state
from mstlib.training.update import learning_rate

config = get_config(live, "g")
clips = clips_of(config, "train")
recipe = config.train

# %% [markdown]
# ## 1. What does one step see?
#
# A batch of windows. Each is drawn from (seed, step) alone, so that any step can be repeated: a clip, a
# reference in it, and random supports within ±span frames, earlier or later. The paper takes two
# supports; at test time the window is longer.

# %%
g = torch.Generator().manual_seed(step_seed(seed, 0))
picks = draw(clips, recipe, recipe.supports, g)                        # (clip, frames, flipped) each
windows = [image_window(clips, pick) for pick in picks]
for (n, frames, flip), (images, *_) in zip(picks, windows, strict=True):
    assert all(abs(f - frames[0]) <= recipe.span for f in frames)
    assert torch.equal(images, torch.stack([clips[n].frame(f) for f in frames]).flip(-1) if flip
                       else torch.stack([clips[n].frame(f) for f in frames]))
print(f"{len(picks)} windows of {1 + recipe.supports} frames, supports within ±{recipe.span} frames")

# %%
figure, axes = show.grid(len(picks), 1 + recipe.supports, panel=1.9)
for row, ((_, frames, flip), (images, targets, _)) in enumerate(zip(picks, windows, strict=True)):
    for k, frame in enumerate(frames):
        axis = axes[row * len(frames) + k]
        show.draw_frame(axis, images[k], targets[k], classes=CLASSES)
        role = "support" if k else "reference"
        axis.set_title(f"{role}: frame {frame}" + (", flipped" if flip else ""), fontsize=8)
show.figure_output(figure, f"{len(picks)} rows, a window each: the reference and its supports, flipped together "
                   "or not at all, with ground truth.", photo=True)

# %% [markdown]
# **What we see.** One flip a window: a flip between two frames would be motion that never happened, and
# DAlign would have to learn it.
#
# ## 2. What is it taught?
#
# Faster R-CNN's four losses (class and box, of the RPN and of the head), and two that track ids allow,
# which the paper does not have: where DAlign should look (*motion*), and whom the instance level should
# listen to (*identity*). Here of a trained detector on the windows above; `offset` and `drift` are
# gauges, watched and not minimised.

# %%
model = trained(live, "g").train()
images = torch.stack([window[0] for window in windows])                # (B, L, 3, H, W)
targets = [window[1] for window in windows]
maps = model.c4(images.flatten(0, 1)).unflatten(0, images.shape[:2])   # (B, L, C, h, w)
torch.manual_seed(step_seed(seed, 0))                                  # the head's RoIs are drawn, too
losses = losses_of(model, maps, tuple(images.shape[-2:]), targets)
show.table_output(pandas.DataFrame({"loss": list(losses), "value": [float(v.detach()) for v in losses.values()],
    "weight": [{"motion": recipe.motion_loss, "identity": recipe.identity_loss, "offset": 0.0, "drift": 0.0}
               .get(name, 1.0) for name in losses]}), digits=3)

# %% [markdown]
# The motion loss by hand. For every cell inside an object's box: where does its point lie in the box of
# the same track in the other frame? That shift, in cells, is what the offsets should add up to; a
# smooth L1 takes the difference.

# %%
def smooth_l1(x: float) -> float:
    """0.5 x^2 near zero, |x| - 0.5 beyond 1."""
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5

# %%
def goals(now, then, size: tuple[int, int], stride: int):
    """((row, column), shift in cells) of every cell that lies in a box that both frames show."""
    for box, track in zip(now.boxes.tolist(), now.ids.tolist(), strict=True):
        for to in then.boxes[then.ids == track].tolist():
            for row, column in ((r, c) for r in range(size[0]) for c in range(size[1])):
                p = ((column + 0.5) * stride, (row + 0.5) * stride)
                if all(box[k] < p[k] < box[k + 2] for k in (0, 1)):
                    there = (to[k] + (p[k] - box[k]) * (to[k + 2] - to[k]) / (box[k + 2] - box[k]) for k in (0, 1))
                    yield (row, column), [(q - x) / stride for q, x in zip(there, p, strict=True)]

# %%
with torch.no_grad():
    d = model.dalign(maps)[1]["displacement"]                          # (B, L, h, w, 2)
parts = [smooth_l1(float(d[(b, f, *cell)][k]) - goal[k])
         for b, window in enumerate(targets) for f, other in enumerate(window)
         for cell, goal in goals(window[0], other, d.shape[2:4], model.backbone.stride) for k in (0, 1)]
package = motion_loss(d, targets, model.backbone.stride)
assert abs(sum(parts) / len(parts) - float(package)) < 1e-4 and abs(float(losses["motion"]) - float(package)) < 1e-4
print(f"motion loss over {len(parts) // 2} cells: the loops and the package agree")

# %% [markdown]
# **What we see.** Boxes and ids are all that is needed, which every video data set with tracks has. The
# identity loss is shorter still: minus the logarithm of the attention that lands on the same track,
# without touching the features, so that nothing leaks ([notebook 06](06_instance_level.ipynb)).
#
# ## 3. How fast does it learn, and can one step be trusted?
#
# First the detector on single frames (*pretraining*), then the variant from there, conv1-4 frozen
# ([DEVIATIONS.md](../DEVIATIONS.md) 3). At scale `tiny` both take seconds and teach next to nothing; what
# we can test is the machinery: run it twice.

# %%
work = tempfile.TemporaryDirectory()
folder = Path(work.name)
run_pretraining(config, seed, folder / "start.pt")


def train(name: str) -> dict[str, torch.Tensor]:
    """The weights of (g), trained from the pretrained detector."""
    run_training(config, seed, folder / "start.pt", folder / f"{name}.pt", folder / f"{name}.safetensors")
    return load_state(folder / f"{name}.pt")["model"]


one, two = train("one"), train("two")
same = all(torch.equal(one[name], two[name]) for name in one)
assert same
print(f"{recipe.steps} steps, twice: all {len(one)} tensors are the same, bit for bit")

# %%
rates = [learning_rate(step, recipe) for step in range(recipe.steps)]
by_hand = [recipe.lr * min(1, (step + 1) / recipe.warmup)
           * 0.1 ** sum(step >= share * recipe.steps for share in recipe.decay_at) for step in range(recipe.steps)]
assert rates == by_hand
log = read_log(folder / "one.csv")
fell = {name: (values[0], values[-1]) for name, (_, values) in log.items() if name in losses}
show.table_output(pandas.DataFrame({"loss": list(fell), "first": [a for a, _ in fell.values()],
                                    "last": [b for _, b in fell.values()]}), digits=3)
work.cleanup()

# %% [markdown]
# **What we see.** The same seed gives the same weights; a run that is stopped goes on from its last save
# to the same ones, too (tests/test_train.py stops some). A difference between two runs of this repository is therefore
# a difference between their settings or their seeds, never chance that nobody can repeat.
#
# ## 4. How did the real ones go?
#
# The logs of one seed of each variant, as they were written. First the class loss of the head, smoothed:

# %% tags=["cover"]
logs = kept_logs(ROOT / results / "logs", profile) or {"(g), live": log}
named = {name: curves for name, curves in logs.items() if name.split("-")[0] in ("a", "c", "g")}
chosen = {name: curves["class"] for name, curves in (named or logs).items() if "class" in curves}
told = ", ".join(f"{name} ends at {values[-1]:.2f}" for name, (_, values) in chosen.items())
print(told)
show.figure_output(curve_chart(chosen, "class loss of the head, smoothed", 7),
                   f"Class loss over the steps of training, a line for each training: {told}.")

# %% [markdown]
# **What we see.** Where supports help, the class loss ends lower: what the reference does not show, they
# do. But a training loss is no test. Every seed's mAP on test, from the run records:

# %%
table_three = [r for r in read_runs(ROOT / results / "runs", profile) if r["variant"] in "abcdefg" and not r["tag"]]
if table_three:
    numbers = [slice_map(r, "all") for r in table_three]
    show.figure_output(seed_chart(table_three), f"A row of dots for each variant, mAP of every seed: {len(numbers)} "
                       f"runs between {min(numbers):.1f} and {max(numbers):.1f}.")
else:
    print("no run records of this profile")

# %% [markdown]
# **What we see.** Three clouds: (a) alone, the frame level without the proposal level, and everything that
# has the proposal level. Within a cloud the dots of different variants mix: steps of half a point, which
# the paper reports from one run each, are within the noise of a seed here. That is what several seeds are
# for ([notebook 09](09_tables.ipynb)).
#
# Now choose a loss, two trainings and how much to smooth. (It lives in JupyterLab; the chart above shows
# one choice.)

# %%
def look(loss: str, one: str, other: str, smoothing: int):
    """One loss of two trainings."""
    curves = {name: logs[name][loss] for name in dict.fromkeys((one, other)) if loss in logs[name]}
    ends = ", ".join(f"{name} from {v[0]:.3f} to {v[-1]:.3f}" for name, (_, v) in curves.items())
    return curve_chart(curves, loss, smoothing), f"{loss}: {ends or 'neither has this loss'}."


names, all_losses = list(logs), list(dict.fromkeys(name for curves in logs.values() for name in curves))
show.live(look, loss=Dropdown(options=all_losses, value="class"), one=Dropdown(options=names, value=names[0]),
          other=Dropdown(options=names, value=names[-1]), smoothing=IntSlider(7, 1, 25, 2))

# %% [markdown]
# ## 5. What did it cost?
#
# Seconds of training and of evaluation on the test split, one thread, mean over the seeds of each
# variant, measured while other jobs ran: they are upper bounds.

# %%
rows = {}
for r in table_three:
    rows.setdefault(r["variant"], []).append((r["seconds"].get("train", 0.0), r["seconds"].get("evaluate", 0.0)))
means = [(v, *(sum(x) / len(x) for x in zip(*times, strict=True)), len(times)) for v, times in rows.items()]
if means:
    show.table_output(pandas.DataFrame(means, columns=["variant", "training, s", "evaluation, s", "seeds"]), digits=0)
    print(f"all trainings of Table III: {sum(n * t for _, t, _, n in means) / 3600:.1f} hours of one core")

# %% [markdown]
# ## Exercises
#
# 1. ★☆☆, 3 minutes. Which of the six losses falls most, as a share of its first value, when (g) is trained
#    from a detector that already works? Predict; the widget above shows them all.
# 2. ★★☆, 10 minutes. Two supports in training, eight at test. Set `recipe.supports` to 1 and to 4 in the
#    cell of section 1 and look at the windows: what does a wider span make harder, and for which level?
# 3. ★★★, 240 minutes. Train (c) without the warm start:
#    `mst train --profile mini --variant c --out build/mini/cold.pt`. How many steps does it need to come
#    near? Predict first how many steps the warm start itself takes, pretraining and variant together.
#
# Write what you predict into `guess` and run the cell: it says whether that holds, and keeps the answer folded.
#
# <details><summary>Hints</summary>
# 1: the RPN was trained before, the identity loss was not. 2: motion between frames grows with the span.
# 3: the pretraining alone takes three times as many steps as a variant.
# </details>

# %%
guess = {1: None, 3: None}          # your predictions: 1 a loss by its name, 3 a number of steps
minimised = [name for name in losses if name not in ("offset", "drift")]
curves = next((of for name, of in logs.items() if name.split("-")[0] == "g"), log)
left = {name: values[-1] / values[0] for name, (_, values) in curves.items() if name in minimised and values[0]}
check(1, guess[1], min(left, key=left.get), "what is left of each: " + ", ".join(
    f"{name} {100 * share:.0f} %" for name, share in sorted(left.items(), key=lambda pair: pair[1])))
full = get_config(profile, "g")
marks = [0, full.train.warmup, *(int(share * full.train.steps) for share in full.train.decay_at)]
check(3, guess[3], full.pretrain.steps + full.train.steps, [
    f"pretraining {full.pretrain.steps} steps of {full.pretrain.batch} frames, a variant {full.train.steps} steps of "
    f"{full.train.batch} windows",
    "learning rate at step " + ", ".join(f"{s}: {learning_rate(s, full.train):.2g}" for s in marks)],
    within=0.2 * (full.pretrain.steps + full.train.steps))

# %% [markdown]
# ## Summary
#
# A training here is a function of its settings and a seed. Windows are drawn by lot, six losses are added
# up, and every step can be repeated. What a level has learned shows in the test, over several seeds.
#
# | here | in mstlib |
# |---|---|
# | the lot, windows | `training.batches.draw`, `training.batches.image_window` |
# | the six losses, the motion loss | `model.losses.losses_of`, `model.losses.motion_loss` |
# | from a seed to weights | `training.experiment.run_pretraining`, `training.experiment.run_training` |
# | the schedule | `training.update.learning_rate` |
# | logs as curves, seeds as dots | `report.curves.curve_chart`, `report.charts.seed_chart` |
