# %% [markdown]
# # Glossary and map: what is called what, and where is it?
#
# **Paper** all of it · **Equations** 1-12 · **CPU** seconds ·
# **Needs** nothing beyond the repository ·
# **Module** [mstlib/glossary.py](../mstlib/glossary.py) · **Previous**
# [12](12_your_own_video.ipynb), your own video · **Next** none, this is the end

# %% [markdown]
# **After this notebook you can**
#
# - go from a letter or an equation of the paper to the function that computes it, and to the notebook
#   that shows it;
# - find the module you are looking for;
# - look up a word of the field, as it is used here;
# - find the runs behind a table, and every place where this implementation departs from the paper.
#
# Nothing here is typed by hand twice: names are looked up in the package while this notebook runs, and a
# name that is gone would stop it.

# %% [markdown]
# ```text
#  paper        Sec. III-B        III-C, Eq. 4-6     III-C, Eq. 7-11     III-C, Eq. 12      Sec. IV
#               DAlign            frame level        proposal level      instance level     experiments
#                 │                   │                   │                   │                 │
#  notebook      03                  04                  05                  06             08, 09, 10, 11
#                 │                   │                   │                   │                 │
#  code      model/dalign.py     model/frame.py    model/proposal.py   model/instance.py   training/, evaluation/,
#            model/deform.py                       model/attention.py                      report/, bench/
#                 └───────────────────┴─────────┬─────────┴───────────────────┘
#                                        model/detector.py (07)
# ```

# %% tags=["parameters"]
profile: str = "mini"      # whose shapes and runs are shown: mini, tiny, midi or paper
variant: str = "g"         # detector whose letters get their shapes
room: str = "model"        # folder of mstlib whose modules are listed first

# %%
import pandas
import torch
from ipywidgets import HTML, Dropdown, Text, VBox

from mstlib import glossary
from mstlib.exercise import check, folded
from mstlib.model.detector import build_model
from mstlib.profiles import get_config
from mstlib.report.batch import ROOT
from mstlib.report.catalogue import CATALOGUE
from mstlib.report.charts import bar_chart
from mstlib.report.tables import TITLES
from mstlib.show import figure_output, table_output

config = get_config(profile, variant)
NOTEBOOKS = {path.stem[:2]: path.stem for path in sorted((ROOT / "notebooks").glob("*.py"))}


def link(number: str) -> str:
    """A notebook's number as a link to it."""
    return f"[{number}]({NOTEBOOKS[number]}.ipynb)"


def code(name: str) -> str:
    """A dotted name below mstlib as code, looked up first: AttributeError if it is gone."""
    glossary.look_up(name)
    return f"`{name}`"

# %% [markdown]
# ## 1. Which letter is what?

# %%
table_output(pandas.DataFrame({
    "letter": s.symbol, "meaning": s.meaning, "shape": s.shape, "in mstlib": code(s.code),
    "notebook": link(s.notebook), "section": s.section} for s in glossary.SYMBOLS))

# %% [markdown]
# The same with numbers: an untrained detector of this profile looks at a window of noise, and its trace
# is asked for the shapes. (At `paper` that would take minutes; there the notebook takes `mini`.)

# %%
small = config if profile in ("tiny", "mini") else get_config("mini", variant)
L, size = small.test.window, small.data.size
images = torch.randint(0, 256, (1, L, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
_, (trace,) = build_model(small).eval()(images, trace=True)
shapes = {"F": trace.maps, "F'": trace.aligned, "Θ, Δp": trace.offsets, "A": trace.frame_attention,
          "R^r": trace.features.get("RoI"), "R^s": trace.support_features,
          "s_ij": trace.relation[0]["weights"] if trace.relation else None,
          "R'": trace.features.get("proposal"), "R''": trace.features.get("instance")}
assert len(trace.maps) == L
print(f"window of {L} frames of {size} x {size} pixels")
table_output(pandas.DataFrame({"letter": name, "shape": " x ".join(map(str, x.shape))}
                              for name, x in shapes.items() if x is not None))

# %% [markdown]
# **What we see.** N, the reference's proposals, is the first number of R^r, R' and R''; M, the supports
# of the whole window, the first of R^s. The levels change features, never their shape.
#
# ## 2. Which equation is which function?

# %%
table_output(pandas.DataFrame({
    "Eq.": e.number, "says": e.says, "in mstlib": code(e.code), "notebook": link(e.notebook),
    "section": e.section} for e in glossary.EQUATIONS))

# %% [markdown]
# All twelve once more, as they stand and without any trick, are in
# [mstlib/plain.py](../mstlib/plain.py): short enough to be checked against the paper by eye, and what the
# fast forms are tested against.

# %%
print(glossary.first_sentence("plain"))
assert [e.number for e in glossary.EQUATIONS] == [str(n) for n in range(1, 13)]

# %% [markdown]
# ## 3. What does this word mean here?

# %%
table_output(pandas.DataFrame({"word": word, "meaning": meaning, "notebook": link(number)}
                              for word, (meaning, number) in glossary.WORDS.items()))

# %% [markdown]
# Search letters, equations and words at once. (The field lives in JupyterLab; the tables above hold all
# that it can find.)

# %%
ENTRIES = [*((s.symbol, s.meaning, s.code, s.notebook) for s in glossary.SYMBOLS),
           *((f"Eq. {e.number}", e.says, e.code, e.notebook) for e in glossary.EQUATIONS),
           *((word, meaning, "", number) for word, (meaning, number) in glossary.WORDS.items())]
field, answer = Text(value="attention", description="search"), HTML()

# %%
def search(*_) -> None:
    """Show the entries that hold what is typed."""
    wanted = field.value.lower()
    hits = [entry for entry in ENTRIES if wanted in " ".join(entry).lower()]
    answer.value = pandas.DataFrame(hits, columns=["", "meaning", "in mstlib", "notebook"]).to_html(
        index=False, border=0, justify="left") if hits else "nothing is called so"


field.observe(search, "value")
search()
VBox([field, answer])

# %% [markdown]
# ## 4. Which module does what?
#
# Every module opens with a sentence that says what it is. Here those of one room; choose another below.

# %% tags=["cover"]
ROOMS = glossary.rooms()


def modules(of: str) -> pandas.DataFrame:
    """The modules of a room with their first sentence."""
    return pandas.DataFrame([(name, glossary.first_sentence(name)) for name in ROOMS[of]],
                            columns=["module", "what it is"])


count = {name or "mstlib itself": len(of) for name, of in ROOMS.items()}
told = ", ".join(f"{name} {number}" for name, number in count.items())
figure_output(bar_chart(count, "modules in each room", 0), f"Bars, {sum(count.values())} modules: {told}.")
table_output(modules(room))

# %%
choice, listing = Dropdown(options=[(name or "mstlib itself", name) for name in ROOMS], value="evaluation",
                           description="room"), HTML()


def enter(*_) -> None:
    """Show the modules of the chosen room."""
    listing.value = modules(choice.value).to_html(index=False, border=0, justify="left")


choice.observe(enter, "value")
enter()
VBox([choice, listing])

# %% [markdown]
# ## 5. Which runs are behind which table?
#
# The catalogue lists every run: what is trained, how it is tested, how often. A name in it is the name of
# its records in `results/runs/`.

# %%
behind: dict[str, list] = {}
for name, run in CATALOGUE.items():
    behind.setdefault(run.table or "controls", []).append((name, len(run.seeds)))
order = [*(t for t in TITLES if t in behind), *(t for t in behind if t not in TITLES)]
table_output(pandas.DataFrame({
    "table": t, "about": TITLES.get(t, "not in the paper: what explains a finding"), "runs": len(behind[t]),
    "records": sum(n for _, n in behind[t]), "names": ", ".join(name for name, _ in behind[t])} for t in order))

# %% [markdown]
# **What we see.** A table that is missing here reads the records of another: Table VIII those of Table III.
#
# ## 6. Where does this implementation depart from the paper?

# %%
entries = glossary.departures((ROOT / "DEVIATIONS.md").read_text(encoding="utf-8"))
assert [number for number, *_ in entries] == list(range(1, len(entries) + 1))
table_output(pandas.DataFrame(entries, columns=["number", "about", "departure, or decision"]))

# %% [markdown]
# The reasons, and what was measured, stand in [DEVIATIONS.md](../DEVIATIONS.md); the code names these
# numbers where it departs.
#
# **What we see.** Most are decisions about what the paper leaves unsaid, some follow from the scale, and a
# few (6, 8, 13, 14) change what is learned. Whoever compares numbers should know these four.

# %% [markdown]
# ## Exercises
#
# 1. ★☆☆, 2 minutes. Over what does the softmax of Eq. 7 go, and where is it in the code?
# 2. ★★☆, 5 minutes. Find the module that decides which frames make up a test window, and the notebook that
#    counts whether such a window holds a clean view.
# 3. ★★☆, 10 minutes. Which departures of section 6 are about DAlign? Write down their numbers, then read
#    their entries: which of them could make it look worse here than in the paper? Which others could?
#
# Write what you predict into `guess` and run the cell: it says whether that holds, and keeps the answer folded.
#
# <details><summary>Hints</summary>
# 1: search for s_ij. 2: search for "window". 3: others are 3, 16 and 18.
# </details>

# %%
guess = {2: None, 3: None}          # your predictions: 2 a module such as "model.frame", 3 a list of numbers
eq7, of_window = "model.attention.Relation.weighted", "data.clip.window_indices"
folded(1, f"Over the supports, `{eq7}`: {glossary.first_sentence(eq7)}")
check(2, guess[2], "data.clip", [f"`{of_window}`: {glossary.first_sentence(of_window)}",
                                 "Notebook 00 counts the windows with a clean view."])
about_dalign = [str(number) for number, about, _ in entries if about.startswith("DAlign")]
check(3, guess[3], about_dalign, ", ".join(about_dalign))

# %% [markdown]
# ## Summary
#
# Paper letters inside functions, whole words at their doors, and one place that maps the two.
#
# | here | in mstlib |
# |---|---|
# | letters, equations, words | `glossary.SYMBOLS`, `glossary.EQUATIONS`, `glossary.WORDS` |
# | what a name means, what a module is | `glossary.look_up`, `glossary.first_sentence` |
# | the runs of every table | `report.catalogue.CATALOGUE` |
# | the departures | `glossary.departures` |
