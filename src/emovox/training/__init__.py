"""Training: classical models, nets, heads, search, cross-validation, and the bundles that they write."""
