"""Imported for its effect alone: this process ends with its parent, whatever it is doing, as when
it imports libraries for seconds.
"""

from __future__ import annotations

import os

from genbench.processes.tether import end_with

end_with(os.getppid())
