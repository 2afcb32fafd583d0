"""Every comparison that the paper makes in Sec. IV-D and IV-E, and what our runs say of it.

A claim is data: which runs it compares, and how. Its verdict is computed from the run records,
never typed; a claim that nothing here can test says why. Sentences are paraphrased.
"""

from typing import NamedTuple

from mstlib.report.catalogue import KS, RS, percent


class Claim(NamedTuple):
    """One comparison.

    table: of the paper that it stands on. text: what is claimed. kind: how it is decided, see
    `mstlib.report.verdicts`. runs: names of the catalogue, the better one first. paper: the paper's
    difference in points of mAP, None where it gives none. part: the frames that count.
    """

    table: str
    text: str
    kind: str = "better"
    runs: tuple[str, ...] = ()
    paper: float | None = None
    part: str = "all"


def absent(table: str, text: str, why: str, paper: float | None = None) -> Claim:
    """A claim that cannot be tested here; `runs` holds the reason."""
    return Claim(table, text, "not testable here", (why,), paper)


NO_CODE = "no implementation of it here"
K_RUNS = tuple(f"g-k{k}" for k in KS)
R_RUNS = tuple(f"g-r{percent(r)}" for r in RS)

CLAIMS = (
    # Sec. IV-D, end-to-end models
    Claim("I", "Ours beats FGFA", runs=("g", "fgfa"), paper=7.0),
    absent("I", "Ours beats MANet", NO_CODE, 5.2),
    absent("I", "Ours beats STSN", NO_CODE, 4.4),
    Claim("I", "Ours beats SELSA", runs=("g", "selsa"), paper=3.0),
    Claim("I", "Ours beats RDN", runs=("g", "rdn"), paper=1.5),
    Claim("I", "Ours beats MEGA", runs=("g", "h"), paper=0.4),
    absent("I", "Ours beats LSTS", NO_CODE, 3.2),
    absent("I", "Ours beats HVR", NO_CODE, 0.1),
    absent("I", "Ours stays below MAMBA", NO_CODE, -1.3),
    absent("I", "Ours is online, MAMBA is not", NO_CODE),
    Claim("I", "Ours is the best of the detectors that keep a window of frames",
          "best", ("g", "fgfa", "selsa", "rdn")),
    Claim("I", "the stronger backbone (ResNeXt) improves Ours", runs=("g-x", "g"), paper=1.0),
    Claim("I", "with the stronger backbone Ours beats RDN", runs=("g-x", "rdn-x"), paper=1.1),
    Claim("I", "with the stronger backbone Ours beats MEGA", runs=("g-x", "h-x"), paper=0.2),
    # UAVDT
    Claim("II", "Ours beats Faster R-CNN", runs=("g-uav", "a-uav"), paper=3.3),
    Claim("II", "Ours beats FGFA", runs=("g-uav", "fgfa-uav"), paper=3.1),
    Claim("II", "Ours beats RDN", runs=("g-uav", "rdn-uav"), paper=2.1),
    Claim("II", "Ours beats MEGA", runs=("g-uav", "h-uav"), paper=2.7),
    Claim("II", "Ours is the best of all five",
          "best", ("g-uav", "a-uav", "fgfa-uav", "rdn-uav", "h-uav")),
    # Post-processing
    Claim("I", "Seq-NMS improves Ours", runs=("g-seqnms", "g"), paper=1.6),
    Claim("I", "Seq-NMS improves FGFA", runs=("fgfa-seqnms", "fgfa"), paper=2.1),
    Claim("I", "Seq-NMS improves SELSA", runs=("selsa-seqnms", "selsa"), paper=0.2),
    Claim("I", "BLR improves RDN", runs=("rdn-blr", "rdn"), paper=2.0),
    Claim("I", "Seq-NMS improves MEGA", runs=("h-seqnms", "h"), paper=1.6),
    Claim("I", "post-processed, Ours is the best", "best",
          ("g-seqnms", "fgfa-seqnms", "selsa-seqnms", "rdn-blr", "h-seqnms")),
    absent("I", "post-processed, Ours beats MANet, STSN, LSTS and HVR", NO_CODE),
    # Sec. IV-E, DAlign
    Claim("III", "DAlign helps the frame level: d > b", runs=("d", "b"), paper=0.5),
    Claim("III", "DAlign helps the proposal level: e > c", runs=("e", "c"), paper=0.6),
    Claim("IV", "DAlign makes the whole method better than FlowNetS does", runs=("g", "g-flow"),
          paper=0.2),
    Claim("IV", "DAlign has fewer parameters than FlowNetS, paper's width", "fewer",
          ("DAlign", "FlowNetS", "our M parameters, paper's width")),
    Claim("IV", "DAlign has fewer parameters than FlowNetS, mini", "fewer",
          ("DAlign", "FlowNetS", "our M parameters, mini")),
    Claim("IV", "DAlign takes fewer multiply-adds than FlowNetS, paper's width", "fewer",
          ("DAlign", "FlowNetS", "our G multiply-adds, paper's width")),
    Claim("IV", "DAlign takes fewer multiply-adds than FlowNetS, mini", "fewer",
          ("DAlign", "FlowNetS", "our M multiply-adds, mini")),
    # The levels
    Claim("III", "the frame level improves the baseline: b > a", runs=("b", "a"), paper=2.9),
    Claim("III", "the proposal level improves the baseline: c > a", runs=("c", "a"), paper=6.7),
    Claim("III", "the proposal level brings more than the frame level: c > b", runs=("c", "b"),
          paper=3.8),
    Claim("III", "the proposal level adds to DAlign and frame level: f > d", runs=("f", "d"),
          paper=4.3),
    Claim("III", "the frame level adds to DAlign and proposal level: f > e", runs=("f", "e"),
          paper=0.4),
    Claim("III", "the instance level adds to all others: g > f", runs=("g", "f"), paper=0.5),
    Claim("III", "all four parts together: g > a", runs=("g", "a"), paper=8.2),
    Claim("III", "the whole method is the best of the seven", "best",
          ("g", "a", "b", "c", "d", "e", "f")),
    Claim("III", "the method is robust where appearance is deteriorated: g > a on these frames",
          runs=("g", "a"), part="deteriorated"),
    Claim("III", "the frame level on deteriorated frames: b > a", runs=("b", "a"),
          part="deteriorated"),
    Claim("III", "the proposal level on deteriorated frames: c > a", runs=("c", "a"),
          part="deteriorated"),
    # On MEGA
    Claim("V", "DAlign improves MEGA: i > h", runs=("i", "h"), paper=0.2),
    Claim("V", "the frame level improves MEGA: j > h", runs=("j", "h"), paper=0.2),
    Claim("V", "the instance level improves MEGA: k > h", runs=("k", "h"), paper=0.4),
    Claim("V", "all three improve MEGA: l > h", runs=("l", "h"), paper=0.7),
    Claim("V", "of the three the instance level improves MEGA most", "best", ("k", "i", "j"),
          paper=0.2),
    # K and r
    Claim("VI", "the run time grows with K", "grows", ("VI",)),
    Claim("VI", "mAP rises with K and falls again: K of the middle is the best", "best",
          ("g", *K_RUNS), paper=0.1),
    Claim("VII", "the run time grows with r", "grows", ("VII",)),
    Claim("VII", "r hardly matters: every mAP within a point of that at 20 %", "alike",
          ("g", *R_RUNS)),
    Claim("VII", "r = 20 % is the best", "best", ("g", *R_RUNS), paper=0.2),
    # Query, degraded frames
    Claim("IX", "asking with all frames beats asking with the reference alone",
          runs=("g", "g-ref"), paper=0.3),
    Claim("VIII", "without deteriorated frames Faster R-CNN gains", "slices", ("a",), paper=13.2),
    Claim("VIII", "without deteriorated frames Ours gains", "slices", ("g",), paper=6.3),
    Claim("VIII", "Faster R-CNN gains more from leaving them out than Ours", "interaction",
          ("g", "a"), paper=6.9),
    Claim("VIII", "Ours beats Faster R-CNN on clean frames too", runs=("g", "a"), paper=1.3,
          part="clean"),
    Claim("VIII", "Ours gains more on all frames than on clean ones", "interaction", ("g", "a"),
          paper=6.9),
    # Sec. IV-E, qualitative
    absent("Fig. 5", "in two sequences each further level finds more of the object, (g) all of it",
           "a picture of two clips, no number: results/figures/fig5.png"),
    absent("Fig. 5", "the instance level raises the scores of right detections",
           "a picture of two clips, no number: results/figures/fig5.png"),
    absent("Fig. 6", "failures come from the limited span of the window",
           "the paper gives a guess, no comparison: results/figures/fig6.png"),
)
