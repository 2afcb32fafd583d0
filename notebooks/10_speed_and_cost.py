# %% [markdown]
# # Where does the time go?
#
# **Paper** Sec. IV-C, Tables IV, VI and VII · **Equations** 3-12, for what they cost ·
# **CPU** seconds · **Needs** the bench's records (`results/bench/`) ·
# **Module** [mstlib/bench/](../mstlib/bench/measure.py),
# [mstlib/model/engine.py](../mstlib/model/engine.py) · **Previous** [09](09_tables.ipynb), which
# claims hold · **Next** [11](11_failures.ipynb), failures

# %% [markdown]
# **After this notebook you can**
#
# - measure a time so that you can trust it, and say why the others are wrong;
# - count the multiply-adds of a layer by hand, and turn them into FLOPs;
# - say which stage of MST costs most, and why it is not the one with the most parameters;
# - choose a mode of inference, knowing what it gives up and what it saves;
# - read the efficiency tables of a paper with a pencil in your hand.
#
# What happens to one frame of a long video. Marked: what has to be done again for *every reference*
# that the frame supports, 37 times with a window of 37.
#
# ```text
#                 conv1-4 ─► DAlign ─► frame level ─► RPN ─► conv5, RoIAlign ─► relations ─► boxes
#
#  plain          again      again     again          again  again              again
#  exact          once       again     again          again  again              again
#  cached         once       once      twice          twice  twice              once
#  causal         once       once      once           once   once               once
#                                      └── as a support and as a reference
# ```

# %% tags=["parameters"]
bench: str = "results/bench"     # folder of the bench's records, in the repository
runs: str = "results/runs"       # folder of the run records, for mAP
small: str = "mini-cpu"          # record of the benchmark's scale
at_scale: str = "paper-cpu"      # record of the paper's scale, on a CPU
on_gpu: str = "paper-cuda"       # the same on a GPU, if somebody has measured it

# %%
import ipywidgets
import pandas
import torch
import torch.nn.functional as F

from mstlib.bench import charts
from mstlib.bench.count import FLOPS, count_step, multiply_adds, total
from mstlib.bench.measure import alternate, peak_bytes, ratio, seconds
from mstlib.bench.record import read_bench
from mstlib.bench.steps import How, case_of, frame_step, random_model
from mstlib.bench.tables import TITLES, amount, line_texts, machine_line, modes_beside_map, table_of
from mstlib.exercise import check
from mstlib.report.batch import ROOT
from mstlib.report.records import read_runs
from mstlib.show import figure_output, table_output

mini, paper = (read_bench(ROOT / bench / f"{name}.json")["experiments"] for name in (small, at_scale))
gpu_file = ROOT / bench / f"{on_gpu}.json"
gpu = read_bench(gpu_file)["experiments"] if gpu_file.exists() else {}


def show(name: str, entry: dict) -> None:
    """An experiment as a table, under its title and the machine that it was measured on."""
    print(TITLES[name], machine_line(entry), sep="\n")
    table_output(pandas.DataFrame(table_of(name, entry)))

# %% [markdown]
# ## 1. How do you measure a time that you can trust?
#
# A computer does other things too, so the same code takes another time in every run. Three habits
# help. *Take turns*: what is compared runs alternately in one process, every other round backwards,
# and is compared round by round. *Give a spread*: the median and the quartiles, never one number.
# *Count what can be counted*: multiply-adds are the same on every machine.
#
# Attention of n queries over m keys of d numbers: a product of length d for every pair, and every
# value weighted. First with a loop, then with the package's counter:

# %%
n, m, d = 3, 5, 8
by_hand = 0
for _query in range(n):
    for _key in range(m):
        by_hand += d                       # q · k
        by_hand += d                       # weight · v
counted = multiply_adds(lambda: F.scaled_dot_product_attention(
    torch.zeros(1, n, d), torch.zeros(1, m, d), torch.zeros(1, m, d)))
print(f"by hand {by_hand}, counted {counted} multiply-adds: {FLOPS * counted} FLOPs")
assert by_hand == counted

# %% [markdown]
# **What we see.** One multiply-add is two FLOPs (a multiplication and an addition). Papers often
# print the one and call it the other: section 6 meets an example.
#
# Now a time, live: one frame at scale `tiny`, in mode `cached` against the form that is written as
# the equations stand and keeps nothing (`mstlib.plain`). And memory, which can be counted as well.

# %%
case, how = case_of("tiny"), How(repeats=9)
model = random_model(case, how)
steps = {mode: frame_step(model, case, mode, how) for mode in ("plain", "cached")}
times = alternate({name: lambda step=step: seconds(step, how.device) for name, step in steps.items()},
                  how.repeats)
faster = ratio(times["plain"], times["cached"])
assert faster["rounds"] == 9
print("is cached faster than plain here, in the median of nine rounds?", faster["median"] > 1)
for name, step in steps.items():
    print(f"{name} holds at most {peak_bytes(step, how.device) / 1e6:.2f} MB beyond what it keeps")

# %% [markdown]
# ## 2. Which stage takes the time?
#
# One frame of variant (g) at scale `mini`, window 37, stage by stage. Bars: share of the time;
# ticks: share of the multiply-adds. Where a bar is longer than its tick, the stage waits for
# memory or for many small operations rather than for arithmetic.
#
# Look at the frame level: it has hardly any parameters, yet its attention compares every cell with
# every cell of the window, and how often a weight is used counts, not how many there are. In mode
# `exact` all 37 frames ask, in mode `cached` only the one that is new and the reference.

# %%
entry = mini["parts"]
show("parts", entry)
longest = {mode: max((row for row in entry["rows"] if row["mode"] == mode and row["ms"]
                      and row["part"] != "whole"), key=lambda row: row["ms"]["median"])
           for mode in ("exact", "cached")}
texts = "; ".join(f"{mode}: {row['part']} takes longest" for mode, row in longest.items())
figure_output(charts.stage_chart(entry["rows"]), "Two bar charts, share of each stage in the time "
              f"and in the multiply-adds of a frame. {texts}.")
print(texts)

# %% [markdown]
# ## 3. What do the modes cost, and what do they give up?
#
# *plain* is the method as its equations stand, nothing kept. *whole window* is the model's forward
# pass: the same computation in fast forms, still everything again. `exact` keeps what does not
# depend on the reference. `cached` and `causal` keep more than the method strictly allows.
#
# Three tables: all modes of (g) with two windows; what speed costs in mAP on MiniVID's test split,
# beside the time with the same window; and the variants of Table III, to see what each part of the
# method adds. Where the modes compute the same (nothing depends on the reference) a variant has
# one row.

# %% tags=["cover"]
entry = mini["modes"]
show("modes", entry)
wide = [row for row in entry["rows"] if row["window"] == max(r["window"] for r in entry["rows"])]
known = {row["mode"]: row for row in wide if row["ms"]}
alt = "Bars, milliseconds a frame at the longest window: " + ", ".join(
    f"{mode} {row['ms']['median']:.3g}" for mode, row in known.items())
figure_output(charts.mode_chart(wide), alt)
for mode, wanted in (("cached", 12), ("exact", 1.5)):
    found = known[mode]["times_faster_than_plain"]["median"]
    print(f"{mode}: {found:.3g} times faster than plain (asked for: {wanted}), window "
          f"{known[mode]['window']}")

# %%
records = read_runs(ROOT / runs, "mini")
first = next(r for r in records if r["variant"] == "g")
print(f"variant (g), {first['dataset']['name']} {first['dataset']['split']}, protocol "
      f"{first['protocol']}, mAP in percent; time of a frame with the same window")
table_output(pandas.DataFrame(modes_beside_map(mini["modes"], records)))

# %%
show("variants", mini["variants"])
rows = {(row["variant"], row["mode"]): row["multiply_adds"] for row in mini["variants"]["rows"]}
print("multiply-adds of (g) over those of (a):",
      ", ".join(f"{mode} {rows['g', mode] / rows['a', 'exact']:.1f}" for mode in ("exact", "cached")))

# %% [markdown]
# ## 4. What if the window grows, the image, the proposals?
#
# With L frames in the window, `exact` lets L frames ask L frames: L². In `cached` one frame asks L.
# Dotted: the straight line through all lengths but the longest. Growth is at most linear if the
# power that is printed is 1 or less; for `exact` it should come near 2. The slider counts any
# window; it lives in JupyterLab, and the table says the same.
#
# Twice the side of an image is four times the cells: convolutions cost four times as much, and
# attention, which compares cells with cells, sixteen times. Proposals are cheap beside cells, which
# is why the proposal level can afford to look at many frames.

# %%
entry = mini["windows"]
show("windows", entry)
texts = line_texts(entry)
figure_output(charts.window_chart(entry["rows"]),
              "Time over the length of the window, exact and cached. " + ". ".join(texts))
print("\n".join(texts))

# %%
def count(window: int) -> None:
    """Multiply-adds of a frame of (g) at scale `mini`."""
    chosen = case_of("mini", window=window)
    for mode in ("exact", "cached", "causal"):
        number = total(count_step(chosen.config, mode, chosen.size))
        print(f"window {window}, {mode}: {amount(number)} multiply-adds")


ipywidgets.interactive(count, window=ipywidgets.IntSlider(37, 1, 101, 4))

# %%
show("sizes", mini["sizes"])
show("proposals", mini["proposals"])
last = {mode: [row["ms"]["median"] for row in mini["sizes"]["rows"]
               if row["mode"] == mode and row["ms"]] for mode in ("exact", "cached")}
alt = "Time over pixels (left) and over proposals (right). From the smallest image to the largest " \
      + " and ".join(f"{mode} grows {t[-1] / t[0]:.3g} times" for mode, t in last.items())
figure_output(charts.growth_chart(mini["sizes"]["rows"], mini["proposals"]["rows"]), alt)

# %% [markdown]
# ## 5. And at the paper's scale?
#
# ResNet-101, 600 x 1000 pixels, window 37, 300 proposals and 75 of each support frame, random
# weights. One core of a CPU is not the machine for it: what takes more than a minute a frame, such
# as `exact`, is counted and not timed. The last rows of the second table have everything timed at
# a fifth of the image's sides.

# %%
for name in ("parts", "modes", "variants", "windows", "sizes", "proposals"):
    show(name, paper[name])
figure_output(charts.stage_chart(paper["parts"]["rows"]), "Share of each stage at the paper's scale: "
              "the frame level's attention has the largest part of the multiply-adds in both modes.")

# %%
if gpu:
    show("modes", gpu["modes"])
    show("parts", gpu["parts"])
else:
    print("on a GPU: not measured. Whoever has one: mst bench --profile paper --device cuda")
print("the paper, on an unnamed GPU: 105.7 ms a frame")
whole = {row["mode"]: row["multiply_adds"] for row in paper["modes"]["rows"] if row["size"][0] == 600}
for mode, number in whole.items():
    print(f"{mode}: {amount(number)} multiply-adds a frame, {amount(FLOPS * number)} FLOPs; in 105.7 ms: "
          f"{amount(FLOPS * number / 0.1057)} FLOPs a second")

# %% [markdown]
# **What we see.** The last lines say what no timing can: how many operations a second it would take
# to do a frame in the paper's 105.7 ms, with the widths that are chosen here. Hardware reaches part
# of its nominal rate only. The authors probably keep something between frames, and do not say what
# ([DEVIATIONS.md](../DEVIATIONS.md) 21).

# %% [markdown]
# ## 6. Do the paper's efficiency tables hold?
#
# Tables VI and VII: runtime over K, the proposals that the instance level updates, and r, the share
# of supports that each listens to. Ours is the instance level *alone*, the paper's the *whole*
# detector: two panels, two axes.

# %%
entry = paper["instance"]
show("instance", entry)
grows = {}
for key, name in (("VI", "K"), ("VII", "r_percent")):
    for width in (512, 1024):
        ms = [row["ms"]["median"] for row in sorted(entry["rows"], key=lambda row: row[name])
              if row["table"] == key and row["width"] == width]
        grows[f"Table {key}, d = {width}"] = ms == sorted(ms)
text = "In the paper's order: " + ", ".join(
    f"{name} {'yes' if same else 'not throughout'}" for name, same in grows.items())
figure_output(charts.sweep_chart(entry["rows"]), f"Runtime over K and over r. {text}")
print(text)

# %%
for mode in ("exact", "cached"):
    ms = {row["part"]: row["ms"]["median"] for row in paper["parts"]["rows"]
          if row["mode"] == mode and row["ms"]}
    share = f"{100 * ms['instance level'] / ms['whole']:.2f} %" if ms else "not measured"
    print(f"share of the instance level in a frame, {mode}, paper's scale: {share}")
print("the paper's runtime grows from K = 10 to K = 30 by "
      f"{112.0 - 99.6:.1f} ms, {100 * (112.0 / 99.6 - 1):.0f} % of the whole detector")
show("relation", paper["relation"])

# %% [markdown]
# **What we see.** The line under the chart says whether every step of K and of r goes the paper's
# way. r matters less than K: values that are masked out are computed all the same. The printed
# share says how small a part of a frame the level is here. The second table is one relation layer,
# written as the equations stand and in the fast form: box relations as a product of two thin
# matrices, values projected before they are weighted, supports projected once in their life. Its
# last column says that the results are the same.
#
# Table IV: DAlign against optical flow, for one support frame. The paper's 8.90 "GFLOPs" are
# multiply-adds at 256 x 256, with transposed convolutions counted at the size of their output, four
# times too many (the `assert` below counts the same way). Its 0.64 for DAlign we could not derive.
# Its claim is that DAlign is the cheaper of the two: compare the columns.

# %%
entry = paper["alignment"]
show("alignment", entry)
small_size = {row["module"]: row for row in entry["rows"] if row["size"] == [256, 256]}
alt = "Bars, multiply-adds and time of FlowNetS, of FlowNetS at half size and of DAlign: " + ", ".join(
    f"{row['module']} {row['multiply_adds'] / 1e9:.2f} G at 256 x 256" for row in small_size.values())
figure_output(charts.alignment_chart(entry["rows"]), alt)
assert f"{small_size['FlowNetS']['at_output_size'] / 1e9:.2f}" == "8.90"  # as Table IV prints
print("FlowNetS really: ", amount(small_size["FlowNetS"]["multiply_adds"]), "multiply-adds")

# %% [markdown]
# ## Exercises
#
# 1. ★☆☆, 3 minutes. A frame of the paper's scale has 38 x 63 cells. How many billion multiply-adds do the
#    two products of attention take if one frame asks 37, with keys and values of 512 numbers?
# 2. ★★☆, 10 minutes. `cached` asks twice a frame: as a support, over the 19 frames so far, and as
#    a reference, over 37. How many billion would a window of 101 cost, for attention alone?
# 3. ★★★, 20 minutes. Which stage would you make cheaper first, in `exact` and in `cached`? Change
#    `frame_width`, count again, and say what the paper's parameters (Table IV) leave you. By which factor
#    does half the width make `exact` cheaper?
#
# Write what you predict into `guess` and run the cell: it says whether that holds, and keeps the answer folded.
#
# <details><summary>Hints</summary>
# 1: cells of one frame times cells of 37, times 512, twice. 2: half of the window and one frame
# more is before a frame. 3: `case_of("paper", window=37, frame_width=256)`; docs/parameters.md has
# the layouts that fit.
# </details>

# %%
guess = {1: None, 2: None, 3: None}          # your predictions: 1 and 2 in billions, 3 a factor
cells = 38 * 63
one_asks, both_ask = (2 * cells * (asked * cells) * 512 for asked in (37, 101 + 51))
check(1, guess[1], one_asks / 1e9, f"{amount(one_asks)} multiply-adds", within=0.05 * one_asks / 1e9)
check(2, guess[2], both_ask / 1e9, f"{amount(both_ask)} multiply-adds", within=0.05 * both_ask / 1e9)
cost = {}
for width in (512, 256):
    chosen = case_of("paper", window=37, frame_width=width)
    cost[width] = {m: total(count_step(chosen.config, m, chosen.size)) for m in ("exact", "cached")}
check(3, guess[3], cost[512]["exact"] / cost[256]["exact"], [
    f"frame_width {width}: " + ", ".join(f"{m} {amount(v)}" for m, v in of.items()) for width, of in cost.items()],
    within=0.1)
assert one_asks < sum(count_step(case_of("paper", window=37).config, "cached", (600, 1000))["frame level, attention"])

# %% [markdown]
# ## Summary
#
# The frame level's attention is the price of comparing every cell with every cell; `exact` pays it
# for every frame of the window, `cached` twice. Times are ratios measured by turns, counts are
# exact, and a GPU's times wait for somebody who has one.
#
# | here | in mstlib |
# |---|---|
# | turns, quartiles, ratios | `bench.measure.alternate`, `bench.measure.spread`, `bench.measure.ratio` |
# | peak memory | `bench.measure.peak_bytes` |
# | multiply-adds, counted from shapes | `bench.count.multiply_adds`, `bench.count.count_step` |
# | stages | `bench.stages.STAGES`, `bench.stages.watched` |
# | a frame in each mode | `bench.steps.frame_step`, `stream.Streamer` |
# | the experiments | `bench.experiments.modes`, `bench.layers.relation`, `mst bench` |
# | the form that keeps nothing | `plain.plain_detect` |
# | records | `bench.record.read_bench`, [docs/speed.md](../docs/speed.md) |
#
# Measure all of it again: `make bench`; on a GPU: `mst bench --profile paper --device cuda`.
