"""MST: multi-level spatial-temporal feature aggregation for video object detection.

A reference implementation to read, run and reproduce; start with `notebooks/00` or `mst --help`.
"""

__version__ = "0.1.0"
