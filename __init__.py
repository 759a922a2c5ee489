"""medsam-edge: from a MedSAM-family checkpoint to verified masks on an edge device.

The repository root is this package. Import what you need from `medsam_edge.runtime` (on the device) or
`medsam_edge.export` (on the workstation); this module itself imports nothing, so that it costs nothing.
"""

__version__ = "0.1.0"
