"""Training of nets (extra ``train``).

`trainer.fit_net` trains any net on clips by epochs, selects the best epoch on validation speakers, and
resumes after an interruption. `vectors.fit_vectors` trains a small net on rows in memory, as the recipe of
``vox`` does.
"""
