"""Imported for its effect alone: this process ends with the one that started it, whatever it is
doing, as when it imports libraries for seconds.

That one names itself in the environment. The parent of this moment may be another one already, if
the first was killed while Python started here.
"""

from __future__ import annotations

import os

from genbench.processes.tether import PARENT, end_with

end_with(int(os.environ[PARENT]))
