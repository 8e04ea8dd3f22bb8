"""What a row is, written down apart from the registry: the order that scripts rely on, what each measure tells."""

# The reason of a flag on each measure, and its sign as an OOD score: -1 where it is higher for in-distribution images.
REASONS = {
    "confidence": "ambiguous",
    "vacuity": "unfamiliar",
    "dissonance": "ambiguous",
    "predictive_entropy": "ambiguous",
    "expected_entropy": "ambiguous",
    "mutual_information": "unfamiliar",
    "differential_entropy": "unfamiliar",
    "typicality": "unfamiliar",
}
SIGNS = {**dict.fromkeys(REASONS, 1), "confidence": -1, "typicality": -1}
ROW = ["path", "predicted", *REASONS, "flagged", "reason", "error"]
