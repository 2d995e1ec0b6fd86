"""What programs need beside mathematics: ranks, threads, compiled loops, files, checkpoints, random numbers."""
