"""The data sets: a file for each, their download and their prepared splits.

A data set is a module of this package, named in ``datasets:`` of params.yaml, with ``SPEC``,
``SIZES``, ``raw_files`` and ``splits`` (:class:`genbench.data.datasets.Source`).
"""
