"""One file per metric family, pure functions of features.

A metric is a module of this package, named in ``metrics:`` of params.yaml, with
``compute(generated, reference, *, seed) -> dict[str, Metric]``: features of the samples first,
always; :mod:`genbench.scoring.sample_scores` finds it. A metric that does not apply returns
``{}``, one that has too few images raises :class:`~genbench.scoring.metrics.base.TooFewSamples`.

``UNBIASED`` of a module names those of its scores, without the extractor, whose mean does not
depend on the number of samples; others compare only between equal numbers.
"""
