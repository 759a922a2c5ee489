"""The networks, as small torch modules whose state-dict keys are the authors' own. They know no file format."""
