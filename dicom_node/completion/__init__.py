"""When a series is complete, and what becomes of it: evidence, MPPS, the counts of a PACS, triage."""
