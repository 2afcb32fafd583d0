"""The detectors by name: which class a configuration asks for.

A detector is one file that replaces a step of the shared two-stage base, `MST`. Register it here.
"""

from mstlib.config import Config, MSTError
from mstlib.model.caffe import CaffeMEGA, CaffeMST, CaffeRDN
from mstlib.model.detector import MST
from mstlib.model.mega import MEGA
from mstlib.model.rdn import RDN

METHODS = {  # model.method -> the detector, and with model.caffe_layout
    "mst": (MST, CaffeMST),
    "rdn": (RDN, CaffeRDN),
    "mega": (MEGA, CaffeMEGA),
}


def detector(config: Config) -> type[MST]:
    """The class of a configuration's detector; MSTError if its method is unknown.

    A method is a way to do the proposal level: without that level all are the same.
    """
    m = config.model
    if m.method not in METHODS:
        raise MSTError(f"unknown model.method '{m.method}'; choose one of {', '.join(METHODS)}")
    return METHODS[m.method if config.levels.proposal else "mst"][m.caffe_layout]
