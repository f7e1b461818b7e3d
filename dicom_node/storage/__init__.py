"""Where instances lie: the archive, reception into it, its index, recovery, retention, verification."""
