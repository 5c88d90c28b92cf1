"""Measures what a model predicts: discrimination, calibration, decisions, and how far each number can be believed.

The arithmetic is on plain arrays (`y_true` in {0, 1}, `y_prob` in [0, 1], group ids) and refuses everything else, so
that a wrong number raises instead of being printed. May depend on `models`, `data`, `config`, `labels` and `errors`;
never on `training`, `explain` or `export`.
"""
