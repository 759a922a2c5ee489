"""Volumes: NIfTI, NRRD and the challenge's 3D .npz in; a label volume in the same space out.

    volume = read_volume(path)                                   # voxels (D, H, W) and where they lie
    prepared = prepare(volume, predictor, VolumeOptions())
    prompts = prompts_from_labels(read_label_volume(labels), volume, prepared.slicing, prepared.convention)
    segment_volume(predictor, prepared, prompts).labels          # (D, H, W), label i is the i-th object

Needs numpy; NIfTI needs the extra `volumes` too. Knows nothing of command lines.
"""
