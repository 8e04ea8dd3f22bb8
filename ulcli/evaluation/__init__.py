"""How a model is judged: figures with intervals, OOD detection, warnings, the verdict."""
