"""How the packaged demo checkpoint is made: `python -m medsam_edge.calibration.training --out FOLDER`.

Seeded and resumable. It trains MedSAM's own architecture, small, on phantoms and on the calibration split of a case
folder. It knows nothing of bundles and backends.
"""
