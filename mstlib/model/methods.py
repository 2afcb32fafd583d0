"""The detectors by name: which class a configuration asks for.

A detector is one file that replaces a step of the shared two-stage base, `MST`. Register it here.
"""

from mstlib.config import Config, MSTError
from mstlib.model.caffe import CaffeMEGA, CaffeMST, CaffeRDN
from mstlib.model.detector import MST
from mstlib.model.fgfa import FGFA
from mstlib.model.mega import MEGA
from mstlib.model.rdn import RDN
from mstlib.model.selsa import SELSA

METHODS = {  # model.method -> the detector
    "mst": MST, "fgfa": FGFA, "selsa": SELSA, "rdn": RDN, "mega": MEGA,
}
CAFFE = {"mst": CaffeMST, "rdn": CaffeRDN, "mega": CaffeMEGA}  # with model.caffe_layout


def method_of(config: Config) -> str:
    """The method that decides: a method is a way to do one level, and without that level all are
    the same. MSTError if it is unknown."""
    method = config.model.method
    if method not in METHODS:
        raise MSTError(f"unknown model.method '{method}'; choose one of {', '.join(METHODS)}")
    return method if getattr(config.levels, METHODS[method].replaces) else "mst"


def detector(config: Config) -> type[MST]:
    """The class of a configuration's detector; MSTError if there is none."""
    method = method_of(config)
    if not config.model.caffe_layout:
        return METHODS[method]
    if method not in CAFFE:
        raise MSTError(f"model.caffe_layout is of public weights, and there are none of '{method}';"
                       f" choose {', '.join(CAFFE)}")
    return CAFFE[method]
