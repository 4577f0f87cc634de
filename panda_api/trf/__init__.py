"""Programs that stock pilots download and run; each is one file that needs Python 3.7 and nothing else."""
