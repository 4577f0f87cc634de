"""Who is calling: credentials to an Identity."""
