"""What a reading for races, lost jobs and slow statements found: one file per group of findings."""
