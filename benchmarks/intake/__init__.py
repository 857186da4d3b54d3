"""From a ZIP on disk to a volume in memory: our intake beside what people use for it today."""
