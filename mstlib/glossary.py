"""Which letter, equation and word of the paper is what, and where: notebook 99 is made of this.

Places in the code are dotted names below `mstlib`; the tests look each of them up.
"""

import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parent


class Symbol(NamedTuple):
    """A letter of the paper: what it is, its shape, where the code makes it, notebook, section."""

    symbol: str
    meaning: str
    shape: str
    code: str
    notebook: str
    section: str


class Equation(NamedTuple):
    """An equation of the paper: what it says, the function that computes it, notebook, section."""

    number: str
    says: str
    code: str
    notebook: str
    section: str


SYMBOLS = (
    Symbol("t, τ", "reference frame; any frame of its window", "", "data.clip.window_indices",
           "00", "III-A"),
    Symbol("L", "frames of a window, the reference first", "", "config.TestConfig", "07", "IV-C"),
    Symbol("F", "conv4 feature maps of a window", "(L, C, h, w)", "model.detector.MST.c4",
           "01", "IV-B"),
    Symbol("Θ, Δp", "offsets: where each of nine taps reads instead, cells", "(L, 18 g, h, w)",
           "model.dalign.DAlign.sampling", "03", "III-B"),
    Symbol("F'", "maps aligned to the reference", "(L, C, h, w)", "model.dalign.DAlign",
           "03", "III-B"),
    Symbol("Q, K, V", "cells as they ask, are compared and are given", "(G, n, c)",
           "model.frame.FrameLevel.project", "04", "III-C"),
    Symbol("A", "attention of the reference's cells over all cells", "(h w, L, h, w)",
           "model.frame.FrameLevel.attention", "04", "III-C"),
    Symbol("F''", "maps after the frame level", "(L, C, h, w)", "model.frame.FrameLevel",
           "04", "III-C"),
    Symbol("N, M", "reference proposals; support proposals of all frames", "",
           "model.rpn.RPN.propose", "05", "IV-B"),
    Symbol("R^r, R^s", "features of reference and support proposals", "(N, d), (M, d)",
           "model.detector.MST.roi_features", "05", "III-C"),
    Symbol("G", "heads of attention, each with its own weights", "", "model.attention.heads",
           "05", "III-C"),
    Symbol("e_ij", "relative size of two boxes, embedded in sines and cosines", "(N, M, 48)",
           "model.attention.embed", "05", "III-C"),
    Symbol("s_ij", "how much proposal i listens to support j", "(G, N, M)",
           "model.attention.Relation.compare", "05", "III-C"),
    Symbol("R'", "reference proposals after the proposal level", "(N, d)",
           "model.proposal.ProposalLevel", "05", "III-C"),
    Symbol("K", "proposals taken for candidate foreground", "", "config.ModelConfig",
           "06", "III-C"),
    Symbol("r", "share of supports that each of them listens to", "", "model.instance.top_r",
           "06", "III-C"),
    Symbol("R''", "reference proposals after the instance level", "(N, d)",
           "model.instance.InstanceLevel", "06", "III-C"),
)

EQUATIONS = (
    Equation("1", "Θ = f(F_t, F_τ): offsets from both frames", "model.dalign.DAlign.sampling",
             "03", "III-B"),
    Equation("2", "F'_τ(p) = Σ w(p_n) F_τ(p + p_n + Δp_n): read at displaced places",
             "model.deform.deform_conv", "03", "III-B"),
    Equation("3", "every frame of the window is aligned to the reference", "model.dalign.DAlign",
             "03", "III-B"),
    Equation("4", "Q, K, V from the maps", "model.frame.FrameLevel.project", "04", "III-C"),
    Equation("5", "A = softmax(Q Kᵀ / √c)", "model.frame.FrameLevel.attention", "04", "III-C"),
    Equation("6", "F'' = A V + F'", "model.frame.FrameLevel", "04", "III-C"),
    Equation("7", "s_ij = softmax_j(appearance + geometry)",
             "model.proposal.ProposalLevel.weights", "05", "III-C"),
    Equation("8", "appearance: scaled product of projected features",
             "model.attention.Relation.compare", "05", "III-C"),
    Equation("9", "geometry: log max(W_g e_ij, ε) of relative sizes", "model.attention.Geometry",
             "05", "III-C"),
    Equation("10", "a'_i = a_i + Σ s_ij W_p a_j", "model.attention.Relation", "05", "III-C"),
    Equation("11", "R' = N_pro(R^r, R^s): the proposal level", "model.proposal.ProposalLevel",
             "05", "III-C"),
    Equation("12", "R'' = N_ins(R', R^s): the instance level", "model.instance.InstanceLevel",
             "06", "III-C"),
)

WORDS = {  # word -> what it means here, and the notebook that shows it
    "alignment": ("reading a support frame where the content of the reference has gone", "03"),
    "average precision (AP)": ("area under the curve of precision over recall, of one class", "09"),
    "bootstrap, paired": ("drawing videos again and again to see how much a difference of two "
                          "detectors depends on which videos there are", "09"),
    "deterioration": ("motion blur, defocus, occlusion, rare pose: what makes a frame hard", "00"),
    "foreground": ("a proposal that shows an object; all others are background", "06"),
    "frame level": ("every cell of the maps asks every cell of the window", "04"),
    "head (of attention)": ("one of G separate comparisons within a layer", "05"),
    "head (of the detector)": ("the layers that turn a proposal's features into class and box",
                               "01"),
    "instance level": ("likely objects ask only supports most like themselves", "06"),
    "IoU": ("intersection over union of two boxes, 0..1", "01"),
    "key": ("MiniVID: the disc or cross on a body's front, half of its class", "02"),
    "mAP": ("mean of the AP of all classes, percent", "09"),
    "NMS": ("non-maximum suppression: of boxes that overlap the best stays", "01"),
    "objectness": ("how much the RPN takes a box for an object, whatever its class", "01"),
    "offset": ("by how many cells a tap of a deformable convolution is displaced", "03"),
    "proposal": ("a box that the RPN suggests", "01"),
    "proposal level": ("reference proposals ask all support proposals", "05"),
    "protocol": ("how detections become a number: vid, vid-devkit, coco, uavdt", "09"),
    "query-all, query-ref": ("whether all frames ask at the frame level or the reference alone",
                             "04"),
    "reference frame": ("the frame of a window in which objects are looked for", "00"),
    "RoI, RoIAlign": ("region of interest; reading its features from a map by bilinear samples",
                      "01"),
    "run record": ("all that is known of one training and its evaluation, as JSON", "09"),
    "seed": ("the number that decides every lot of a training", "08"),
    "Seq-NMS, BLR, tubelet": ("linking detections of neighbouring frames and scoring the links",
                              "09"),
    "slice": ("the part of the frames, or objects, that a number is about", "00"),
    "support frame": ("any other frame of a window, asked for help", "00"),
    "track id": ("the number that an object keeps through a video", "02"),
    "variant": ("one of (a) to (g): which parts of the method are on (Table III)", "07"),
    "window": ("the frames around a reference that a detector sees at test time", "00"),
}


def look_up(code: str) -> object:
    """What a dotted name below `mstlib` means; AttributeError or ImportError if nothing."""
    parts, found = code.split("."), None
    for k in range(len(parts), 0, -1):  # the longest prefix that is a module
        if find_spec_of(".".join(parts[:k])):
            found = importlib.import_module("mstlib." + ".".join(parts[:k]))
            break
    for name in parts[k:]:
        found = getattr(found, name)
    return found


def find_spec_of(code: str) -> bool:
    """Is a dotted name below `mstlib` a module?"""
    try:
        return importlib.util.find_spec("mstlib." + code) is not None
    except ModuleNotFoundError:
        return False


def first_sentence(code: str) -> str:
    """What the docstring of a dotted name below `mstlib` says first."""
    text = inspect.getdoc(look_up(code)) or ""
    return " ".join(text.split("\n\n")[0].split())


def rooms() -> dict[str, list[str]]:
    """The modules of the package by the room (folder) that they are in, "" for its own."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if not parts[-1].startswith("__"):
            found.setdefault(parts[0] if len(parts) > 1 else "", []).append(".".join(parts))
    return found


def departures(text: str) -> list[tuple[int, str, str]]:
    """The numbered entries of DEVIATIONS.md: number, the section that it stands in, title."""
    found, section = [], ""
    for line in text.splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif match := re.match(r"(\d+)\. \*\*(.+?)\.?\*\*", line):
            found.append((int(match[1]), section, match[2]))
    return found
