"""Where the work of a run is done: processes here, jobs of a cluster, tasks of another engine."""
