"""Whether what is committed agrees with itself: `make check-results`.

Adding an entry or changing one makes some of these fail until its results are committed, so
`make test` leaves them out: their names begin with check_, and pytest finds them by name alone.
"""
