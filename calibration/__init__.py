"""Cases, phantoms and the training of the demo checkpoint; later quantisation. Knows nothing of the CLI."""
